"""Long work says how far it is: a bar where one is seen, else ever fewer lines."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from gan_lab import progress
from gan_lab.progress import duration, in_notebook, shows_bars, working


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)` lets time pass."""
    now = [0.0]

    def go_on(seconds):
        now[0] += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return go_on


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_log_gets_few_lines_that_say_what_is_left(caplog, clock):
    with caplog.at_level(logging.INFO), working("packing", 1000) as advance:
        for _ in range(100):
            clock(1)
            advance(10)
    assert messages(caplog) == [
        "packing: 110 of 1000 images, 1:29 left",  # after 11 s
        "packing: 230 of 1000 images, 1:17 left",  # after twice as long
        "packing: 470 of 1000 images, 0:53 left",
        "packing: 950 of 1000 images, 0:05 left",
    ]


@pytest.mark.parametrize(("seconds", "quiet"), [(0.09, False), (5, True)])
def test_short_work_and_other_ranks_say_nothing(caplog, clock, seconds, quiet):
    with caplog.at_level(logging.INFO), working("packing", 100, quiet=quiet) as advance:
        for _ in range(100):
            clock(seconds)
            advance(1)
    assert messages(caplog) == []


def test_on_a_terminal_a_bar_is_drawn_and_removed(monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0)
    with caplog.at_level(logging.INFO), working("measuring the reals", 40) as advance:
        advance(10)
    assert shows_bars() and "measuring the reals" in terminal.getvalue() and "/40" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r") and messages(caplog) == []


@pytest.mark.parametrize(
    ("shell", "found"),
    [(SimpleNamespace(kernel=object()), True), (SimpleNamespace(), False), (None, False)],  # Jupyter, ipython, python
)
def test_a_notebook_is_told_from_a_terminal_with_ipython(monkeypatch, shell, found):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook() is found and shows_bars() is found
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook() and not shows_bars()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3600 * 25 + 61, "25:01:01")])
def test_duration(seconds, text):
    assert duration(seconds) == text
