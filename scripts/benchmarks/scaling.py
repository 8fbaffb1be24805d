"""Suite `scaling`: step time, operations and peak memory against batch, resolution and width, with fitted exponents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.benchmarks.harness import Bench, Row, Spread, Work, warm_up
from scripts.benchmarks.memory import peak_memory
from scripts.benchmarks.step import Ours, built, words_of

RECIPE = "sngan_resnet"
START = {"batch": 8, "side": 32, "width": 0.5}
AXES: dict[str, Sequence[float]] = {
    "batch": (4, 8, 16, 32),
    "side": (16, 32),  # one architecture up to 32; above, blocks and widths change by the family's table
    "width": (0.25, 0.5, 1.0),
}
SLACK = 0.1  # of an exponent: the spread of a fit through a few points


def step(bench: Bench, batch: int, side: int, width: float) -> Work:
    """One D update and one G update of SNGAN's ResNet."""
    torch.manual_seed(0)
    x = built([*words_of(bench, RECIPE, batch, side=side), f"width={width}", "trainer.n_dis=1"])
    real = torch.rand(batch, 3, side, side, device=bench.device) * 2 - 1
    ours = Ours(x)
    return lambda: ours.step(real)


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y over log x by least squares."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True)) / sum((p - mean_a) ** 2 for p in a)


def operations(work: Work) -> int:
    """Multiplications and additions of convolutions and matrix products in one call."""
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def along(bench: Bench, axis: str) -> list[Row]:
    """A row per value of one axis, and one with the exponents."""
    rows: list[Row] = []
    values = AXES[axis]
    for value in values:
        settings = {**START, axis: value}
        arguments = {"batch": int(settings["batch"]), "side": int(settings["side"]), "width": settings["width"]}
        work = step(bench, **arguments)  # type: ignore[arg-type]
        warm_up(work, 1)
        seconds = Spread.of([bench.seconds(work) for _ in range(bench.rounds(4))])
        peak = peak_memory(bench, "scripts.benchmarks.scaling:step", **arguments)
        rows.append(Row(f"by {axis}", str(value), seconds, peak_bytes=peak, facts={"operations": operations(work)}))
    times = [row.seconds.median for row in rows if row.seconds is not None]
    counts = [row.facts["operations"] for row in rows]
    fitted = {
        "exponent of time": round(exponent(values, times), 3),
        "exponent of operations": round(exponent(values, counts), 3),
        "exponent of memory": round(exponent(values, [row.peak_bytes or 1 for row in rows]), 3),
        "time against operations": round(exponent(counts, times), 3),
    }
    rows.append(Row(f"by {axis}", "fitted", facts=fitted, goal=("time against operations", "at most", 1.0 + SLACK)))
    return rows


def suite(bench: Bench) -> list[Row]:
    return [row for axis in AXES for row in along(bench, axis)]
