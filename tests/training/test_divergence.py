"""Too many skipped updates in a row stop the run and say what and where; so does a weight that is not finite."""

import json

import pytest
import torch

from gan_lab.errors import DivergedError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training.divergence import count_skipped
from tests.training.short_runs import build, poison, ruin, run, state_of


def test_single_bad_updates_are_skipped_and_counted(tmp_path, tiny_data, monkeypatch, caplog):
    poison(monkeypatch, "g", lambda index: index == 2)
    poison(monkeypatch, "d", lambda index: index == 4)
    folder = run(tmp_path / "run", tiny_data)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["skipped_updates"]) == ("finished", 2)
    rows = read_rows(folder / "train.jsonl")
    assert [r["skipped_updates"] for r in rows] == [0.0, 1.0, 2.0]
    assert all(value is not None for row in rows for value in row.values())
    assert "skipped an update: loss/g became non-finite at step 3" in caplog.text
    assert "skipped an update: loss/d became non-finite at step 5" in caplog.text


@pytest.mark.parametrize("side", ["d", "g"])
def test_too_many_in_a_row_stop_the_run_with_names(tmp_path, tiny_data, monkeypatch, side):
    poison(monkeypatch, side, lambda index: index >= (9 if side == "d" else 3))
    with pytest.raises(
        DivergedError, match=rf"loss/{side}.*step [456], first in the gradient of {side.upper()}\.\w+.*2 updates"
    ):
        run(tmp_path / "run", tiny_data, "trainer.max_skipped_updates=1", "trainer.n_dis=3")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"
    state = Checkpoints(tmp_path / "run" / "checkpoints", 9).latest()["state"]
    assert all(torch.isfinite(v).all() for net in ("G", "D", "G_ema") for v in state[net].values())


@pytest.mark.slow
def test_the_first_stops_a_run_without_patience(tmp_path, tiny_data, monkeypatch):
    poison(monkeypatch, "d", lambda index: index == 3)
    with pytest.raises(DivergedError, match="loss/d became non-finite at step 4"):
        run(tmp_path / "run", tiny_data, "trainer.max_skipped_updates=0")
    assert Checkpoints(tmp_path / "run" / "checkpoints", 9).latest()["state"]["step"] == 2


def test_a_row_of_skipped_updates_ends_with_one_that_is_not(tiny_data):
    x = build(tiny_data)
    found = []
    for side, skipped in (("d", 1), ("d", 1), ("g", 1), ("d", 0), ("g", 1), ("d", 1)):
        assert count_skipped(x, {"loss": torch.tensor(1.0), f"skipped/{side}": torch.tensor(float(skipped))}) == side
        found.append([int(x.skipped[name]) for name in ("total", "d", "g")])
    assert found == [[1, 1, 0], [2, 2, 0], [3, 2, 1], [3, 0, 1], [4, 0, 2], [5, 1, 2]]


def test_divergence_is_named_and_the_last_good_checkpoint_stays(tmp_path, tiny_data, monkeypatch):
    ruin(monkeypatch, 4)
    words = ("trainer.total_steps=7", "trainer.checkpoint_every_steps=3")
    with pytest.raises(DivergedError, match="non-finite.*step 6"):
        run(tmp_path / "run", tiny_data, *words)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    state = state_of(tmp_path / "run")
    assert state["step"] == 3
    assert all(torch.isfinite(v).all() for v in state["G"].values())
