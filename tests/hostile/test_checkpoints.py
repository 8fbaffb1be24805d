"""Hostile checkpoints: nothing in them is executed, and what they cost is bounded by what they weigh."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_lab import load_generator
from gan_lab.errors import UserError
from gan_lab.nets import Generator
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint
from tests.hostile import hostile_checkpoints
from tests.hostile.hostile_checkpoints import true_content, true_file
from tests.hostile.hostile_pickles import archive, bomb, opcodes, payloads, records, saved
from tests.hostile.hostile_sandbox import Case, Make, Sandbox
from tests.hostile.seeds import seeds

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

Refused = Callable[[Callable[[], object]], str]


@pytest.mark.parametrize("seed", seeds(0, 40, few=15))
def test_checkpoints(keeps_the_contract: Callable[[Make, int], None], seed: int) -> None:
    keeps_the_contract(hostile_checkpoints.make, seed)


def placed(sandbox: Sandbox, data: bytes) -> Path:
    path = sandbox.root / "input" / "x.pt"
    path.write_bytes(data)
    return path


def changed(**config: Any) -> bytes:
    """A true checkpoint with other nodes in its configuration."""
    content = copy.deepcopy(torch.load(io.BytesIO(true_file()), weights_only=True))
    content["config"] |= config
    return saved(content)


def test_a_true_one_loads(sandbox: Sandbox) -> None:
    path = placed(sandbox, true_file())
    verdict = sandbox.judge(Case("", lambda: load_generator(path)))
    assert verdict.accepted and not verdict.faults
    G, weights = load_generator(path), true_content()["state"]["G_ema"]
    assert isinstance(G, Generator) and all(torch.equal(v, weights[k]) for k, v in G.state_dict().items())
    assert G(torch.zeros(2, 4)).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("number", range(10))
def test_a_pickle_that_calls_something(sandbox: Sandbox, refused: Refused, number: int) -> None:
    evil = payloads(sandbox.canary)[number]
    inside = {**true_content(), "format_version": 2, "state": {"G_ema": evil}}
    for data in (pickle.dumps(evil), saved(evil), saved(evil, legacy=True), saved(inside)):
        path = placed(sandbox, data)
        assert "not a readable checkpoint" in refused(lambda path=path: load_checkpoint(path))  # type: ignore[misc]


def test_pickles_written_by_hand(sandbox: Sandbox) -> None:
    for code in opcodes(sandbox.canary):
        for data in (code, archive({"x/data.pkl": code, "x/version": b"3\n", "x/byteorder": b"little"})):
            path = placed(sandbox, data)
            verdict = sandbox.judge(Case("", lambda path=path: load_checkpoint(path)))  # type: ignore[misc]
            assert not verdict.faults and not verdict.accepted, (code[:60], verdict.faults)


def grown(times: int) -> list[Any]:
    """A list of few objects and of 2^times values."""
    inner: list[Any] = [1]
    for _ in range(times):
        inner = [inner, inner]
    return inner


def evil_nodes(path: str) -> dict[str, dict[str, Any]]:
    """Each would write the file `path`, by a class that no list of dangerous functions has."""
    writes = {"_target_": "logging.FileHandler", "filename": path}
    generator = dict(true_content()["config"]["generator"])
    text = f"${{oc.create:{{_target_:logging.FileHandler,filename:'{path}'}}}}"
    return {
        "its own extension": {"generator": writes, "extensions": ["logging"]},
        "inside a setting": {"generator": {**generator, "z_dim": writes}},
        "inside a list": {"generator": {**generator, "activation_norm": [writes]}},
        "inside lists, with its own extension": {
            "generator": {**generator, "init_std": [[writes]]},
            "extensions": ["logging"],
        },
        "as a text that is resolved": {"generator": {**generator, "activation_norm": text}},
        "as positional arguments": {"generator": {**generator, "_args_": [writes]}},
        "in the norm": {"norm": {"generator": writes}},
        "a file elsewhere as the norm": {"norm": {"generator": "../dataset/mnist"}},
        "a function of the package": {"generator": {"_target_": "gan_lab.data.load", "name": "shapes"}},
        "a function that writes": {"generator": {"_target_": "gan_lab.runs.files.append_row", "path": path, "row": {}}},
        "a function of a setting that writes": {
            "generator": {
                **generator,
                "z_dim": {"_target_": "gan_lab.metrics.reference.write_tensors", "path": path, "tensors": {}},
            }
        },
        "data fetched in a setting": {
            "generator": {**generator, "z_dim": {"_target_": "gan_lab.data.load", "name": "shapes"}}
        },
        "a server in a setting": {"generator": {**generator, "z_dim": {"_target_": "gan_lab.runs.trackers.MLflow"}}},
        "the same list again and again": {"generator": {**generator, "z_dim": grown(40)}},
        "an imported function": {"generator": {"_target_": "gan_lab.config.targets.import_module", "name": "this"}},
        "a net that is no generator": {"generator": {"_target_": "gan_lab.nets.SNGANDiscriminator"}},
    }


@pytest.mark.parametrize("how", evil_nodes("x"))
def test_a_configuration_that_names_something_else(sandbox: Sandbox, refused: Refused, how: str) -> None:
    path = placed(sandbox, changed(**evil_nodes(str(sandbox.canary))[how]))
    assert str(path) in refused(lambda: load_generator(path))


def test_a_generator_of_ones_own_is_built_only_for_who_trusts_its_module(
    sandbox: Sandbox, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_lab.nets import SNGANGenerator

    module = types.ModuleType("mine_for_test")
    module.Mine = type("Mine", (SNGANGenerator,), {"__module__": "mine_for_test"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mine_for_test", module)
    node = {**true_content()["config"]["generator"], "_target_": "mine_for_test.Mine"}
    path = placed(sandbox, changed(generator=node, extensions=["mine_for_test"]))
    assert "extensions=mine_for_test" in refused(lambda: load_generator(path))
    assert type(load_generator(path, extensions=["mine_for_test"])).__name__ == "Mine"


@pytest.mark.parametrize(
    "setting", [{"z_dim": 10**9}, {"z_dim": 40_000}, {"width": 1e9}, {"width": 100.0}, {"width": float("inf")}]
)
def test_a_net_far_larger_than_its_weights_is_not_built(
    sandbox: Sandbox, refused: Refused, setting: dict[str, float]
) -> None:
    path = placed(sandbox, changed(generator={**true_content()["config"]["generator"], **setting}))
    said = refused(lambda: load_generator(path))
    assert "a number above" in said or "describes a net of" in said


def test_weights_that_repeat_stored_numbers_are_not_built(sandbox: Sandbox, refused: Refused) -> None:
    content = torch.load(io.BytesIO(true_file()), weights_only=True)
    content["state"]["G_ema"]["label_rows"] = torch.zeros(1, 1).expand(2 * 10**6, 1)
    path = placed(sandbox, saved(content))
    assert "repeat stored numbers" in refused(lambda: load_generator(path))


def test_archives_that_unpack_to_more_than_they_weigh(sandbox: Sandbox, refused: Refused) -> None:
    deflated = archive(records(true_file()), zipfile.ZIP_DEFLATED)
    for data in (deflated, bomb(["x/data.pkl"], 2), bomb(["x/version", "x/data.pkl"], 2, declared=100)):
        path = placed(sandbox, data)
        assert "not a readable checkpoint" in refused(lambda path=path: load_checkpoint(path))  # type: ignore[misc]


def test_pipes_devices_and_loops_in_the_place_of_files(sandbox: Sandbox, refused: Refused) -> None:
    folder = sandbox.root / "input"
    os.mkfifo(folder / "step-00000001.pt")
    (folder / "step-00000002.pt").symlink_to("/dev/zero")
    (folder / "step-00000003.pt").symlink_to(folder / "step-00000003.pt")
    for number in (1, 2, 3):
        assert "cannot read the checkpoint" in refused(lambda n=number: load_checkpoint(folder / f"step-{n:08d}.pt"))  # type: ignore[misc]
    os.mkfifo(folder / "index.json")
    refused(lambda: load_generator(folder))
    refused(lambda: Checkpoints(folder, 2).latest())


def test_an_index_cannot_lead_out_of_its_folder(sandbox: Sandbox, refused: Refused) -> None:
    folder = sandbox.root / "input" / "checkpoints"
    folder.mkdir()
    (sandbox.root / "input" / "step-00000005.pt").write_bytes(true_file())
    for name in ("../step-00000005.pt", str(sandbox.root / "input" / "step-00000005.pt"), "..", "\0", "\ud800"):
        index = {"latest": name, "best": name, "files": {name: {"step": 5, "sha256": "0" * 64}}}
        (folder / "index.json").write_text(json.dumps(index))
        assert "no checkpoint" in refused(lambda: load_generator(folder.parent))
        assert Checkpoints(folder, 2).latest() is None
    (folder / "step-00000005.pt").write_bytes(true_file())
    assert isinstance(load_generator(folder.parent), Generator)  # the file beside the index is found without it
    with pytest.raises(UserError, match="must be best, latest or a step"):
        load_generator(folder.parent, "../step-00000005")
