"""Suite `busy`: a training run on all cores, alone and beside a process that keeps one of them busy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from scripts.benchmarks.harness import ROOT, Bench, Row, Spread
from scripts.benchmarks.step import Ours, random_data

SECONDS = 4.0
SPIN = {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": ""}  # "": removed, which is libgomp's own choice
POLICIES: dict[str, dict[str, str]] = {
    "threads that spin (libgomp's default)": {**SPIN},
    "threads that sleep (gan_lab's default)": {**SPIN, "OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {**SPIN, "OMP_WAIT_POLICY": "PASSIVE", "threads": "1"},
}


def child() -> None:
    """One run: for each line that it reads it trains the default nets for some seconds and prints images a second."""
    import gan_lab

    settings = json.loads(sys.stdin.readline())
    torch.set_num_threads(settings["threads"])
    x = gan_lab.build(gan_lab.compose("dataset=packed", f"dataset.path={settings['data']}", "metrics=none",
                                      "width=0.25", "trainer.device=cpu", *settings["words"]))  # fmt: skip
    ours, real = Ours(x, "auto"), torch.rand(64, 3, 32, 32) * 2 - 1
    for _ in range(3):
        ours.step(real)
    print("ready", flush=True)
    for _ in sys.stdin:
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < settings["seconds"]:
            ours.step(real)
            steps += 1
        print(steps * 64 / (time.perf_counter() - began), flush=True)


@contextmanager
def running(policy: dict[str, str], threads: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start a child with this waiting policy; it waits until it is asked."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("OMP_NUM_THREADS", None)
    for name in SPIN:
        environment.pop(name, None)
        if policy[name]:
            environment[name] = policy[name]
    keep = "import os, torch; " if not policy["OMP_WAIT_POLICY"] else ""  # torch first: gan_lab chooses no policy then
    command = [sys.executable, "-c", f"{keep}from scripts.benchmarks.busy import child; child()"]
    settings: dict[str, Any] = {"threads": int(policy.get("threads", threads)), "seconds": seconds, "words": ()}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        try:
            _tell(process, json.dumps(settings | {"data": str(random_data(32))}))
            while (line := process.stdout.readline()) != "ready\n":  # type: ignore[union-attr]
                if not line:
                    raise RuntimeError("a run ended before it began; its message is above")
            yield process
        finally:
            process.kill()


def _tell(process: subprocess.Popen[str], text: str) -> None:
    process.stdin.write(f"{text}\n")  # type: ignore[union-attr]
    process.stdin.flush()  # type: ignore[union-attr]


def speed(process: subprocess.Popen[str]) -> float:
    """Images per second of a child for the next seconds."""
    _tell(process, "go")
    return float(process.stdout.readline())  # type: ignore[union-attr]


@contextmanager
def spinning(wanted: bool) -> Iterator[None]:
    """Keep one core busy in a block."""
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def suite(bench: Bench, threads: int | None = None, seconds: float = SECONDS) -> list[Row]:
    """Wall clock, all policies in turns and in reverse, alone and beside; on all cores."""
    threads = threads or os.cpu_count() or 1
    found: dict[tuple[bool, str], list[float]] = {(b, name): [] for b in (False, True) for name in POLICIES}
    with _all_running(threads, seconds) as children:
        for i in range(bench.rounds(6)):
            for beside in (False, True):
                with spinning(beside):
                    for name in list(POLICIES)[:: -1 if i % 2 else 1]:
                        found[beside, name].append(speed(children[name]))
    rows, first = [], next(iter(POLICIES))
    for (beside, name), speeds in found.items():
        gains = Spread.of([a / b for a, b in zip(speeds, found[beside, first], strict=True)])
        case = f"default nets at width 0.25, batch 64, {threads} cores, " + ("one busy" if beside else "alone")
        spread = Spread.of(speeds)
        facts = {"images per second": f"{spread.median:.0f} ({spread.low:.0f} to {spread.high:.0f})"}
        rows.append(Row(case, name, faster=gains, facts=facts))
    return rows


@contextmanager
def _all_running(threads: int, seconds: float) -> Iterator[dict[str, subprocess.Popen[str]]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(running(policy, threads, seconds)) for name, policy in POLICIES.items()}
