"""A run, killed and starved of disk space again and again; its results are compared with an undisturbed run's."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import gan_lab
from gan_lab.data import shapes
from gan_lab.data.store import pack
from gan_lab.runs.files import read_rows
from scripts.torture import faults
from scripts.torture.comparison import broken_checkpoints, differences

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = (
    "trainer.batch_size=8", "trainer.log_every_steps=2", "trainer.checkpoint_every_steps=3",
    "trainer.eval_every_steps=6", "trainer.sample_every_steps=8", "trainer.keep_checkpoints=2",
    "trainer.keep_every_steps=9", "trainer.device=cpu", "trainer.threads=1", "width=0.0625", "monitor.every_steps=4",
    "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false", "metrics.precision_recall=false",
)  # fmt: skip
DISKS = ("full for good", "full for a while", "errors", "real, full for good", "real, full for a while")


class Torture:
    """A run's settings and undisturbed results, and the moments drawn for it."""

    def __init__(self, base: Path, steps: int, words: Sequence[str], draw: int) -> None:
        self.base, self.draw = base, random.Random(draw)
        images, labels = shapes.render(384, seed=5)
        pack(base / "data" / "shapes", [(images, labels)], name="shapes", class_names=shapes.CLASS_NAMES, test=64)
        self.words = [*SMALL, f"trainer.total_steps={steps}", f"data_dir={base / 'data'}", *words]
        self.cfg = gan_lab.compose(*self.words)
        self.reference, again = base / "undisturbed", base / "again"
        self.must(faults.fork(self.cfg, self.reference, self.log(self.reference)), self.reference)
        self.bytes = sum(p.stat().st_size for p in self.reference.rglob("*") if p.is_file())
        began = time.monotonic()
        self.must(faults.fork(self.cfg, again, self.log(again), faults.Counter()), again)
        self.life = time.monotonic() - began
        self.calls = int(self.log(again).read_text().rpartition("calls: ")[2])
        if wrong := differences(self.reference, again):
            raise RuntimeError(f"two undisturbed runs differ already: {', '.join(wrong[:5])}")
        self.program_life = 0.0

    def log(self, folder: Path) -> Path:
        return self.base / f"{folder.relative_to(self.base).parts[0]}.log"

    def must(self, child: int, folder: Path) -> None:
        """RuntimeError unless the process ends well."""
        if status := faults.end_of(child):
            raise RuntimeError(f"a process ended with {status}; see {self.log(folder)}")

    def program(self, folder: Path) -> int:
        """The whole program as a user starts it."""
        command = [sys.executable, str(REPOSITORY / "train.py"), *self.words, f"hydra.run.dir={folder}"]
        return faults.start(command, self.log(folder))

    def live(self, folder: Path, life: int) -> tuple[str, int]:
        """One life of a process: how it was to be killed, and its exit status, -9 if it was."""
        if life % 2:
            killer = faults.Killer(self.draw, self.calls)
            return "at a system call", faults.end_of(faults.fork(self.cfg, folder, self.log(folder), killer))
        if life % 10:
            kind, child, seconds = "by time", faults.fork(self.cfg, folder, self.log(folder)), self.life
        else:
            if not self.program_life:
                began, other = time.monotonic(), self.base / "program"
                self.must(self.program(other), other)
                self.program_life = time.monotonic() - began
            kind, child, seconds = "whole program, by time", self.program(folder), self.program_life
        if (status := faults.wait(child, self.draw.uniform(0, seconds))) is None:
            faults.put_down(child)
        return kind, -signal.SIGKILL if status is None else status

    def kill(self, kills: int) -> tuple[Counter[str], list[str]]:
        """Kill until there were so many; the last run is left to finish. Counts, and what went wrong."""
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        done = lives = 0
        while done < kills:
            folder = self.base / f"run-{counts['runs finished']:03d}"
            status = -signal.SIGKILL
            while status == -signal.SIGKILL:
                if done < kills:
                    kind, status = self.live(folder, lives)
                else:
                    kind, status = "", faults.end_of(faults.fork(self.cfg, folder, self.log(folder)))
                lives += 1
                if status == -signal.SIGKILL:
                    done += 1
                    counts[f"kills {kind}"] += 1
                    steps = [row["step"] for row in read_rows(folder / "train.jsonl")]
                    counts["kills with training under way" if steps else "kills before the first row"] += 1
            counts["runs finished"] += 1
            found = differences(self.reference, folder) if status == 0 else [f"it ended with {status}"]
            counts["runs that differ"] += bool(found)
            wrong += [f"{folder}: {what}" for what in found[:10]]
            if not found:
                shutil.rmtree(folder)
        counts["processes"] = lives
        return counts, wrong

    def disk(self, trials: int) -> tuple[Counter[str], list[str]]:
        """Let writes fail, then resume on a good disk. Counts, and what went wrong."""
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        for trial in range(trials):
            kind, home = DISKS[trial % len(DISKS)], self.base / f"disk-{trial:03d}"
            home.mkdir()
            real = kind.startswith("real")
            if real and not faults.mount(home, 4 * self.bytes):
                counts["left out: a real disk, which takes root"] += 1
                continue
            try:
                folder = home / "run"
                status = self._starve(folder, kind) if real else self._fail(folder, kind)
                counts[f"{kind}: {'went on to the end' if status == 0 else f'stopped with status {status}'}"] += 1
                found = [] if status in (0, 1, 2) else [f"it ended with {status}"]
                broken = broken_checkpoints(folder)
                counts["checkpoints broken"] += len(broken)
                again = faults.end_of(faults.fork(self.cfg, folder, self.log(home)))
                found += broken + ([] if again == 0 else [f"resumed, it ended with {again}"])
                found += differences(self.reference, folder, spared=True) if again == 0 else []
            finally:
                if real:
                    subprocess.run(["umount", str(home)], check=True)
            counts["trials that differ"] += bool(found)
            wrong += [f"{home} ({kind}): {what}" for what in found[:10]]
            if not found:
                shutil.rmtree(home)
        counts["trials"] = trials
        return counts, wrong

    def _fail(self, folder: Path, kind: str) -> int:
        """A life on a disk that fails."""
        act: faults.Act
        if kind == "errors":
            act = faults.FailingDisk(self.draw, self.draw.choice((0.003, 0.02, 0.1)))
        else:
            refusals = float("inf") if "good" in kind else self.draw.randint(1, 40)
            act = faults.FullDisk(self.draw.randrange(self.bytes), refusals)
        return faults.end_of(faults.fork(self.cfg, folder, self.log(folder.parent), act))

    def _starve(self, folder: Path, kind: str) -> int:
        """A life on a real disk that something else has filled, for good or until a random time."""
        filler = folder.parent / "filler"
        room = self.draw.randrange(self.bytes)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder.parent).free - room)
        child = faults.fork(self.cfg, folder, self.log(folder.parent))
        status = faults.wait(child, self.draw.uniform(0, self.life)) if "while" in kind else None
        if "while" in kind:
            filler.unlink()
        status = faults.end_of(child) if status is None else status
        filler.unlink(missing_ok=True)
        return status
