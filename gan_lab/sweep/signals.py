"""Signals in a sweep whose jobs may run in other processes.

The sweep's process puts its identity into an environment variable, which its jobs inherit. A job in another process
writes a file named by its process id into the sweep's folder. On a signal, the sweep's process sends SIGTERM to the
jobs of this machine: those that train write a checkpoint and end, and no further job starts.
"""

import hashlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gan_lab.errors import InterruptedRun, handling, signal_name, signals_here

_VARIABLE = "GAN_LAB_SWEEP"
_NUMBERS = signals_here("SIGTERM", "SIGINT", "SIGUSR1")


def export_identity() -> str:
    """Set the environment that jobs in other processes inherit. Returns the sweep's identity."""
    import gan_lab

    identity = os.environ[_VARIABLE] = f"{_process_identity()}{time.time_ns()}"
    # Jobs must find what this process can import: this package, and extensions in the current folder.
    package = str(Path(gan_lab.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([package, os.getcwd(), *filter(None, known)]))
    # The signal by which submitit preempts a job; training writes a checkpoint on it.
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    return identity


def sweep_identity() -> str:
    """Return the identity of the sweep that this process belongs to, "" outside of one."""
    return os.environ.get(_VARIABLE, "")


def _process_identity() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:"


def _in_job_process() -> bool:
    """Whether this process was started by a sweep, and is not the sweep's own."""
    return bool(sweep_identity()) and not sweep_identity().startswith(_process_identity())


def _jobs_folder(sweep: Path) -> Path:
    return sweep / ".jobs"


def clear(sweep: Path) -> None:
    """Remove the process files of an earlier sweep in the same folder."""
    shutil.rmtree(_jobs_folder(sweep), ignore_errors=True)


def is_new(sweep: Path, text: str) -> bool:
    """Whether no other process of the sweep has asked this of `text` before. True outside of a job's own process."""
    if not _in_job_process():
        return True
    file = _jobs_folder(sweep) / f"said-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # a full disk: say it once more rather than not at all
        return True
    return True


@dataclass
class Stop:
    """The signal that this process received, if any."""

    received: int | None = None


@contextmanager
def stoppable_job(sweep: Path) -> Iterator[None]:
    """Run a block as a job that the sweep's process can stop, also before training begins.

    Does nothing in the sweep's own process. Raises InterruptedRun if the sweep was stopped. While the loop trains, its
    own handlers replace these. Before, a signal ends the block at once, also in the middle of an import, where
    libraries catch an Exception or fail by others.
    """
    if not _in_job_process() or threading.current_thread() is not threading.main_thread():
        yield
        return
    folder = _jobs_folder(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / str(os.getpid())
    pid_file.write_text(socket.gethostname())
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.received = number
        sys.exit(128 + number)

    try:
        with handling([signal.SIGTERM], on_signal):
            # A terminal sends SIGINT to all processes; jobs end at the SIGTERM that the sweep's process then sends.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if (folder / "stop").exists():
                raise InterruptedRun(signal.SIGTERM, "not started, as the sweep was stopped")
            yield
    except (Exception, SystemExit) as error:
        if stop.received is None:
            raise
        message = f"stopped by {signal_name(stop.received)} before training began"
        raise InterruptedRun(stop.received, message) from error
    finally:
        pid_file.unlink(missing_ok=True)


def end_or_requeue(number: int) -> None:
    """After an interrupted job, end the sweep if this is its process, or let submitit requeue on submitit's signal."""
    if not _in_job_process():
        sys.exit(128 + number)
    preempted = f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}" == signal.Signals(number).name
    if "SUBMITIT_EXECUTOR" in os.environ and preempted:
        signal.raise_signal(number)  # the loop has restored submitit's handler


@contextmanager
def forwarded_to_jobs(sweep: Callable[[], Path | None]) -> Iterator[Stop]:
    """Run a block, the sweep, in which signals stop the jobs in other processes; the block then waits for them.

    A signal ends this process at once if there are no such jobs, or if it is the second. A job that trains in this
    process installs its own handlers meanwhile. `sweep()` returns the sweep's folder once it is known.
    """
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        folder = sweep()
        if stop.received is None and folder is not None and _terminate_jobs(folder):
            stop.received = number
            return
        sys.exit(128 + number)

    with handling(_NUMBERS, on_signal):
        yield stop


def _terminate_jobs(sweep: Path) -> bool:
    """Send SIGTERM to the sweep's jobs on this machine. Returns True if any was running."""
    pid_files = [c for c in _jobs_folder(sweep).glob("[0-9]*") if c.read_text() == socket.gethostname()]
    if pid_files:
        (_jobs_folder(sweep) / "stop").touch()
    running = False
    for file in pid_files:
        try:
            os.kill(int(file.name), signal.SIGTERM)
        except OSError:  # it has ended, or its number is another user's process now
            continue
        running = True
    return running
