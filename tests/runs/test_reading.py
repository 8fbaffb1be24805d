"""A run directory read from Python: flat rows, and what is missing while a run is under way."""

import os

import pytest

import gan_lab
from gan_lab.errors import UserError
from gan_lab.runs.files import append_row


def test_rows_are_flat_and_complete(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\ndata: {a: 1}\n")
    append_row(tmp_path / "metrics.jsonl", {"step": 0, "fid": 9.5, "protocol": "ab", "events": [{"kind": "x"}]})
    append_row(tmp_path / "metrics.jsonl", {"step": 5, "fid": 4.5, "protocol": "ab"})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "fi')  # being written
    append_row(tmp_path / "train.jsonl", {"step": 1, "loss/d": 1.5})
    (tmp_path / "samples").mkdir()
    for name in ("samples-00000005.png", "raw-00000005.png", "samples-00000000.png"):
        (tmp_path / "samples" / name).touch()
    run = gan_lab.open_run(str(tmp_path))
    rows = [{"step": 0, "fid": 9.5, "protocol": "ab"}, {"step": 5, "fid": 4.5, "protocol": "ab"}]
    assert run.metrics() == rows and run.scalars() == [{"step": 1, "loss/d": 1.5}]
    assert run.config == {"seed": 3, "data": {"a": 1}} and run.summary == {}
    assert [p.name for p in run.samples()] == ["samples-00000000.png", "samples-00000005.png"]
    assert os.fspath(run) == str(tmp_path) and repr(run) == f"Run('{tmp_path}', not finished)"
    frame = pytest.importorskip("pandas").DataFrame(run.metrics())
    assert frame["fid"].tolist() == [9.5, 4.5] and list(frame.columns) == ["step", "fid", "protocol"]


def test_a_folder_that_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match="is no run directory"):
        gan_lab.open_run(tmp_path)
