"""However a run ends, its summary says how, and the error that ended it is the one that is told."""

import json
import signal
from types import SimpleNamespace

import pytest
import torch

from gan_lab.diagnostics.collapse import Event
from gan_lab.errors import CollapsedError, DivergedError, InterruptedRun, LostRankError, OutOfMemoryError, StorageError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.training import accelerate, evaluation, recorder
from gan_lab.training.ends import stop_if_requested
from gan_lab.training.recorder import Recorder
from tests.training.short_runs import assert_same, evaluated_run, rows_of, ruin, run, state_of

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
    if told in (OutOfMemoryError, LostRankError, InterruptedRun):  # what was done of step 2 is kept: the update of D
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
    exp = SimpleNamespace(step=step, config=SimpleNamespace(trainer=SimpleNamespace(total_steps=6)))
    recorder = SimpleNamespace(exp=exp, run=SimpleNamespace(path="runs/x"))
    stop = SimpleNamespace(received=received)
    if not stops:
        stop_if_requested(recorder, stop)
        return
    with pytest.raises(InterruptedRun, match=f"step {step}") as found:
        stop_if_requested(recorder, stop)
    assert (found.value.exit_status, found.value.path) == (128 + received, "runs/x")


def signalled_at_step_2(monkeypatch):
    true = accelerate.d_step

    def signalled(exp, real, y):
        if exp.step == 2:
            signal.raise_signal(signal.SIGUSR1)
        return true(exp, real, y)

    monkeypatch.setattr(accelerate, "d_step", signalled)


def test_a_signal_before_the_last_step_leaves_the_state_to_go_on_from(tmp_path, tiny_data, monkeypatch):
    signalled_at_step_2(monkeypatch)
    with pytest.raises(InterruptedRun, match="stopped by SIGUSR1 at step 3"):
        run(tmp_path / "run", tiny_data, "trainer.checkpoint_every_steps=0")
    assert state_of(tmp_path / "run")["step"] == 3


def signalled_in_evaluations(monkeypatch, *whens):
    """Send SIGTERM as an evaluation draws its second batch, in the evaluations so numbered; returns batches drawn."""
    true, drawn = evaluation.evaluate, []

    def evaluate(exp, check):
        drawn.append(0)

        def counting():
            check()
            drawn[-1] += 1
            if drawn[-1] == 2 and len(drawn) in whens:
                signal.raise_signal(signal.SIGTERM)

        return true(exp, counting)

    monkeypatch.setattr(recorder, "evaluate", evaluate)
    return drawn


SMALL_BATCHES = ("trainer.checkpoint_every_steps=0", "metrics.batch_size=16")  # an evaluation has four


@pytest.mark.slow
def test_a_signal_breaks_an_evaluation_off_and_the_resumed_run_makes_it(tmp_path, tiny_data, monkeypatch):
    """At the start, where nothing is to be kept; at step 3; and at the last, 7."""
    drawn = signalled_in_evaluations(monkeypatch, 1, 3, 6)
    for at, steps in ((0, None), (3, [3]), (7, [3, 6, 7])):
        with pytest.raises(InterruptedRun, match=f"SIGTERM in the evaluation at step {at}; the same command") as stop:
            evaluated_run(tmp_path / "run", tiny_data, *SMALL_BATCHES)
        assert (stop.value.exit_status, stop.value.path) == (143, tmp_path / "run")
        checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", 9)
        assert (checkpoints.latest() is None) if steps is None else (checkpoints.latest()["state"]["step"] == at)
        assert at not in [row["step"] for row in rows_of(tmp_path / "run", "metrics.jsonl")]
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert (summary["status"], summary["step"]) == ("interrupted", at)
    evaluated_run(tmp_path / "run", tiny_data, *SMALL_BATCHES)
    assert drawn == [2, 4, 2, 4, 4, 2, 4]
    monkeypatch.undo()
    evaluated_run(tmp_path / "whole", tiny_data, *SMALL_BATCHES)
    for name in ("metrics.jsonl", "train.jsonl"):
        assert rows_of(tmp_path / "run", name) == rows_of(tmp_path / "whole", name)
    assert [row["step"] for row in rows_of(tmp_path / "run", "metrics.jsonl")] == [0, 3, 6, 7]
    assert_same(state_of(tmp_path / "run"), state_of(tmp_path / "whole"))


def test_the_evaluation_of_a_collapse_is_not_broken_off(tmp_path, tiny_data, monkeypatch):
    """A resumed run would not know of the event that stops it."""
    checks = []
    monkeypatch.setattr(recorder, "evaluate", lambda exp, check: checks.append(check) or {"fid_shapes": 1.0})
    event = Event(2, "d_saturated", "collapse", "D is sure", 1.0, 0.5)
    monkeypatch.setattr(Recorder, "log", lambda self, images, y: event if self.exp.step == 2 else None)
    with pytest.raises(CollapsedError, match="step 2: D is sure"):
        evaluated_run(tmp_path / "run", tiny_data)
    assert [check is None for check in checks] == [False, True]


def test_a_second_signal_does_not_disturb_the_checkpoint_of_the_first(tmp_path, tiny_data, monkeypatch):
    """As of Slurm, which warns by SIGUSR1 and then sends SIGTERM."""
    save = Checkpoints.save

    def signalled(self, content, step, best=False):
        signal.raise_signal(signal.SIGTERM)
        save(self, content, step, best=best)

    monkeypatch.setattr(Checkpoints, "save", signalled)
    signalled_at_step_2(monkeypatch)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("the signal reached the caller's handler"))
    try:
        with pytest.raises(InterruptedRun, match="at step 3"):
            run(tmp_path / "run", tiny_data, "trainer.checkpoint_every_steps=0")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state_of(tmp_path / "run")["step"] == 3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"


def test_a_signal_to_a_run_whose_weights_are_not_finite_tells_that_it_diverged(tmp_path, tiny_data, monkeypatch):
    ruin(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(DivergedError):
        run(tmp_path / "run", tiny_data, "trainer.checkpoint_every_steps=0", "trainer.log_every_steps=4")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"
    assert Checkpoints(tmp_path / "run" / "checkpoints", 9).latest() is None
