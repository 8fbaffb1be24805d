"""However a run ends, its summary says how, and the error that ended it is the one that is told."""

import json
import signal
from types import SimpleNamespace

import pytest
import torch

from gan_lab.errors import CollapsedError, DivergedError, InterruptedRun, LostRankError, OutOfMemoryError, StorageError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.training import accelerate
from gan_lab.training.ends import stop_if_requested
from tests.training.short_runs import run, state_of

ENDS = [
    (DivergedError("not finite"), "diverged", DivergedError),
    (CollapsedError("collapsed"), "collapsed", CollapsedError),
    (InterruptedRun(15, "stopped"), "interrupted", InterruptedRun),
    (StorageError("full"), "failed", StorageError),
    (ValueError("a mistake"), "failed", ValueError),
    (RuntimeError("size mismatch"), "failed", RuntimeError),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "failed", OutOfMemoryError),
    (torch.OutOfMemoryError("CUDA out of memory"), "failed", OutOfMemoryError),
    (LostRankError("rank 1 has gone"), "failed", LostRankError),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "status", "told"), ENDS, ids=[f"{type(e).__name__}-{i}" for i, (e, *_) in enumerate(ENDS)]
)
def test_the_summary_says_how_it_ended(tmp_path, tiny_data, monkeypatch, error, status, told):
    true = accelerate.g_step

    def fails(exp, real, y):
        if exp.step == 1:
            raise error
        return true(exp, real, y)

    monkeypatch.setattr(accelerate, "g_step", fails)
    with pytest.raises(told) as found:
        run(tmp_path / "run", tiny_data)
    assert (found.value is error) == (told is type(error))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["images_seen"]) == (status, 1, 8)
    saved = Checkpoints(tmp_path / "run" / "checkpoints", 9).latest()
    if told in (OutOfMemoryError, LostRankError):  # what was done of step 2 is kept: the update of D
        assert (saved["state"]["step"], saved["state"]["substep"]) == (1, 1)
    else:
        assert saved is None
    monkeypatch.undo()
    run(tmp_path / "run", tiny_data)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


def test_what_breaks_off_before_the_first_update_is_done_leaves_no_checkpoint(tmp_path, tiny_data, monkeypatch):
    def fails(exp, real, y):
        raise LostRankError("rank 1 has gone")

    monkeypatch.setattr(accelerate, "d_step", fails)
    with pytest.raises(LostRankError):
        run(tmp_path / "run", tiny_data)
    assert Checkpoints(tmp_path / "run" / "checkpoints", 9).latest() is None


def test_the_first_error_is_told_where_no_checkpoint_can_be_written(tmp_path, tiny_data, monkeypatch, caplog):
    true = accelerate.g_step

    def fails(exp, real, y):
        if exp.step == 1:
            raise LostRankError("rank 1 has gone")
        return true(exp, real, y)

    def full(self, content, step, best=False):
        raise OSError("no space")

    monkeypatch.setattr(accelerate, "g_step", fails)
    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(LostRankError, match="rank 1 has gone"):
        run(tmp_path / "run", tiny_data, "trainer.checkpoint_every_steps=0")
    assert "no checkpoint could be written after it: no space" in caplog.text


@pytest.mark.parametrize(
    ("received", "step", "stops"),
    [(None, 3, False), (signal.SIGTERM, 3, True), (signal.SIGTERM, 6, False), (signal.SIGUSR1, 5, True)],
)
def test_a_signal_stops_a_run_that_is_not_at_its_end(received, step, stops):
    saved = []
    exp = SimpleNamespace(step=step, config=SimpleNamespace(trainer=SimpleNamespace(total_steps=6)))
    recorder = SimpleNamespace(exp=exp, save=lambda must: saved.append(must), run=SimpleNamespace(path="runs/x"))
    stop = SimpleNamespace(received=received)
    if not stops:
        stop_if_requested(recorder, stop)
        assert saved == []
        return
    with pytest.raises(InterruptedRun, match=f"step {step}") as found:
        stop_if_requested(recorder, stop)
    assert saved == [True] and (found.value.exit_status, found.value.path) == (128 + received, "runs/x")


def test_a_signal_before_the_last_step_leaves_the_state_to_go_on_from(tmp_path, tiny_data, monkeypatch):
    true = accelerate.d_step

    def signalled(exp, real, y):
        if exp.step == 2:
            signal.raise_signal(signal.SIGUSR1)
        return true(exp, real, y)

    monkeypatch.setattr(accelerate, "d_step", signalled)
    with pytest.raises(InterruptedRun, match="stopped by SIGUSR1 at step 3"):
        run(tmp_path / "run", tiny_data, "trainer.checkpoint_every_steps=0")
    assert state_of(tmp_path / "run")["step"] == 3
