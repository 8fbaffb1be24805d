"""Suite `several`: small runs side by side on one device, and what they get done together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import torch

from scripts.benchmarks.harness import ROOT, Bench, Row, Spread
from scripts.benchmarks.step import Ours, random_data

RUNS = (1, 2, 4, 8)
SECONDS = 10.0
BATCH, SIDE, WIDTH = 64, 32, 0.25  # small nets, as for dataset=shapes


def child() -> None:
    """One run: says when it is ready, trains small nets from then on, says how many images it saw."""
    import gan_lab

    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    data = f"dataset.path={settings['data']}"
    words = ("dataset=packed", data, "metrics=none", f"width={WIDTH}", f"trainer.device={settings['device']}")
    x = gan_lab.build(gan_lab.compose(*words))
    ours, n = Ours(x, "auto"), x.config.trainer.n_dis
    real = torch.rand(BATCH, 3, SIDE, SIDE, device=x.device) * 2 - 1
    for _ in range(30 if x.device.type == "cuda" else 3):  # until graphs are captured
        ours.step(real)
    print("ready", flush=True)
    sys.stdin.readline()
    steps, end = 0, time.perf_counter() + settings["seconds"]
    while time.perf_counter() < end:
        ours.step(real)
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        steps += 1
    print(steps * n * BATCH / settings["seconds"], flush=True)


def together(bench: Bench, runs: int, seconds: float) -> float:
    """Real images per second of `runs` processes that train at the same time, added up."""
    settings: dict[str, Any] = {"threads": bench.threads, "device": str(bench.device), "seconds": seconds}
    settings["data"] = str(random_data(SIDE))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(bench.threads)}
    command = [sys.executable, "-c", "from scripts.benchmarks.several import child; child()"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(runs)]
    try:
        for process in children:
            process.stdin.write(json.dumps(settings) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        for process in children:
            while (line := process.stdout.readline()) != "ready\n":  # type: ignore[union-attr]
                if not line:
                    raise RuntimeError("a run ended before it began; its message is above")
        for process in children:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        speeds = (process.stdout.read().split()[-1] for process in children)  # type: ignore[union-attr]
        return sum(map(float, speeds))
    finally:
        for process in children:
            process.kill()
            process.communicate()


def suite(bench: Bench) -> list[Row]:
    """Wall clock, the default configuration's nets on images in memory; `rounds` repeats of every number of runs."""
    found = {runs: [] for runs in RUNS}  # type: dict[int, list[float]]
    for _ in range(bench.rounds(2)):
        for runs in RUNS:
            found[runs].append(together(bench, runs, SECONDS))
    rows = []
    for runs, speeds in found.items():
        gains = [a / b for a, b in zip(speeds, found[1], strict=True)]
        facts = {"images per second, all runs": round(Spread.of(speeds).median)}
        name = f"{runs} run{'s' if runs > 1 else ''}"
        rows.append(Row("default nets at width 0.25, batch 64", name, faster=Spread.of(gains), facts=facts))
    return rows
