"""Say how far long work is: a bar on a terminal or in a notebook, elsewhere a line of the log now and then."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

FIRST_SECONDS = 3.0  # work that is done sooner is not mentioned
FIRST_LINE_SECONDS = 10.0  # the next lines follow after twice as long each, so that a log stays short


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel. The standard error of a kernel is no terminal, but shows a bar."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


def shows_bars() -> bool:
    """Whether whoever reads the standard error sees a bar move: on a terminal or in a notebook."""
    return in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def working(what: str, total: int, unit: str = "images", *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many of `total` more are done while a block works at `what`."""
    off = quiet or not shows_bars()
    bar = tqdm(total=total, desc=what, unit=f" {unit}", disable=off, leave=False, delay=FIRST_SECONDS)
    began, wait, done = time.monotonic(), FIRST_LINE_SECONDS, 0

    def advance(more: int) -> None:
        nonlocal wait, done
        done += more
        bar.update(more)
        seconds = time.monotonic() - began
        if off and not quiet and 0 < done < total and seconds > wait:
            wait = 2 * seconds
            log.info("%s: %d of %d %s, %s left", what, done, total, unit, duration(seconds * (total - done) / done))

    try:
        yield advance
    finally:
        bar.close()


def duration(seconds: float) -> str:
    """Format as 1:02:03 or 4:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
