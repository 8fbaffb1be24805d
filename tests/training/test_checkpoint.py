"""Checkpoints: what stays, what is refused, and what is fallen back to."""

import pickle

import pytest
import torch

from gan_lab.errors import UserError
from gan_lab.training.checkpoint import Checkpoints, load_checkpoint


def names(folder):
    return sorted(p.name for p in folder.glob("*.pt"))


def test_keeps_the_last_ones_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 4, 5):
        checkpoints.save({"x": torch.tensor([step])}, step, best=step == 2)
    assert names(tmp_path) == ["step-00000002.pt", "step-00000004.pt", "step-00000005.pt"]
    index = checkpoints.index()
    assert (index["latest"], index["best"]) == ("step-00000005.pt", "step-00000002.pt")
    assert sorted(index["files"]) == names(tmp_path)
    assert checkpoints.latest()["x"].item() == 5


def test_a_broken_newest_one_falls_back_to_the_one_before_and_says_so(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2):
        checkpoints.save({"x": torch.tensor([step])}, step)
    path = tmp_path / "step-00000002.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert checkpoints.latest()["x"].item() == 1
    assert "step-00000002.pt is damaged" in caplog.text
    path.unlink()
    assert checkpoints.latest()["x"].item() == 1
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(UserError, match="none of the checkpoints"):
        checkpoints.latest()


def test_no_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=1).latest() is None


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / "bomb.pt"
    torch.save({"format_version": 1, "x": Bomb()}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


def test_another_format_version_is_refused_by_its_number(tmp_path):
    torch.save({"format_version": 99}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="format 99.*reads format 1"):
        load_checkpoint(tmp_path / "x.pt")
