"""Hostile packed sets, as far as tests/data/test_store.py does not have them by name already."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gan_lab.data import open_packed
from tests.hostile import hostile_packed
from tests.hostile.hostile_packed import npy, packed
from tests.hostile.hostile_sandbox import Case, Make, Sandbox

Refused = Callable[[Callable[[], object]], str]


@pytest.mark.parametrize("seed", range(60))
def test_packed_sets(keeps_the_contract: Callable[[Make, int], None], seed: int) -> None:
    keeps_the_contract(hostile_packed.make, seed)


def written(box: Sandbox, **facts: Any) -> Path:
    root = box.root / "input" / "set"
    root.mkdir()
    for name, data in packed(root, **facts).items():
        (root / name).write_bytes(data)
    return root


def test_a_true_one_opens(sandbox: Sandbox) -> None:
    root = written(sandbox, name="caf\u00e9 \u5c71")
    verdict = sandbox.judge(Case("", lambda: open_packed(root, verify=True)))
    assert verdict.accepted and not verdict.faults


@pytest.mark.parametrize("name", ["dataset.json", "images.npy", "labels.npy"])
def test_pipes_devices_and_loops_in_the_place_of_files(sandbox: Sandbox, refused: Refused, name: str) -> None:
    path = written(sandbox) / name
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), lambda: path.symlink_to(path)):
        path.unlink()
        make()
        assert str(path) in refused(lambda: open_packed(path.parent))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"name": "a\nb"}, "control character"),
        ({"name": "\x1b[2J"}, "control character"),
        ({"name": "n" * 301}, "1 to 300"),
        ({"resolution": 2**20}, "at most 8192"),
        ({"train": 10**300}, "number of training images"),
        ({"num_classes": 2**62}, "'num_classes'"),
    ],
)
def test_facts_out_of_all_bounds(sandbox: Sandbox, refused: Refused, facts: dict[str, Any], says: str) -> None:
    root = written(sandbox, **facts)
    assert says in refused(lambda: open_packed(root))


def test_64_gib_that_take_no_space(sandbox: Sandbox, refused: Refused) -> None:
    """Sparse files: what reads one as a whole, or copies it, would not come back."""
    root = written(sandbox)
    true = (root / "labels.npy").read_bytes()
    with open(root / "labels.npy", "wb") as file:
        file.write(npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({2**33},), }}"))
        file.truncate(2**36 + file.tell())
    assert "contradicts itself" in refused(lambda: open_packed(root))
    (root / "labels.npy").write_bytes(true)
    os.truncate(root / "dataset.json", 2**36)
    assert "over the limit" in refused(lambda: open_packed(root))


def test_a_header_that_calls_a_function(sandbox: Sandbox, refused: Refused) -> None:
    root = written(sandbox)
    call = f"__import__('os').system('touch {sandbox.canary}')"
    for name in ("images.npy", "labels.npy"):
        for header in (call, f"{{'descr': {call}, 'fortran_order': False, 'shape': (6,), }}"):
            (root / name).write_bytes(npy(header))
            assert "damaged or not an .npy" in refused(lambda: open_packed(root))
    json.loads((root / "dataset.json").read_text())
