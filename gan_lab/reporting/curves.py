"""Learning curves as data for the page's script: every seed of every recipe on one grid of steps for each chart."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from gan_lab.reporting.comparison import Comparison
from gan_lab.reporting.metrics import Metric, bounds_of
from gan_lab.reporting.runs import Scalars
from gan_lab.reporting.statistics import Bounds

FEWEST_POINTS, MOST_POINTS = 24, 400
BYTES = 600_000
"""Of all charts of a page. Beyond it, curves get fewer points, down to the fewest; then charts are left out."""
BYTES_PER_VALUE = 7
WIDE = 8
"""A chart opens in log scale where its largest value is so many times the smallest."""


@dataclass(frozen=True)
class Kind:
    """A chart as charts.yaml has it: the keys it shows (`prefix/` for one per layer), its title, and what it says.

    bounds: label -> key, or `prefix/` of the same layer, of lines that bound the values. log: None where that depends
    on how wide the values span. limits: the smallest and the largest possible value, None to take them from the values.
    """

    section: str
    title: str
    keys: Sequence[str]
    text: str = ""
    bounds: Mapping[str, str] = field(default_factory=dict)
    log: bool | None = None
    limits: Bounds | None = None

    def shown(self, present: Iterable[str]) -> list[str]:
        """The keys present that the chart shows, in its order."""
        present = list(present)
        return [k for key in self.keys for k in present if k == key or (key.endswith("/") and k.startswith(key))]

    def layer(self, key: str) -> str:
        """The key without the prefix that all keys of the chart share."""
        return key.removeprefix(self.keys[0]) if self.keys[0].endswith("/") else key


@cache
def _kinds() -> list[Kind]:
    content = yaml.safe_load((files("gan_lab.reporting") / "charts.yaml").read_text(encoding="utf-8"))
    return [Kind(section, **chart) for section, charts in content.items() for chart in charts]


@dataclass
class Chart:
    """What one chart shows. Each variant holds, for each recipe and each of its runs, values on a grid of steps.

    limits: the smallest and the largest possible value, which the band of the 95% interval respects.
    """

    kind: Kind
    log: bool
    limits: Bounds
    variants: list[dict[str, Any]]

    @property
    def first(self) -> int:
        """The variant to begin with."""
        return next((i for i, variant in enumerate(self.variants) if variant["name"] == "joint"), 0)

    @property
    def finite_limits(self) -> list[float | None]:
        """The limits as JSON can have them."""
        return [limit if math.isfinite(limit) else None for limit in self.limits]


class Bins:
    """The steps of all runs that have the key, up to `points` as they are, more of them in bins of equal width."""

    def __init__(self, groups: list[list[Scalars]], key: str, points: int) -> None:
        have = [s.steps[~np.isnan(s.values[key])] for group in groups for s in group if key in s.values]
        self.edges = np.unique(np.concatenate(have)) if have else np.zeros(0, np.int64)
        self.steps = self.edges.tolist()  # where each bin is drawn
        if len(self.steps) > points:
            edges = np.linspace(self.steps[0], self.steps[-1], points + 1)[1:]
            used, inverse = np.unique(np.searchsorted(edges, self.steps), return_inverse=True)
            centers = np.bincount(inverse, weights=self.steps) / np.bincount(inverse)
            self.edges, self.steps = edges[used], np.rint(centers).astype(int).tolist()

    def average(self, scalars: Scalars, key: str) -> list[float | None]:
        """The mean of a run's values in each bin, None where it has none; trailing Nones are left away."""
        column = scalars.values.get(key, np.full(len(scalars.steps), np.nan))
        there = ~np.isnan(column)
        bins = np.searchsorted(self.edges, scalars.steps[there])
        sums = np.bincount(bins, weights=column[there])
        return [_short(s / n) if n else None for s, n in zip(sums, np.bincount(bins), strict=True)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def make_charts(comparison: Comparison, budget: int = BYTES) -> tuple[list[Chart], list[list[int]], int]:
    """The charts that the runs have values for, the grids of steps they share, and how many charts are left out.

    budget: the bytes that the charts may take as JSON.
    """
    figures = [[run.figures for run in recipe.runs] for recipe in comparison.recipes]
    train = [[_with_gap(run.train) for run in recipe.runs] for recipe in comparison.recipes]
    keys = dict.fromkeys(key for group in train for scalars in group for key in scalars.values)
    wanted = [(kind, figures) for kind in map(_kind_of, comparison.metrics)]
    wanted += [(kind, train) for kind in (*_kinds(), *_others(keys))]
    lines = sum(len(kind.shown(keys)) or 1 for kind, _ in wanted) * len(comparison.runs)
    points = int(np.clip(budget / BYTES_PER_VALUE / max(lines, 1), FEWEST_POINTS, MOST_POINTS))
    charts: list[Chart] = []
    grids: list[list[int]] = []
    left_out = 0
    for kind, groups in wanted:
        chart = _chart(kind, groups, points, grids)
        if chart is not None:
            budget -= len(json.dumps(chart.variants, separators=(",", ":")))
            left_out += budget < 0
            charts += [chart] if budget >= 0 else []
    return charts, grids, left_out


def _with_gap(train: Scalars) -> Scalars:
    """The scalars with the derived one: the mean logit of reals minus that of fakes."""
    values = train.values
    if "logits/real" not in values or "logits/fake" not in values:
        return train
    return Scalars(train.steps, values | {"logits/gap": values["logits/real"] - values["logits/fake"]})


def _kind_of(metric: Metric) -> Kind:
    text = f"{metric.name[:1].upper()}{metric.name[1:]}: {metric.direction}."
    log = False if metric.higher_is_better else None
    return Kind("Figures", metric.key, [metric.key], text, log=log, limits=metric.bounds)


def _others(keys: Iterable[str]) -> list[Kind]:
    """A chart for each key that no kind shows."""
    known = {key for kind in _kinds() for key in kind.shown(keys)}
    bounds = tuple(name for kind in _kinds() for name in kind.bounds.values())
    return [Kind("Other", key, [key]) for key in keys if key not in known and not key.startswith(bounds)]


def _chart(kind: Kind, groups: list[list[Scalars]], points: int, grids: list[list[int]]) -> Chart | None:
    """The chart of a kind, or None if no run has its keys; its grids are added to `grids`."""
    variants: list[dict[str, Any]] = []
    everything: list[float] = []
    for key in kind.shown(dict.fromkeys(key for group in groups for scalars in group for key in scalars.values)):
        bins = Bins(groups, key, points)
        values = [[bins.average(scalars, key) for scalars in group] for group in groups]
        flat = _flat(line for group in values for line in group)
        if not flat or (kind.section != "Figures" and not any(flat)):
            continue  # zeros only: nothing was skipped, no penalty was on
        bounds = _bounds(kind, kind.layer(key), groups, bins)
        everything += flat + _flat(line for bound in bounds for line in bound["groups"])
        if bins.steps not in grids:
            grids.append(bins.steps)
        grid = grids.index(bins.steps)
        variants.append({"name": kind.layer(key), "grid": grid, "values": values, "bounds": bounds})
    if not variants:
        return None
    wide = min(everything) > 0 and max(everything) > WIDE * min(everything)
    log = wide if kind.log is None else kind.log
    return Chart(kind, log, kind.limits or bounds_of(everything), variants)


def _flat(lines: Iterable[list[float | None]]) -> list[float]:
    return [value for line in lines for value in line if value is not None]


def _bounds(kind: Kind, layer: str, groups: list[list[Scalars]], bins: Bins) -> list[dict[str, Any]]:
    """The kind's bounds on this layer, one line for each recipe; a constant that all recipes share is one line."""
    out = []
    for label, name in kind.bounds.items():
        key = f"{name}{layer}" if name.endswith("/") else name if layer == "joint" else ""
        lines = [_mean([bins.average(scalars, key) for scalars in group]) for group in groups]
        values = set(_flat(lines))
        if values:
            out.append({"label": label, "groups": [next(filter(None, lines))] if len(values) == 1 else lines})
    return out


def _mean(lines: Iterable[list[float | None]]) -> list[float | None]:
    """Mean over the runs that have a value, step by step."""
    columns = ([v for v in column if v is not None] for column in itertools.zip_longest(*lines))
    return [_short(sum(column) / len(column)) if column else None for column in columns]
