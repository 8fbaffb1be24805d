"""Errors that end a run, each with the exit status of the command line."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MAX_CHARACTERS, MAX_WORD = 800, 200


def escaped(text: str) -> str:
    """Escape control characters, line feeds included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Make text of unknown origin one printable line: control characters escaped, long words and lines shortened."""
    words = escaped(text.replace("\n", " ")).split(" ")
    return _shortened(" ".join(_shortened(word, MAX_WORD) for word in words), MAX_CHARACTERS)


def _shortened(text: str, limit: int) -> str:
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


def useful_line(error: BaseException) -> str:
    """Return the line of an error's message that says what is wrong, or its type's name if it has no message.

    That is the first line. If it ends in a colon, the next line is added to it, and how many follow: so torch reports
    weights that do not fit. Of an error in a YAML file it is the problem with its place.
    """
    problem, place = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and place is not None:
        return f"{problem}, in line {place.line + 1}, column {place.column + 1}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if not lines[0].endswith(":") or len(lines) == 1:
        return lines[0]
    more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
    return f"{lines[0]} {lines[1].rstrip('.')}{more}"


def signals_here(*names: str) -> tuple[signal.Signals, ...]:
    """Return the signals of these names that the system has: Windows lacks SIGHUP and SIGUSR1."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def signal_name(number: int) -> str:
    """Name a signal as people know it: Ctrl-C, SIGTERM."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


@contextmanager
def handling(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle signals in a block. Outside the main thread signals cannot be caught; then nothing is installed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class GanLabError(Exception):
    """Base of the errors that are shown to the user as one sentence, without a traceback.

    Messages quote file names, settings and other libraries' errors, so the shown text is escaped and shortened here.
    """

    exit_status = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class UserError(GanLabError):
    """Bad configuration, data, weights or command; the message says what, where, and what to do (exit status 2)."""

    exit_status = 2


class DivergedError(GanLabError):
    """Training produced a non-finite number (exit status 3)."""

    exit_status = 3


class InterruptedRun(GanLabError):
    """A signal stopped the run in `path`, with a checkpoint if a step had been done (exit status 128 + signal)."""

    def __init__(self, signal_number: int, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.signal_number, self.path = signal_number, path
        self.exit_status = 128 + signal_number


class LostRankError(GanLabError):
    """Another process of the same training ended or could not be reached (exit status 1)."""


class OutOfMemoryError(GanLabError):
    """The device's memory does not hold a training step; the message names settings that fit (exit status 1)."""


class CollapsedError(GanLabError):
    """A collapse was detected and `stop_on_collapse` is set; the best checkpoint is kept (exit status 4)."""

    exit_status = 4


class StorageError(GanLabError):
    """A file could not be written; the message says which, why, and what to do (exit status 1)."""
