"""Speed and time left follow what training does now; the summary's speed is over the whole run."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch

import gan_lab
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.runs.files import read_rows
from gan_lab.training import progress as progress_module
from gan_lab.training.progress import RECENT, Progress
from gan_lab.training.recorder import Recorder
from tests.training.short_runs import PLAIN, state_of


@pytest.fixture
def go_on(monkeypatch):
    """`go_on(seconds)` lets time pass."""
    now = [1000.0]

    def later(seconds):
        now[0] += seconds

    monkeypatch.setattr(progress_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return later


def interval(progress, go_on, seconds, steps=10):
    """An interval of training with an evaluation in it; returns its speed."""
    for _ in range(steps):
        go_on(seconds)
        progress.advance()
    with progress.pause():
        go_on(500.0)
    return progress.end_interval()


def line(progress, step, speed, caplog):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        progress.report(step, {"loss/d": 0.5, "images_per_second": speed})
    return caplog.records[-1].getMessage()


def test_a_slowdown_is_seen_in_its_interval_and_soon_in_the_time_left(go_on, caplog):
    """1000 steps are left all the time: 1:40 minutes of the fast ones, 16:40 of the slow ones."""
    progress = Progress(0, 2000, images_per_step=8)
    for _ in range(100):
        assert interval(progress, go_on, 0.1) == pytest.approx(80)
    assert line(progress, 1000, 80.0, caplog) == "step 1000/2000  d 0.5  80 images/s  1:40 left"
    lefts = []
    for _ in range(RECENT):
        assert interval(progress, go_on, 1.0) == pytest.approx(8)
        lefts.append(line(progress, 1000, 8.0, caplog).split("images/s")[1].split()[0])
        assert " 8 images/s " in caplog.text
    assert lefts == ["4:40", "7:40", "10:40", "13:40", "16:40"]
    assert interval(progress, go_on, 0.1) == pytest.approx(80)


def test_there_is_no_speed_without_a_step(go_on, caplog):
    progress = Progress(5, 10, images_per_step=8)
    go_on(3.0)
    assert progress.end_interval() is None
    with caplog.at_level(logging.INFO):
        progress.report(5, {"images_per_second": 0.0})
    assert caplog.text == "" and progress.images_per_second([]) is None
    assert interval(progress, go_on, 2.0) == pytest.approx(4)


def test_the_speed_of_a_run_is_its_images_over_its_seconds_of_training(go_on):
    """80 images of an earlier process in 20 s, 80 of this one in 10 s, and 16 after the last row in 6 s."""
    progress = Progress(10, 100, images_per_step=8)
    rows = [{"images_seen": 40, "images_per_second": 8.0}, {"images_seen": 80, "images_per_second": 40 / 15}]
    assert progress.images_per_second(rows) is None  # this process has trained nothing
    rows.append({"images_seen": 160, "images_per_second": interval(progress, go_on, 1.0)})
    assert progress.images_per_second(rows) == pytest.approx(160 / 30)
    for _ in range(2):
        go_on(3.0)
        progress.advance()
    assert progress.images_per_second(rows) == pytest.approx(176 / 36)
    unknown = [{"images_seen": 999, "images_per_second": None}, {"images_per_second": 3.0}]  # left out, both
    assert progress.images_per_second([*rows, *unknown]) == pytest.approx(176 / 36)


def test_the_summary_of_a_resumed_run_counts_every_process(tmp_path, tiny_data, go_on):
    """Two steps of a second each, then two of ten seconds, of 8 images."""
    config = gan_lab.compose(f"data_dir={tiny_data}", *PLAIN)
    for start, seconds in ((0, 1.0), (2, 10.0)):
        exp = gan_lab.build(config)
        if start:
            exp.load_state_dict(state_of(tmp_path))
        recorder = Recorder(exp, RunDirectory(tmp_path, exp.config), Checkpoints(tmp_path / "checkpoints", keep=9))
        recorder.open()
        for exp.step in (start + 1, start + 2):
            go_on(seconds)
            recorder.progress.advance()
        recorder.log(torch.zeros(8, 3, 32, 32), None)
        recorder.save()
        recorder.close("interrupted")
    assert [row["images_per_second"] for row in read_rows(tmp_path / "train.jsonl")] == pytest.approx([8.0, 0.8])
    assert json.loads((tmp_path / "summary.json").read_text())["images_per_second"] == round(32 / 22, 1)
