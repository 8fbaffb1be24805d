"""Suite `startup`: from launching `train.py` with the default configuration to D's first update."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scripts.benchmarks.harness import ROOT, Bench, Row, Spread

# Stops the program at the first optimizer step. Prints wall clock and processor time of three moments: torch is there;
# its compiler is there, which torch imports when the first optimizer of a process is made; the step is done. Then what
# the untrained nets took, whose evaluation and sample grids come before the first step.
DRIVER = """
import os, sys, time
def now():
    return [time.time(), sum(os.times()[:2])]
def note():
    moments.extend(now())
moments, untrained = [], [0.0, 0.0]
import torch
note()
torch.optim.Adam([torch.zeros(1)])
note()
from torch.optim.optimizer import register_optimizer_step_post_hook
def stop(*_):
    note()
    sys.__stdout__.write(" ".join(map(str, moments + untrained)) + "\\n")
    sys.__stdout__.flush()
    os._exit(0)
from gan_lab.cli.train import train_command
from gan_lab.training import loop
from gan_lab.training.recorder import Recorder
train_step = loop.train_step
def first_step(*arguments):
    register_optimizer_step_post_hook(stop)  # not before: the estimate of memory makes steps, too
    return train_step(*arguments)
loop.train_step = first_step
def timed(method):
    def call(self):
        start = now()
        found = method(self)
        if self.exp.step == 0:
            untrained[:] = [total + b - a for total, a, b in zip(untrained, start, now())]
        return found
    return call
Recorder.evaluate, Recorder.grid = timed(Recorder.evaluate), timed(Recorder.grid)
sys.exit(train_command(sys.argv[1:]))
"""


def launch(code: str, words: list[str]) -> tuple[float, list[float]]:
    """(moment of the start, the numbers on the last line that the program printed)."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the program stopped with status {done.returncode}:\n{done.stderr[-2000:]}")
    return start, [float(word) for word in done.stdout.split("\n")[-2].split()]


def suite(bench: Bench) -> list[Row]:
    """Wall clock and processor time of whole processes; the disk is warm."""
    rounds, data = bench.rounds(5), os.environ.get("GAN_LAB_DATA", str(ROOT / "data"))
    names = ("importing torch", "torch's compiler, which its optimizers import",
             "evaluating and drawing the untrained nets", "everything else", "from launch")  # fmt: skip
    wall: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="gan_lab_benchmark_") as folder:
        for i in range(rounds + 1):  # the first one packs the data and warms the disk
            words = [f"hydra.run.dir={Path(folder) / str(i)}", f"data_dir={data}", f"trainer.device={bench.device}",
                     f"trainer.threads={bench.threads}"]  # fmt: skip
            start, moments = launch(DRIVER, words)
            if i == 0:
                continue
            if moments[-1] <= 0:
                raise RuntimeError("the first step came before the untrained nets were evaluated")
            for found, (a, b, c, first), zero in ((wall, moments[0::2], start), (processor, moments[1::2], 0.0)):
                for name, value in zip(names, (a - zero, b - a, first, c - b - first, c - zero), strict=True):
                    found[name].append(value)
    rows = []
    for name in names:
        used = Spread.of(processor[name])
        facts = {"seconds": Spread.of(wall[name]).median, "processor seconds": round(used.median, 3),
                 "processor quartiles": f"{used.low:.3g} to {used.high:.3g}"}  # fmt: skip
        rows.append(Row("default configuration, to the first optimizer step", name, Spread.of(wall[name]), facts=facts))
    figure = "processor seconds" if bench.threads == 1 else "seconds"  # as in every suite
    rows[3].goal, rows[4].goal = (figure, "at most", 1.5), (figure, "at most", 6.0)
    return rows
