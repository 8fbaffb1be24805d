"""Signals in a sweep whose jobs may run in other processes.

The sweep's process names itself in an environment variable, which its jobs inherit. A job in another process of this
machine says where it is by a file in the sweep's folder, so that a signal can be passed on to it: every job that trains
writes its checkpoint and ends, and none starts after that.
"""

from __future__ import annotations

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

from gan_lab.errors import InterruptedRun

_VARIABLE = "GAN_LAB_SWEEP"
_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def name_this_sweep() -> str:
    """Set the environment that jobs in other processes inherit; returns the sweep's identity."""
    import gan_lab

    identity = os.environ[_VARIABLE] = f"{_here()}{time.time_ns()}"
    # What is importable here must be so there: this package, and extensions that lie beside the user.
    package = str(Path(gan_lab.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([package, os.getcwd(), *filter(None, known)]))
    # The signal by which submitit asks a job to make room; ours checkpoints on it.
    os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    return identity


def sweep_identity() -> str:
    """The sweep that this process or the one that started it has named; "" outside of one."""
    return os.environ.get(_VARIABLE, "")


def _here() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:"


def _elsewhere() -> bool:
    """Whether this process is not the sweep's own."""
    return bool(sweep_identity()) and not sweep_identity().startswith(_here())


def _under_submitit() -> bool:
    return "SUBMITIT_EXECUTOR" in os.environ


def _jobs(sweep: Path) -> Path:
    return sweep / ".jobs"


def clear(sweep: Path) -> None:
    """Forget the processes of an earlier sweep in the same folder."""
    shutil.rmtree(_jobs(sweep), ignore_errors=True)


@contextmanager
def listening(sweep: Path) -> Iterator[None]:
    """Around a job: in a process of its own be found by the sweep's, and end at a signal even before training.

    Raises InterruptedRun if the sweep has been told to stop. While the loop trains, its own handlers replace these.
    """
    if not _elsewhere() or threading.current_thread() is not threading.main_thread():
        yield
        return
    folder = _jobs(sweep)
    folder.mkdir(parents=True, exist_ok=True)
    card = folder / str(os.getpid())
    card.write_text(socket.gethostname())
    before = signal.signal(signal.SIGTERM, _raise)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the sweep's process passes on SIGTERM
    try:
        if (folder / "stop").exists():
            raise InterruptedRun(signal.SIGTERM, "not started, as the sweep was stopped")
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        card.unlink(missing_ok=True)


def _raise(number: int, frame: FrameType | None) -> None:
    raise InterruptedRun(number, f"stopped by signal {number} before training began")


def end_or_requeue(number: int) -> None:
    """After a job was interrupted: in the sweep's process end it; at submitit's own signal let submitit requeue it."""
    if not _elsewhere():
        sys.exit(128 + number)
    if _under_submitit() and f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}" == signal.Signals(number).name:
        signal.raise_signal(number)  # the loop has put submitit's handler back


@dataclass
class Stop:
    """The signal that the sweep's process got, if any."""

    received: int | None = None


@contextmanager
def passing_on(sweep: Callable[[], Path | None]) -> Iterator[Stop]:
    """Around the sweep, in its process: pass a signal on to the jobs and wait for them; without any, end at once.

    A second signal ends at once. A job that trains in this process has handlers of its own meanwhile.
    """
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        folder = sweep()
        if stop.received is None and folder is not None and _pass_on(folder):
            stop.received = number
            return
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, on_signal) for number in _NUMBERS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pass_on(sweep: Path) -> bool:
    """Ask every job of this machine to end; whether there was one."""
    cards = [c for c in _jobs(sweep).glob("[0-9]*") if c.read_text() == socket.gethostname()]
    if cards:
        (_jobs(sweep) / "stop").touch()
    asked = False
    for card in cards:
        try:
            os.kill(int(card.name), signal.SIGTERM)
        except ProcessLookupError:
            continue
        asked = True
    return asked
