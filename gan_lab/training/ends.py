"""How a run ends: its status, and a last checkpoint where something broke off."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from gan_lab.data import TrainingImages
from gan_lab.distributed import collectives
from gan_lab.distributed.memory import ran_out, release
from gan_lab.errors import (
    CollapsedError,
    DivergedError,
    InterruptedRun,
    LostRankError,
    OutOfMemoryError,
    signal_name,
)
from gan_lab.experiment import Experiment
from gan_lab.training import out_of_memory
from gan_lab.training.accelerate import Updates
from gan_lab.training.progress import StopSignal
from gan_lab.training.recorder import Recorder

log = logging.getLogger(__name__)

STATUS: dict[type[BaseException], str] = {
    DivergedError: "diverged",
    CollapsedError: "collapsed",
    InterruptedRun: "interrupted",
}


@contextmanager
def ending(exp: Experiment, recorder: Recorder, updates: Updates, reals: TrainingImages) -> Iterator[None]:
    """Around the steps of a run: save what can be saved when they break off, and write how the run ended."""
    processes = collectives.processes()
    status = "failed"
    try:
        with _saved_when_interrupted(exp, recorder):
            yield
        status = "finished"
    except (LostRankError, OutOfMemoryError):  # the latter in an evaluation, which has found a batch that fits
        _save_unfinished_step(exp, recorder, processes)
        raise
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        release(error)
        updates.drop_graphs()
        _save_unfinished_step(exp, recorder, processes)
        raise out_of_memory.explained(exp, *reals.batch(0), error) from error
    except tuple(STATUS) as error:
        status = STATUS[type(error)]
        raise
    finally:
        if exp.ahead is not None:
            exp.ahead.close()
        recorder.close(status)


@contextmanager
def _saved_when_interrupted(exp: Experiment, recorder: Recorder) -> Iterator[None]:
    try:
        yield
    except InterruptedRun:
        if exp.step > 0:
            recorder.save(must=True)
        raise


def _save_unfinished_step(exp: Experiment, recorder: Recorder, processes: list[tuple[str, int]]) -> None:
    """A checkpoint after a process was lost or memory ran out: the update that broke off has left no trace.

    On a GPU a lost process may leave kernels that never end, so there the last checkpoint has to do.
    """
    if (exp.step == 0 and exp.substep == 0) or (collectives.active() and exp.device.type != "cpu"):
        return
    recorder.writes = collectives.is_first_alive(processes)
    try:
        if recorder.writes:
            recorder.run.lock()
        recorder.save()
    except Exception as error:  # the first error is the one to tell
        log.warning("no checkpoint could be written after it: %s", error)


def stop_if_requested(recorder: Recorder, stop: StopSignal) -> None:
    """Raise InterruptedRun if any process was asked to stop by a signal, unless nothing is left to do."""
    number, exp = collectives.highest(stop.received or 0), recorder.exp
    if number and exp.step < exp.config.trainer.total_steps:
        raise InterruptedRun(
            number,
            f"stopped by {signal_name(number)} at step {exp.step}; the same command goes on from there",
            recorder.run.path,
        )


def break_off_if_requested(recorder: Recorder, stop: StopSignal) -> None:
    """Raise InterruptedRun inside an evaluation, which the resumed run begins again.

    Several processes finish it first: a signal reaches them at different batches.
    """
    if stop.received and not collectives.active():
        raise InterruptedRun(
            stop.received,
            f"stopped by {signal_name(stop.received)} in the evaluation at step {recorder.exp.step}; the same command "
            "begins it again and goes on",
            recorder.run.path,
        )
