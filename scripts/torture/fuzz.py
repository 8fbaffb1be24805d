"""Throws hostile inputs at everything that reads what others wrote: command lines, checkpoints, images, packed sets.

Each input is a function of (seed, kind, number), so that `only=N` repeats one, and `first=N` begins there.
The contract, and how it is held, is in
tests/hostile/hostile_sandbox.py; the inputs are made by the modules beside it. A violation is printed with the command
that repeats it, and makes the exit status 1. The whole runs in one process, in a temporary folder, on Linux.
"""

from __future__ import annotations

import faulthandler
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

sys.dont_write_bytecode = True  # importing on demand must not look like writing

from gan_lab.cli.main import script  # noqa: E402
from gan_lab.cli.options import option  # noqa: E402
from gan_lab.config.ranges import one_of, whole  # noqa: E402
from gan_lab.errors import UserError  # noqa: E402
from tests.hostile import hostile_checkpoints, hostile_images, hostile_overrides, hostile_packed  # noqa: E402
from tests.hostile.hostile_sandbox import Make, Sandbox, Verdict, limit_memory  # noqa: E402

KINDS: dict[str, Make] = {
    "overrides": hostile_overrides.make,
    "checkpoints": hostile_checkpoints.make,
    "images": hostile_images.make_images,
    "zips": hostile_images.make_zips,
    "packed": hostile_packed.make,
}
SHARES = {"overrides": 0.70, "checkpoints": 0.15, "images": 0.07, "zips": 0.04, "packed": 0.04}
MAPPED = 6 * 2**30  # bytes of address space on top of what the program itself takes
CRASH_AFTER = 120  # seconds without an end: native code that no signal interrupts


def one(kind: str, seed: int, number: int, sandbox: Sandbox) -> tuple[str, Verdict]:
    """Make input `number` of a kind, judge it, and clear its files away."""
    rng = random.Random(f"{seed}/{kind}/{number}")
    try:
        case = KINDS[kind](rng, sandbox.root)
        faulthandler.dump_traceback_later(CRASH_AFTER, exit=True)
        verdict = sandbox.judge(case)
        faulthandler.cancel_dump_traceback_later()
        return case.said, verdict
    finally:
        sandbox.empty()


class Tally:
    """What is told at the end of a kind."""

    def __init__(self, kind: str) -> None:
        self.kind, self.inputs, self.violations = kind, 0, 0
        self.accepted, self.slowest, self.most = 0, (0.0, 0), (0, 0)

    def add(self, number: int, verdict: Verdict) -> None:
        self.inputs += 1
        self.accepted += verdict.accepted
        self.violations += bool(verdict.faults)
        self.slowest = max(self.slowest, (verdict.seconds, number))
        self.most = max(self.most, (verdict.peak, number))

    def line(self) -> str:
        return (
            f"{self.kind:12} {self.inputs:6} inputs  {self.accepted:6} accepted  "
            f"{self.inputs - self.accepted - self.violations:6} refused  {self.violations:4} violations  "
            f"slowest {self.slowest[0]:.2f} s (number {self.slowest[1]})  "
            f"most memory {self.most[0] / 2**20:.0f} MiB (number {self.most[1]})"
        )


def fuzz(kind: str, seed: int, numbers: Sequence[int], sandbox: Sandbox, journal: Path) -> Tally:
    """Judge many inputs of one kind, printing every violation. The journal names the input if the process dies."""
    tally = Tally(kind)
    for number in numbers:
        repeat = f"python -m scripts.torture.fuzz kind={kind} seed={seed} only={number}"
        journal.write_text(repeat + "\n")
        said, verdict = one(kind, seed, number, sandbox)
        tally.add(number, verdict)
        if verdict.faults:
            print(f"VIOLATION {'; '.join(verdict.faults)}\n  input  {said}\n  repeat {repeat}", flush=True)
        elif len(numbers) == 1:
            print(f"{said}\n{'accepted' if verdict.accepted else verdict.sentence}")
    return tally


@dataclass(frozen=True, kw_only=True)
class Options:
    """Throw hostile inputs at everything that reads what others wrote; exit status 1 if anything broke the contract."""

    examples: ClassVar[tuple[str, ...]] = ("inputs=1000", "kind=images only=3")
    inputs: int = option("how many, of all kinds together", 10_000, whole(1))
    seed: int = option("of the inputs", 0, whole(0))
    kind: str | None = option("one kind only", None, one_of(*KINDS))
    only: int | None = option("of kind=: this number alone", None, whole(0))
    first: int = option("of kind=: begin at this number", 0, whole(0))

    def __post_init__(self) -> None:
        """UserError where a number is given and no kind."""
        if self.kind is None and (self.only is not None or self.first):
            raise UserError("only= and first= need kind=")


def run(options: Options) -> int:
    """Fuzz, and print a line for each kind."""
    shares = SHARES if options.kind is None else {options.kind: 1.0}
    warnings.simplefilter("ignore")
    faulthandler.enable()
    root = Path(tempfile.mkdtemp(prefix="gan_lab_fuzz_"))
    sandbox = Sandbox(root / "box")
    hostile_overrides.known()
    hostile_checkpoints.true_file()
    limit_memory(MAPPED)
    tallies, began = [], time.perf_counter()
    for kind, share in shares.items():
        numbers = range(options.first, options.first + round(options.inputs * share))
        if options.only is not None:
            numbers = range(options.only, options.only + 1)
        tallies.append(fuzz(kind, options.seed, numbers, sandbox, root / "journal"))
        print(tallies[-1].line(), flush=True)
    shutil.rmtree(root, ignore_errors=True)
    violations = sum(t.violations for t in tallies)
    print(f"{sum(t.inputs for t in tallies)} inputs in {time.perf_counter() - began:.0f} s, {violations} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(script("python -m scripts.torture.fuzz", Options, run))
