"""Atomic files and JSON-lines logs."""

import json
import os

import pytest

from gan_lab.training.files import append_row, keep_rows_up_to, read_rows, write_atomically, write_json


def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_rows_survive_a_line_cut_off_by_a_crash(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in (1, 2, 3):
        append_row(path, {"step": step, "loss": step / 2})
    with open(path, "a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in read_rows(path)] == [1, 2, 3]
    keep_rows_up_to(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 1.0}\n'
    append_row(path, {"step": 3})
    assert [r["step"] for r in read_rows(path)] == [1, 2, 3]


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "absent.jsonl") == []
