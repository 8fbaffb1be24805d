"""Measuring: interleaved timings, and rows that the report prints."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from gan_lab.kernels.malloc import keep_freed_memory

Work = Callable[[], object]
Parts = Sequence[tuple[int, Work]]  # works, each with how often it counts
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `n` measurements."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))


@dataclass
class Row:
    """One line of a table: what was measured, how long it took, and how it compares with the case's first line.

    `goal` is (name of a figure, "at least" or "at most", bound); the figure is `faster`, `cost` (its inverse) or
    one of `facts`.
    """

    case: str
    variant: str
    seconds: Spread | None = None
    faster: Spread | None = None  # times as fast as the first variant of the case
    peak_bytes: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    goal: tuple[str, str, float] | None = None

    def figure(self, name: str) -> float:
        """The figure a goal speaks of."""
        if name in self.facts:
            return float(self.facts[name])
        assert self.faster is not None
        return self.faster.median if name == "faster" else 1.0 / self.faster.median

    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        name, sense, bound = self.goal
        return self.figure(name) >= bound if sense == "at least" else self.figure(name) <= bound

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Row:
        row = cls(**values)
        for name in ("seconds", "faster"):
            if getattr(row, name) is not None:
                setattr(row, name, Spread(**getattr(row, name)))
        row.goal = tuple(row.goal) if row.goal is not None else None  # type: ignore[assignment]
        return row


@dataclass(frozen=True)
class Bench:
    """The settings of one benchmark run, and its clock."""

    device: torch.device = torch.device("cpu")
    threads: int = 1
    repeats: int = 0  # 0: each suite's own number
    weights: str | None = None  # torch-fidelity's Inception weights, or a part of them

    def rounds(self, usual: int) -> int:
        return self.repeats or usual

    def clock(self) -> str:
        """How durations are taken, in words."""
        if self.device.type == "cuda":
            return "CUDA events"
        return "process time" if self.threads == 1 else "wall clock"

    def seconds(self, work: Work) -> float:
        """How long one call takes.

        Process time on one CPU thread, which other programs on the machine disturb least; wall clock on several
        threads, where process time would add them up; events on a GPU.
        """
        if self.device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize(self.device)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize(self.device)
            return begin.elapsed_time(end) / 1000.0
        now = time.process_time if self.threads == 1 else time.perf_counter
        start = now()
        work()
        return now() - start


def warm_up(work: Work, calls: int) -> None:
    for _ in range(calls):
        work()


@dataclass(frozen=True)
class SelfTimed:
    """A work that does more than what is to be measured, and returns the seconds that count."""

    work: Callable[[], float]

    def __call__(self) -> float:
        return self.work()


@dataclass(frozen=True)
class Built:
    """A variant that is built where it runs, so that a process of its own holds nothing but what its users' do."""

    make: Callable[[], Parts]


Variant = Work | Parts | Built


def parts_of(variant: Variant) -> Parts:
    """Its works, each with how often it counts."""
    if isinstance(variant, Built):
        return variant.make()
    return ((1, variant),) if callable(variant) else variant


class InProcess:
    """A variant whose works run here, each as often as it counts."""

    def __init__(self, bench: Bench, variant: Variant, calls: int, warm: int) -> None:
        self.bench, self.parts, self.calls = bench, parts_of(variant), calls
        for _, work in self.parts:
            warm_up(work, warm)

    def measure(self) -> float:
        """Seconds of one call of everything."""
        return sum(often * self._seconds(work) for often, work in self.parts) / self.calls

    def _seconds(self, work: Work) -> float:
        if isinstance(work, SelfTimed):
            return sum(work() for _ in range(self.calls))
        return self.bench.seconds(lambda: warm_up(work, self.calls))

    def close(self) -> None:
        pass


class Forked:
    """The same in a process of its own, so that each variant has the allocator that its users have.

    Ours keeps what it frees, as training does; the setting holds for a whole process, and glibc's own way of moving
    its thresholds ends with it.
    """

    def __init__(self, bench: Bench, variant: Variant, calls: int, warm: int, keeps: bool) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            self._answer()  # it is ready
            return
        self.pipe.close()
        try:
            if keeps:
                keep_freed_memory()
            torch.set_num_threads(bench.threads)
            here = InProcess(bench, variant, calls, warm)
            theirs.send(None)
            while theirs.recv():
                theirs.send(here.measure())
        except EOFError:
            pass
        except BaseException as error:
            theirs.send(error)
        finally:
            os._exit(0)

    def measure(self) -> float:
        """As `InProcess.measure`; raises what the work raised."""
        self.pipe.send(True)
        return float(self._answer())

    def _answer(self) -> Any:
        found = self.pipe.recv()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended
            self.pipe.send(False)  # closing alone is not seen: later processes have the other end, too
        self.pipe.close()
        os.waitpid(self.pid, 0)


def compare(
    bench: Bench,
    case: str,
    works: Mapping[str, Variant],
    *,
    rounds: int,
    calls: int = 1,
    warm: int = 1,
    keep: bool = False,
    apart: bool | None = None,
    renewed: int = 1,
) -> list[Row]:
    """Rows of all variants of one case, each measured against the first.

    One round runs the variants in order and then in reverse (A B B A), so that a slow drift of the machine falls on
    all alike; ratios are taken within a round. `calls` calls make one measurement. A variant given in parts takes
    the sum of its parts' times, each as often as it counts: five equal updates are timed once. On one CPU thread, or
    if `apart`, each variant waits in a process of its own for its turn; only one runs at a time. All but the first
    keep freed memory, as our training does, and with `keep` the first one, too. Where memory lies is luck that lasts as
    long as a process: all start afresh `renewed` times in the `rounds`.
    """
    apart = bench.threads == 1 if apart is None else apart
    alone = torch.get_num_threads() == 1  # other threads would not survive a fork
    apart = apart and alone and bench.device.type == "cpu" and hasattr(os, "fork")
    first = next(iter(works))
    times: dict[str, list[float]] = {name: [] for name in works}
    shares = min(renewed, rounds) if apart else 1
    for share in range(shares):
        with contextlib.ExitStack() as stack:
            variants: dict[str, Forked | InProcess] = {}
            for name, work in works.items():
                keeps = keep or name != first
                variants[name] = (
                    Forked(bench, work, calls, warm, keeps) if apart else InProcess(bench, work, calls, warm)
                )
                stack.callback(variants[name].close)
            for _ in range(rounds // shares + (share < rounds % shares)):
                once = dict.fromkeys(works, 0.0)
                for name in [*works, *reversed([*works])]:
                    once[name] += variants[name].measure()
                for name, total in once.items():
                    times[name].append(total / 2)
    rows = []
    for name, own_times in times.items():
        faster = [a / b for a, b in zip(times[first], own_times, strict=True)]
        rows.append(Row(case, name, Spread.of(own_times), Spread.of(faster)))
    return rows
