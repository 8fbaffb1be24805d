#!/usr/bin/env python3
"""Shows that a run survives: kill -9 and failing disks, again and again: python scripts/torture.py kills=100

mode=kill     kill -9 at random moments, resumed each time; or disk: writes fail at random, resumed on a good disk
kills=100     how many kills, over as many runs as it takes. Half of them come at a uniformly random time of a
              process's life, half at a random system call that writes (before, in the middle of, or after it), and of
              the first kind every fifth hits the whole program, `python train.py`, from its start
trials=50     mode=disk: how many runs. A full disk, for a while or for good, errors of several kinds now and then, and
              as root a real small file system that is full
steps=24      the length of the run, of small nets on a few hundred images
draw=0        seed of the moments
folder=       where to work; by default a temporary folder, removed if all went well
Any other word is a setting of the run: recipe=stylegan2 seed=3.

Every run that comes to its end is compared with an undisturbed one: all of the state bit by bit, the rows of the logs
but for the clock, TensorBoard's scalars, the grids, index and checksums. Exit status 1 if anything differs.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "scripts")]  # so that it runs in a clone that is not installed

import torch  # noqa: E402
import torture_faults as faults  # noqa: E402

import gan_lab  # noqa: E402
from gan_lab.cli import guarded  # noqa: E402
from gan_lab.cli.options import parse_words, whole_number  # noqa: E402
from gan_lab.data import shapes  # noqa: E402
from gan_lab.data.store import pack  # noqa: E402
from gan_lab.errors import UserError  # noqa: E402
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint  # noqa: E402
from gan_lab.runs.files import parse_row, read_json, read_rows  # noqa: E402

SMALL = (
    "trainer.batch_size=8", "trainer.log_every_steps=2", "trainer.checkpoint_every_steps=3",
    "trainer.eval_every_steps=6", "trainer.sample_every_steps=8", "trainer.keep_checkpoints=2",
    "trainer.keep_every_steps=9", "trainer.device=cpu", "trainer.threads=1", "width=0.0625", "monitor.every_steps=4",
    "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false", "metrics.precision_recall=false",
)  # fmt: skip
CLOCK = ("wall_seconds", "images_per_second")
NOT_AFTER_RESUME = ("grad_cosine/d", "grad_cosine/g")  # left out where the step before was another process's
DISKS = ("full for good", "full for a while", "errors", "real, full for good", "real, full for a while")


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars after its own handling of restarts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag not in (*CLOCK, *NOT_AFTER_RESUME)]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def without_clock(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: without_clock(v) for k, v in content.items() if k not in CLOCK}
    return [without_clock(v) for v in content] if isinstance(content, (list, tuple)) else content


def unequal(a: Any, b: Any, where: str) -> list[str]:
    """Where two nested structures differ, to the bit."""
    if type(a) is not type(b):
        return [where]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        bits = [t.contiguous().view(-1).view(torch.uint8) if t.numel() else t for t in (a, b)]
        return [] if same and torch.equal(*bits) else [where]
    if isinstance(a, dict):
        wrong = [f"{where}.{k}" for k in a.keys() ^ b.keys()]
        return wrong + [w for k in a.keys() & b.keys() for w in unequal(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{where} ({len(a)} and {len(b)} entries)"]
        return [w for i, (x, y) in enumerate(zip(a, b, strict=True)) for w in unequal(x, y, f"{where}[{i}]")]
    return [] if a == b or (a != a and b != b) else [where]


def broken_checkpoints(folder: Path) -> list[str]:
    """What index.json lists and cannot be read."""
    broken = []
    for name, entry in ((read_json(folder / "checkpoints" / "index.json") or {}).get("files", {})).items():
        try:
            load_checkpoint(folder / "checkpoints" / name, entry["sha256"])
        except UserError as error:
            broken.append(str(error))
    return broken


def differences(reference: Path, run: Path, *, spared: bool = False) -> list[str]:
    """Everything in which a run that finished differs from the undisturbed one.

    `spared`: where a disk failed, older checkpoints, grids and TensorBoard's events may have been left out; what there
    is must still be right.
    """
    a, b = (Checkpoints(folder / "checkpoints", keep=9).latest() or {} for folder in (reference, run))
    wrong = unequal(*(without_clock(c["state"]) for c in (a, b)), "state")
    for name in ("train.jsonl", "metrics.jsonl"):
        ours, theirs = (without_clock(read_rows(folder / name)) for folder in (reference, run))
        for row, other in zip(ours, theirs, strict=False):
            for key in (k for k in NOT_AFTER_RESUME if k not in other):
                row.pop(key, None)
        wrong += unequal(ours, theirs, name)
        lines = (run / name).read_bytes().splitlines() if (run / name).is_file() else []
        torn = sum(parse_row(line) is None for line in lines)
        wrong += [f"{name} has {torn} torn lines"] if torn else []
    wrong += unequal(*(without_clock(read_json(folder / "summary.json")) for folder in (reference, run)), "summary")
    indices = [read_json(folder / "checkpoints" / "index.json") for folder in (reference, run)]
    listed = [{**i, "files": sorted(i["files"])} for i in indices]
    wrong += unequal(*({"latest": i["latest"]} if spared else i for i in listed), "index") + broken_checkpoints(run)
    there = sorted(p.name for p in (run / "checkpoints").iterdir() if p.suffix == ".pt")
    wrong += [] if spared else unequal(listed[1]["files"], there, "files beside the index")
    wrong += [f"{p} was left" for p in run.rglob(".*.tmp")]
    grids = [{p.name: p.read_bytes() for p in (folder / "samples").glob("*.png")} for folder in (reference, run)]
    if spared:
        return wrong + unequal({k: grids[0].get(k) for k in grids[1]}, grids[1], "samples")
    return wrong + unequal(*grids, "samples") + unequal(scalars_of(reference), scalars_of(run), "TensorBoard")


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


def command(words: Sequence[str]) -> int:
    defaults = {"mode": "kill", "kills": "100", "trials": "50", "steps": "24", "draw": "0", "folder": None}
    own = [word for word in words if word.partition("=")[0] in defaults]
    given = parse_words(own, defaults)
    if given["mode"] not in ("kill", "disk"):
        raise UserError(f"mode={given['mode']}: must be kill or disk")
    kills, trials = (whole_number(key, given[key], 1) for key in ("kills", "trials"))
    steps, draw = whole_number("steps", given["steps"], 1), whole_number("draw", given["draw"], 0)
    base = Path(given["folder"] or tempfile.mkdtemp(prefix="gan_lab-torture-")).resolve()
    if base.is_dir() and any(base.iterdir()):
        raise UserError(f"folder={base}: is not empty")
    base.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    began = time.monotonic()
    torture = Torture(base, steps, [word for word in words if word not in own], draw)
    counts, wrong = torture.kill(kills) if given["mode"] == "kill" else torture.disk(trials)
    counts["seconds"] = round(time.monotonic() - began)
    for name, number in sorted(counts.items()):
        print(f"{number:6d}  {name}")
    for line in wrong:
        print(f"WRONG   {line}")
    if not wrong and given["folder"] is None:
        shutil.rmtree(base)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(guarded(command, sys.argv[1:]))
