"""The statistics of the reals: read from the cache when whole, made again when not, which is never an obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gan_lab.metrics import Figure, Metric, classifier_evaluator
from gan_lab.metrics import reference as module
from gan_lab.metrics.base import Statistics


def make(dataset, cache: Path, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classifier_evaluator(
            dataset=dataset, cache_dir=cache, weights="shapes", **{"num_samples": 80, **settings}
        )


def same(a: Statistics, b: Statistics) -> bool:
    pairs = zip((*a.gaussian[:2], a.pairs), (*b.gaussian[:2], b.pairs), strict=True)
    return a.gaussian.n == b.gaussian.n and all(torch.equal(x, y) for x, y in pairs)


def test_the_second_evaluator_reads_the_cache(toy, tmp_path):
    first = make(toy, tmp_path / "new" / "folder").reference
    reads = toy.reads
    assert reads == 80
    again = make(toy, tmp_path / "new" / "folder", batch_size=11, seed=9, num_samples=90, num_real=80).reference
    assert toy.reads == reads and same(first, again)  # fakes, batches and seeds do not concern the reals
    make(toy, tmp_path / "new" / "folder", num_real=70).reference  # noqa: B018
    assert toy.reads == reads + 70
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2  # and no temporary file is left


def test_other_pixels_under_the_same_name_have_their_own_statistics(make_toy, tmp_path):
    one, two = make_toy(), make_toy(train=239)
    assert not same(make(one, tmp_path).reference, make(two, tmp_path).reference)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "half", "garbage"])
def test_a_damaged_file_is_made_again(toy, tmp_path, damage):
    first = make(toy, tmp_path).reference
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "garbage": b"\xff" * 4000}[damage])
    with pytest.warns(UserWarning, match="is damaged .* computed again"):
        second = make(toy, tmp_path).reference
    assert same(first, second) and file.read_bytes() == whole


def test_a_full_disk_costs_the_cache_only(toy, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="could not be stored .*No space left"):
        found = make(toy, tmp_path).reference
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert same(found, make(toy, tmp_path).reference)


def test_a_folder_that_cannot_be_made_costs_the_cache_only(toy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="could not be stored"):
        make(toy, tmp_path / "file" / "inside").reference  # noqa: B018


_WRITER = """
import sys, torch
from pathlib import Path
from gan_lab.metrics.reference import read_tensors, write_tensors
path, value = Path(sys.argv[1]), float(sys.argv[2])
for _ in range(12):
    x = torch.full((300,), value, dtype=torch.float64)
    write_tensors(path, {"mean": x, "cov": x[:, None] * x, "features": torch.full((200, 300), value)})
    found = read_tensors(path, ["mean", "features"], torch.device("cpu"))
    assert found is not None
    assert {float(t.unique()) for t in found.values()} in ({1.0}, {2.0}), "halves of two files"
print("whole")
"""


@pytest.mark.slow
def test_two_processes_may_write_the_same_file_at_once(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", _WRITER, str(tmp_path / "x.safetensors")]
    both = [
        subprocess.Popen([*command, value], stdout=subprocess.PIPE, text=True, env=environment) for value in ("1", "2")
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ["whole", "whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_cache_that_an_older_version_wrote_is_read(toy, tmp_path):
    first = make(toy, tmp_path).reference
    (file,) = tmp_path.iterdir()
    stored = load_file(file)
    assert stored.keys() == {"mean", "cov", "features"}
    save_file({**stored, "counts": torch.zeros(16, dtype=torch.int64)}, file)
    reads = toy.reads
    assert same(make(toy, tmp_path).reference, first) and toy.reads == reads


def test_labels_and_images_are_the_datasets_own(make_toy, tmp_path):
    class Wants(Metric):
        figures = (Figure("wants", higher_is_better=True),)
        needs = ("real.labels", "real.images", "real.split_labels")

    toy = make_toy()
    extra = {"wants": Wants()}
    reference = make(toy, tmp_path, num_real=100, pairwise=30, kid=False, precision_recall=False, extra=extra).reference
    chosen = module.chosen_indices(240, 100)
    assert torch.equal(reference.labels, toy.labels("train")[chosen])
    assert torch.equal(reference.split_labels, toy.labels("train"))
    assert torch.equal(reference.images, toy.images("train", chosen[:30]))
    with pytest.raises(AttributeError, match="'features' was not accumulated: add it to the `needs`"):
        reference.features  # noqa: B018


def test_the_choice_of_reals_is_fixed_distinct_and_nested():
    some, more = module.chosen_indices(1000, 10), module.chosen_indices(1000, 50)
    assert torch.equal(more[:10], some) and len(more.unique()) == 50
    assert some.tolist() == [993, 859, 298, 553, 672, 971, 27, 231, 306, 706]
    assert sorted(module.chosen_indices(7, 7).tolist()) == list(range(7))
