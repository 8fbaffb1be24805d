"""Messages are one printable line, whatever they quote; each error has its exit status."""

import signal

import pytest

from gan_lab import errors
from gan_lab.errors import GanLabError, InterruptedRun, UserError, escaped, one_line, signals_here, useful_line


def test_control_characters_are_shown_and_do_nothing():
    assert escaped("a\x1b[31m\tb\né") == "a\\x1b[31m\\tb\\né"
    assert str(UserError("line\nline\r\x07")) == "line line\\r\\x07"


def test_long_words_and_long_messages_keep_both_ends():
    word = one_line(f"file {'x' * 150}{'y' * 150}.png is bad")
    assert word.startswith("file " + "x" * 98 + "...") and word.endswith("y" * 94 + ".png is bad")
    assert len(word.split()[1]) <= errors.MAX_WORD
    text = one_line(" ".join(["begin", *["word"] * 500, "end"]))
    assert len(text) <= errors.MAX_CHARACTERS and text.startswith("begin") and text.endswith("end")
    assert one_line("as it is") == "as it is"


def test_the_first_line_of_an_error_or_its_kind():
    assert useful_line(ValueError("\n  one\ntwo")) == "one"
    assert useful_line(KeyError()) == "KeyError" and useful_line(OSError("  \n ")) == "OSError"


@pytest.mark.parametrize(
    "kind, status",
    [("GanLabError", 1), ("UserError", 2), ("DivergedError", 3), ("LostRankError", 1), ("OutOfMemoryError", 1),
     ("CollapsedError", 4), ("StorageError", 1)],
)  # fmt: skip
def test_exit_statuses(kind, status):
    error = getattr(errors, kind)("text")
    assert isinstance(error, GanLabError) and error.exit_status == status and str(error) == "text"


def test_a_signal_is_128_more_than_its_number():
    assert InterruptedRun(15, "stopped").exit_status == 143 and InterruptedRun(2, "stopped").exit_status == 130


def test_signals_that_a_system_lacks_are_left_out(monkeypatch):
    assert signals_here("SIGTERM", "SIGHUP") == (signal.SIGTERM, signal.SIGHUP)
    monkeypatch.delattr(signal, "SIGHUP")
    assert signals_here("SIGTERM", "SIGHUP") == (signal.SIGTERM,)
