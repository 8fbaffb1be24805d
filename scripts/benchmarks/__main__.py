"""`python -m scripts.benchmarks suite=...`: gan_lab against plain PyTorch."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import option
from gan_lab.config.messages import nearest
from gan_lab.config.ranges import DEVICE, whole
from gan_lab.errors import UserError

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "performance.json"
SUITES = {
    "step": "step:suite", "recipes": "step:recipes_suite", "operators": "operators:suite", "norm": "norm:suite",
    "stylegan2": "stylegan2:suite", "metrics": "metrics:suite", "data": "data:suite", "startup": "startup:suite",
    "scaling": "scaling:suite", "several": "several:suite", "busy": "busy:suite",
    "whole": "whole:suite", "bf16": "precision:suite", "peers": "peers:suite",
}  # fmt: skip
PEERS = "peers"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure gan_lab against plain PyTorch. `python -m scripts.benchmarks.report` makes a page of the results."""

    examples: ClassVar[tuple[str, ...]] = ("", "suite=step,norm device=cuda out=gpu.json")
    suite: tuple[str, ...] = option(
        f"all (but {PEERS}, which needs the code of others), or of {', '.join(SUITES)}", ("all",)
    )
    device: str = option("where to compute", "cpu", DEVICE)
    threads: int = option(
        "CPU threads; with one, times are processor time, which other programs disturb least", 1, whole(1, 1024)
    )
    repeats: int = option("rounds of each comparison; 0: each suite's own number", 0, whole(0, 10_000))
    weights: Path | None = option(
        "Inception weights in torch-fidelity's format for suite=metrics", None, shown="random ones"
    )
    out: Path = option("where results are added, suite by suite", RESULTS, shown="docs/performance.json")


def run(options: Options) -> None:
    """Measure the suites, writing the results after each."""
    ours = [name for name in SUITES if name != PEERS]
    chosen = list(dict.fromkeys(name for word in options.suite for name in (ours if word == "all" else [word])))
    if unknown := [name for name in chosen if name not in SUITES]:
        raise UserError(f"suite={unknown[0]}: no such suite{nearest(unknown[0], SUITES)}")
    if options.weights is not None and not options.weights.is_file():
        raise UserError(f"weights={options.weights}: no such file")
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))  # before torch is imported
    import torch

    from gan_lab.distributed.device import pick_device
    from gan_lab.files import write_json
    from scripts.benchmarks.harness import Bench
    from scripts.benchmarks.machine import machine
    from scripts.benchmarks.report import as_text, read

    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    weights = str(options.weights) if options.weights is not None else None
    bench = Bench(pick_device(options.device), options.threads, options.repeats, weights)
    data = read(options.out)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        start = time.perf_counter()
        module, _, function = SUITES[name].partition(":")
        rows = getattr(import_module(f"scripts.benchmarks.{module}"), function)(bench)
        data["suites"][name] = {"machine": machine(bench), "rows": [row.as_dict() for row in rows]}
        write_json(options.out, data)
        print(f"\n{name} ({time.perf_counter() - start:.0f} s)\n{as_text(rows)}", flush=True)


if __name__ == "__main__":
    sys.exit(script("python -m scripts.benchmarks", Options, run))
