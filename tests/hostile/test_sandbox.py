"""The judge itself: it must see each kind of harm, and must not see any where there is none."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gan_lab.errors import GanLabError, UserError
from tests.hostile import hostile_sandbox
from tests.hostile.hostile_sandbox import Case, Sandbox


def _swallowed(act: Callable[[], object]) -> Callable[[], object]:
    """Code under test that hides what went wrong: the judge must have seen it all the same."""

    def action() -> None:
        try:
            act()
        except Exception:
            raise UserError("refused.") from None

    return action


HARM = {
    "opened": lambda root: (root / "work" / "x").write_text("x"),
    "os.mkdir": lambda root: (root / "input" / "x").mkdir(),
    "os.rename": lambda root: os.rename(root / "data", root / "away"),
    "os.symlink": lambda root: os.symlink("/", root / "away"),
    "os.system": lambda root: os.system("true"),
    "subprocess.Popen": lambda root: subprocess.run(["true"]),
    "pickle.find_class": lambda root: pickle.loads(pickle.dumps(Path)),
    "socket.connect": lambda root: socket.socket().connect(("127.0.0.1", 9)),
    "os.fork": lambda root: os.fork(),
}


@pytest.mark.parametrize("event", HARM)
def test_harm_is_seen_and_prevented(sandbox: Sandbox, event: str) -> None:
    verdict = sandbox.judge(Case("", _swallowed(lambda: HARM[event](sandbox.root))))
    assert any(fault.startswith(event) for fault in verdict.faults), verdict.faults
    assert sorted(p.name for p in sandbox.root.iterdir()) == ["data", "input", "work"]
    assert not any((sandbox.root / "work").iterdir()) and not any((sandbox.root / "input").iterdir())


def test_writes_that_make_no_event_are_seen(sandbox: Sandbox) -> None:
    verdict = sandbox.judge(Case("", lambda: os.mkfifo(sandbox.root / "work" / "pipe")))
    assert verdict.accepted and any("outside its folder" in fault for fault in verdict.faults)


def test_the_canary_is_seen(sandbox: Sandbox) -> None:
    verdict = sandbox.judge(Case("", lambda: os.mkfifo(sandbox.canary)))
    assert "executed code of the input" in verdict.faults and not sandbox.canary.exists()


def test_what_is_allowed_has_no_faults(sandbox: Sandbox) -> None:
    def action() -> str:
        (sandbox.root / "data" / "new").mkdir()
        (sandbox.root / "data" / "new" / "x").write_text("x")
        logging.getLogger("gan_lab.data").warning("skipped one file")
        return (sandbox.root / "data" / "new" / "x").read_text()

    verdict = sandbox.judge(Case("", action, lambda result: None if result == "x" else "wrong"))
    assert verdict.accepted and not verdict.faults
    assert not sandbox.judge(Case("", _swallowed(lambda: 1 / 0))).faults


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (lambda: _raise(ValueError("x")), "raised ValueError"),
        (lambda: _raise(MemoryError()), "raised MemoryError"),
        (lambda: _raise(UserError("")), "no single printable line"),
        (lambda: _raise(UserError("Traceback (most recent call last)")), "said a traceback"),
        (lambda: logging.getLogger("gan_lab.x").warning("a\nb"), "logged"),
        (lambda: logging.getLogger("gan_lab.x").error("x", exc_info=ValueError()), "logged"),
        (lambda: np.ones(2**24), "claimed"),  # 128 MiB
    ],
)
def test_other_faults(sandbox: Sandbox, action: Callable[[], None], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile_sandbox, "MEMORY", 2**26)
    assert any(fault.startswith(says) or says in fault for fault in sandbox.judge(Case("", action)).faults)


def test_a_hang_ends_even_where_everything_is_caught(sandbox: Sandbox) -> None:
    def action() -> None:
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue

    verdict = sandbox.judge(Case("", action, seconds=0.2))
    assert verdict.faults == ["hung for 0 s"] and verdict.seconds < 10


def test_an_error_is_told_in_one_bounded_printable_line() -> None:
    said = str(GanLabError("a\n\x1b[31mb \u202e \ud800 caf\u00e9 " + "n" * 70_000 + " end" + " x" * 70_000 + " last."))
    assert (
        said.startswith("a \\x1b[31mb \\u202e \\ud800 caf\u00e9 nnn") and said.endswith("last.") and said.isprintable()
    )
    assert len(said) <= 800
    assert str(UserError("plain, with a path /a/b.c.")) == "plain, with a path /a/b.c."
