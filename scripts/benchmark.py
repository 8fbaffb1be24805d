#!/usr/bin/env python3
"""Measures gan_lab against plain PyTorch: python scripts/benchmark.py suite=step|norm|metrics|data|...|all

suite=all        or a list: step, recipes, operators, norm, stylegan2, metrics, data, startup, scaling, several, whole
device=cpu       or cuda
threads=1        CPU threads; with one, times are processor time, which other programs disturb least
repeats=0        rounds of each comparison; 0 leaves each suite's own number
weights=FILE     Inception weights in torch-fidelity's format for suite=metrics (default: random ones)
out=FILE.json    where results are added, suite by suite (default: docs/performance.json)

python scripts/benchmark.py report [out=FILE.json]      writes FILE.md from FILE.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.cli.options import parse_words, whole_number  # noqa: E402
from gan_lab.config.messages import nearest  # noqa: E402
from gan_lab.errors import UserError  # noqa: E402

DEFAULTS: dict[str, str | None] = {
    "suite": "all", "device": "cpu", "threads": "1", "repeats": "0", "weights": None,
    "out": str(ROOT / "docs" / "performance.json"),
}  # fmt: skip
SUITES = {
    "step": "benchmarks.step:suite", "recipes": "benchmarks.step:recipes_suite", "norm": "benchmarks.norm:suite",
    "operators": "benchmarks.operators:suite",
    "stylegan2": "benchmarks.stylegan2:suite", "metrics": "benchmarks.metrics:suite", "data": "benchmarks.data:suite",
    "startup": "benchmarks.startup:suite", "scaling": "benchmarks.scaling:suite",
    "several": "benchmarks.several:suite", "whole": "benchmarks.whole:suite",
}  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """Results so far; UserError for a file that is something else."""
    try:
        data = json.loads(path.read_text())
        return {"suites": dict(data["suites"])}
    except FileNotFoundError:
        return {"suites": {}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no results of this script ({type(error).__name__}); name another out=") from None


def measure(given: dict[str, str | None]) -> int:
    chosen = list(SUITES) if given["suite"] == "all" else str(given["suite"]).split(",")
    if unknown := [name for name in chosen if name not in SUITES]:
        raise UserError(f"suite={unknown[0]}: no such suite{nearest(unknown[0], SUITES)}")
    threads = whole_number("threads", given["threads"], 1, 1024)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # before torch is imported
    from importlib import import_module

    import torch

    from benchmarks.harness import Bench
    from benchmarks.machine import machine
    from benchmarks.report import as_text
    from gan_lab.distributed.device import pick_device
    from gan_lab.runs.files import write_json

    weights = given["weights"]
    if weights is not None and not Path(weights).is_file():
        raise UserError(f"weights={weights}: no such file")
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    repeats = whole_number("repeats", given["repeats"], 0, 10_000)
    bench = Bench(pick_device(str(given["device"])), threads, repeats, weights)
    out = Path(str(given["out"]))
    data = read(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        start = time.perf_counter()
        module, _, function = SUITES[name].partition(":")
        rows = getattr(import_module(module), function)(bench)
        data["suites"][name] = {"machine": machine(bench), "rows": [row.as_dict() for row in rows]}
        write_json(out, data)
        print(f"\n{name} ({time.perf_counter() - start:.0f} s)\n{as_text(rows)}", flush=True)
    return 0


def report(given: dict[str, str | None]) -> int:
    from benchmarks.report import render
    from gan_lab.runs.files import write_atomically

    source = Path(str(given["out"]))
    data = read(source)
    if not data["suites"]:
        raise UserError(f"there are no results in {source}; measure first: python scripts/benchmark.py out={source}")
    target = source.with_suffix(".md")
    write_atomically(target, render(data).encode())
    print(f"{target} has {len(data['suites'])} suites")
    return 0


def command(words: Sequence[str]) -> int:
    if words and words[0] == "report":
        return report(parse_words(words[1:], {"out": DEFAULTS["out"]}))
    return measure(parse_words(words, DEFAULTS))


if __name__ == "__main__":
    sys.exit(guarded(command, sys.argv[1:]))
