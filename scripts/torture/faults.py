"""What the torture does to a process: forks it, kills it, and lets its system calls fail."""

from __future__ import annotations

import errno
import logging
import math
import os
import random
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gan_lab
import gan_lab.training  # here, so that forked processes need not import it
from gan_lab.errors import GanLabError

CALLS = ("open", "write", "fsync", "replace", "rename", "unlink", "truncate", "mkdir")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.ESTALE)
PATIENCE = 300.0  # seconds until a process counts as hung
HUNG = -1000  # the exit status of one that was

Go = Callable[..., Any]
Act = Callable[[str, Go, int], Any]


def intercept(folder: Path, act: Act) -> dict[str, Go]:
    """From now on every system call of CALLS on a file under `folder` goes through `act(name, go, size)`.

    `go()` performs it; `go(n)`, for a write, only its first n bytes of `size`. Returns the functions of `os` as they
    were. Reading is left alone, and so are files that Python opens by `open`.
    """
    ours: set[int] = set()
    real = {name: getattr(os, name) for name in (*CALLS, "close")}

    def replacement(name: str) -> Go:
        def call(*arguments: Any, **settings: Any) -> Any:
            def go(first: int | None = None) -> Any:
                if first is not None:
                    return real[name](arguments[0], memoryview(arguments[1])[:first])
                return real[name](*arguments, **settings)

            target = arguments[0]
            if not (target in ours if isinstance(target, int) else os.fsdecode(target).startswith(str(folder))):
                return go()
            result = act(name, go, len(arguments[1]) if name == "write" else 0)
            if name == "open":
                ours.add(result)
            return result

        return call

    def close(fd: int) -> None:
        ours.discard(fd)
        real["close"](fd)

    for name in CALLS:
        setattr(os, name, replacement(name))
    os.close = close
    return real


class Counter:
    """Lets every call pass, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, name: str, go: Go, size: int) -> Any:
        self.calls += 1
        return go()


class Killer:
    """Kills its process at a random one of `calls` calls: before it, in the middle of it or after it."""

    def __init__(self, draw: random.Random, calls: int) -> None:
        self.left, self.place, self.share = draw.randint(1, calls), draw.randrange(3), draw.random()

    def __call__(self, name: str, go: Go, size: int) -> Any:
        self.left -= 1
        if self.left == 0:
            if self.place == 1 and name == "write":
                go(math.ceil(self.share * size))
            elif self.place == 2:
                go()
            os.kill(os.getpid(), signal.SIGKILL)
        return go()


class FullDisk:
    """Takes `room` bytes, then refuses `refusals` writes, the first of them after a part."""

    def __init__(self, room: int, refusals: float) -> None:
        self.room, self.refusals = room, refusals

    def __call__(self, name: str, go: Go, size: int) -> Any:
        if name != "write" or self.refusals <= 0:
            return go()
        if size <= self.room:
            self.room -= size
            return go()
        if self.room > 0:
            part, self.room = self.room, 0
            return go(part)
        self.refusals -= 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FailingDisk:
    """Every call fails with probability `rate`, a write sometimes after a part."""

    def __init__(self, draw: random.Random, rate: float) -> None:
        self.draw, self.rate = draw, rate

    def __call__(self, name: str, go: Go, size: int) -> Any:
        if self.draw.random() >= self.rate:
            return go()
        if name == "write" and size > 1 and self.draw.random() < 0.5:
            return go(self.draw.randrange(1, size))
        code = self.draw.choice(ERRORS)
        raise OSError(code, os.strerror(code))


def mount(folder: Path, size: int) -> bool:
    """A file system in memory at `folder`; False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


def redirect(output: Path) -> None:
    """Send what this process prints to the end of a file."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def fork(cfg: Any, folder: Path, output: Path, act: Act | None = None) -> int:
    """Train in a forked process, which has everything imported already; returns its id. It exits with 99 on a bug."""
    if child := os.fork():
        return child
    status = 99
    try:
        redirect(output)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        cfg.run_dir = str(folder)
        if act is not None:
            intercept(folder, act)
        gan_lab.train(cfg)
        status = 0
    except GanLabError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except BaseException:
        traceback.print_exc()
    finally:
        if isinstance(act, Counter):
            print(f"calls: {act.calls}", file=sys.stderr)
        os._exit(status)


def start(command: list[str], output: Path) -> int:
    """Start a program; returns its process's id."""
    if child := os.fork():
        return child
    try:
        redirect(output)
        os.execve(command[0], command, {**os.environ, "OMP_NUM_THREADS": "1"})
    finally:
        os._exit(99)


def wait(child: int, seconds: float = PATIENCE) -> int | None:
    """The exit status of a process (-9: killed), or None if it still runs after so many seconds."""
    handle = os.pidfd_open(child)
    ended, _, _ = select.select([handle], [], [], seconds)
    os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if ended else None


def put_down(child: int) -> None:
    """kill -9."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def end_of(child: int) -> int:
    """Wait for a process as long as it may take; HUNG if it takes longer."""
    status = wait(child)
    if status is None:
        put_down(child)
        return HUNG
    return status
