"""What code under test does with one hostile input, held against what it may do.

It may succeed, or raise a GanLabError of one short line. It may not take longer than `SECONDS` (without what the
thread spends waiting for a processor that other programs hold), nor claim more memory
than `MEMORY` on top of what was in use, nor write outside the folder it was given, start a program, open a connection,
unpickle anything, or log a line that carries control characters. Python's audit events tell what is opened and
started; a listing before and after finds what native code wrote beside the input.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_lab.errors import GanLabError

SECONDS = 10.0
MEMORY = 2 * 2**30
SENTENCE = 800  # characters

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.rmtree", "shutil.move", "shutil.copyfile",
}  # fmt: skip
_STARTS = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "os.kill",
    "os.chdir", "os.putenv", "pickle.find_class", "socket.connect", "socket.bind", "webbrowser.open", "urllib.Request",
}  # fmt: skip


class TimeUp(BaseException):
    """Not an Exception, so that code which meets anything with `except Exception` cannot go on."""


class Forbidden(PermissionError):
    """Raised in the place of the act itself: the code under test cannot do harm even where it fails the test."""


@dataclass(frozen=True)
class Case:
    """One input: in words, what to do with it, and what else must hold of a success (a sentence if it does not)."""

    said: str
    action: Callable[[], Any]
    verify: Callable[[Any], str | None] = lambda result: None
    seconds: float = SECONDS


Make = Callable[[random.Random, Path], Case]
"""A case from random numbers; files of the input go into the folder's `input`, those of the code into its `data`."""


@dataclass
class Verdict:
    """What came of a case; without `faults` it kept the contract."""

    accepted: bool = False
    sentence: str = ""
    seconds: float = 0.0
    peak: int = 0  # bytes on top of what was in use
    faults: list[str] = field(default_factory=list)


class _Records(logging.Handler):
    """Keeps log lines; a library that logs a traceback has not told it in one sentence."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info or not is_line(text):
            self.faults.append(f"logged {text[:200]!r}")


def is_line(text: str) -> bool:
    """One line that a terminal shows as it is."""
    return bool(text) and all(c.isprintable() or c == "\t" for c in text) and text.encode("utf-8", "replace") != b""


def _memory(field_name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field_name))


def _clock() -> float:
    """Seconds that the thread ran or slept: a busy machine must not look like a hang."""
    with open("/proc/thread-self/schedstat") as file:
        return time.perf_counter() - int(file.read().split()[1]) / 1e9


class Sandbox:
    """One folder with `input`, `data` and `work`, the last the current directory; of these only `data` may change."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.canary = self.root / "canary"  # hostile inputs that run code would create it
        self._acts: list[str] | None = None
        for name in ("input", "data", "work"):
            (self.root / name).mkdir(parents=True)
        multiprocessing.get_start_method()  # Python 3.14 tries out the temporary folder for it, once in a process
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._acts is None:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(c in mode for c in "wxa+") if isinstance(mode, str) else bool((flags or 0) & _WRITING)
            if writes and not isinstance(path, int) and not self._may_change(path):
                self._refuse(f"opened {path!r} for writing")
        elif event in _STARTS:
            self._refuse(f"{event}{arguments!r}"[:200])
        elif event in _CHANGES:
            folder = ""
            if event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] != -1:  # relative to an open folder
                folder = os.readlink(f"/proc/self/fd/{arguments[-1]}")
            for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink", "shutil.move") else 1]:
                if isinstance(path, (str, bytes, os.PathLike)) and not self._may_change(os.fsdecode(path), folder):
                    self._refuse(f"{event} of {path!r}")

    def _refuse(self, act: str) -> None:
        assert self._acts is not None
        self._acts.append(act)
        raise Forbidden(act)

    def _may_change(self, path: str | bytes | os.PathLike[str], folder: str = "") -> bool:
        real = os.path.realpath(os.path.join(folder, os.fsdecode(path)))
        return real == "/dev/null" or Path(real).is_relative_to(self.root / "data")

    def empty(self) -> None:
        """Remove what a case left; a program does it, as folders may lie deeper than Python can recurse."""
        folders = [str(self.root / name) for name in ("input", "data", "work")]
        subprocess.run(["rm", "-rf", *folders], check=True)
        for folder in folders:
            os.mkdir(folder)

    def _listing(self) -> dict[str, tuple[int, int]]:
        found, pending = {}, [str(self.root)]
        while pending:
            for entry in os.scandir(pending.pop()):
                status = entry.stat(follow_symlinks=False)
                found[entry.path] = (status.st_size, status.st_mtime_ns)
                if entry.is_dir(follow_symlinks=False) and entry.path != str(self.root / "data"):
                    pending.append(entry.path)
        del found[str(self.root / "data")]
        return found

    @contextmanager
    def _watched(self, seconds: float) -> Iterator[list[str]]:
        began = _clock()

        def stop(number: int, frame: Any) -> None:
            if (left := began + seconds - _clock()) <= 0:
                raise TimeUp
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.01))

        records, root_logger = _Records(), logging.getLogger("gan_lab")
        acts: list[str] = []
        before = signal.signal(signal.SIGALRM, stop)
        propagate, root_logger.propagate = root_logger.propagate, False
        # A module that is first imported here may lack its byte code, which Python then writes beside it.
        quiet, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        root_logger.addHandler(records)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self._acts = acts
        try:
            yield acts
        finally:
            self._acts = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            root_logger.removeHandler(records)
            root_logger.propagate, sys.dont_write_bytecode = propagate, quiet
            acts += records.faults

    def judge(self, case: Case) -> Verdict:
        """Do it, and hold what happened against the contract."""
        verdict, result = Verdict(), None
        home, listing = os.getcwd(), self._listing()
        os.chdir(self.root / "work")
        trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)
        trim(0)  # what other tests have freed is not to be had again for nothing
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is in use
        in_use, began = _memory("VmRSS"), _clock()
        try:
            with self._watched(case.seconds) as acts:
                result = case.action()
            verdict.accepted = True
        except GanLabError as error:
            verdict.sentence = str(error)
            verdict.faults += sentence_faults(verdict.sentence)
        except TimeUp:
            verdict.faults.append(f"hung for {case.seconds:.0f} s")
        except BaseException as error:  # what a user would see as a traceback
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            verdict.faults.append(
                f"raised {type(error).__name__}: {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}"
            )
        finally:
            os.chdir(home)
        verdict.seconds, verdict.peak = _clock() - began, max(0, _memory("VmHWM") - in_use)
        verdict.faults += acts
        if verdict.accepted and (complaint := case.verify(result)):
            verdict.faults.append(complaint)
        if verdict.peak > MEMORY:
            verdict.faults.append(f"claimed {verdict.peak / 2**20:,.0f} MiB")
        if self.canary.exists():
            verdict.faults.append("executed code of the input")
            self.canary.unlink()
        if self._listing() != listing:
            changed = sorted(set(self._listing().items()) ^ set(listing.items()))
            verdict.faults.append(f"changed {changed[0][0]!r} outside its folder")
        return verdict


def sentence_faults(sentence: str) -> list[str]:
    """What keeps an error's text from being one short line without a traceback."""
    faults = []
    if not is_line(sentence):
        faults.append(f"said no single printable line: {sentence[:200]!r}")
    if len(sentence) > SENTENCE:
        faults.append(f"said {len(sentence)} characters: {sentence[:100]!r}...")
    if "Traceback" in sentence or 'File "' in sentence:
        faults.append(f"said a traceback: {sentence[:200]!r}")
    return faults


def limit_memory(extra: int) -> None:
    """From here on the process may map at most this much more than it has."""
    most = _memory("VmSize") + extra
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
