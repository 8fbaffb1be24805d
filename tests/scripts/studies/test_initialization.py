"""docs/results/initialization.md is what the script makes of the measured numbers, and these say what the papers do."""

import json

import pytest

from scripts.studies import initialization
from scripts.studies.study import RESULTS


def test_the_page_is_of_these_numbers():
    init = json.loads((RESULTS / "initialization.json").read_text())
    assert (RESULTS / "initialization.md").read_text() == initialization.render(init)


def test_the_scaling_keeps_path_lengths_and_levels():
    init = json.loads((RESULTS / "initialization.json").read_text())
    for row in init["path_length"]:  # the noise's standard deviation is the only difference
        assert row["unscaled"] / row["scaled"] == pytest.approx(row["side"], rel=0.15)
    levels = {(row["residual_scale"], row["input"]): row["rms"] for row in init["block_rms"]}
    for kind in ("smooth", "white noise"):
        ratio = [a / b for a, b in zip(levels["1", kind], levels["1/sqrt(2)", kind], strict=True)]
        assert ratio == pytest.approx([2 ** (0.5 * (i + 1)) for i in range(6)], rel=0.01)


def test_parameters_of_the_nets():
    G, D = initialization.nets_of("r3gan")
    counts = {row["net"]: row for row in json.loads((RESULTS / "initialization.json").read_text())["parameters"]}
    row = counts["R3GAN, CIFAR widths, unconditional"]
    assert (row["G"], row["D"]) == tuple(sum(p.numel() for p in net.parameters()) for net in (G, D))
