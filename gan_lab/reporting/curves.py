"""Learning curves as data for the page's script: every seed of every recipe on one grid of steps for each chart."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gan_lab.diagnostics.catalogue import Diagnostic, find, panels
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
    """What a chart shows: its title, and the diagnostics or the figure that are drawn in it."""

    section: str
    title: str
    entries: Sequence[Diagnostic]

    @property
    def text(self) -> str:
        """What the entries mean, in the catalogue's words."""
        shown = [(f"{e.key}: " if len(self.entries) > 1 else "") + e.formula.replace("`", "") for e in self.entries]
        return f"{'; '.join(shown)}." if any(e.formula for e in self.entries) else ""

    @property
    def log(self) -> bool | None:
        """Whether the axis is logarithmic; None where that depends on how wide the values span."""
        return next((entry.log for entry in self.entries if entry.log is not None), None)

    @property
    def limits(self) -> Bounds | None:
        """The smallest and the largest possible value of all entries; None if they are not known of every one."""
        known = [entry.limits for entry in self.entries if entry.limits is not None]
        if len(known) < len(self.entries):
            return None
        lows, highs = [low for low, _ in known], [high for _, high in known]
        return (
            -math.inf if None in lows else min(low for low in lows if low is not None),
            math.inf if None in highs else max(high for high in highs if high is not None),
        )

    def shown(self, present: Iterable[str]) -> list[tuple[str, Diagnostic]]:
        """The keys present that the chart shows, each with its entry, in the order of the entries."""
        present = list(present)
        return [(key, e) for e in self.entries if not e.beside for key in present if e.matches(key)]

    def name(self, key: str) -> str:
        """What tells the key from the others of the chart: the layer's name where it shows one kind by layer."""
        families = [entry for entry in self.entries if not entry.beside]
        layered = len(families) == 1 and re.search(r"\{(layer|name)\}$", families[0].key)
        return key[layered.start() :] if layered else key


def _kinds(extra: Iterable[Diagnostic]) -> list[Kind]:
    return [Kind(section, *chart) for section, charts in panels(extra).items() for chart in charts.items()]


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
    extra = list({d.key: d for run in comparison.runs for d in run.diagnostics}.values())
    extra += [Diagnostic(key, "", limits=None) for key in keys if find(key, extra) is None]
    wanted = [(kind, figures) for kind in map(_kind_of, comparison.metrics)]
    wanted += [(kind, train) for kind in _kinds(extra)]
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
    text = f"{metric.name[:1].upper()}{metric.name[1:]}: {metric.direction}"
    low, high = metric.bounds
    log = False if metric.higher_is_better else None
    return Kind("Figures", metric.key, [Diagnostic(metric.key, text, limits=(low, high), log=log)])


def _chart(kind: Kind, groups: list[list[Scalars]], points: int, grids: list[list[int]]) -> Chart | None:
    """The chart of a kind, or None if no run has its keys; its grids are added to `grids`."""
    variants: list[dict[str, Any]] = []
    everything: list[float] = []
    present = dict.fromkeys(key for group in groups for scalars in group for key in scalars.values)
    for key, entry in kind.shown(present):
        bins = Bins(groups, key, points)
        values = [[bins.average(scalars, key) for scalars in group] for group in groups]
        flat = _flat(line for group in values for line in group)
        if not flat or (kind.section != "Figures" and not any(flat)):
            continue  # zeros only: nothing was skipped, no penalty was on
        bounds = _bounds(kind, key, entry, groups, bins)
        everything += flat + _flat(line for bound in bounds for line in bound["groups"])
        if bins.steps not in grids:
            grids.append(bins.steps)
        grid = grids.index(bins.steps)
        variants.append({"name": kind.name(key), "grid": grid, "values": values, "bounds": bounds})
    if not variants:
        return None
    wide = min(everything) > 0 and max(everything) > WIDE * min(everything)
    log = wide if kind.log is None else kind.log
    return Chart(kind, log, kind.limits or bounds_of(everything), variants)


def _flat(lines: Iterable[list[float | None]]) -> list[float]:
    return [value for line in lines for value in line if value is not None]


def _bounds(kind: Kind, key: str, entry: Diagnostic, groups: list[list[Scalars]], bins: Bins) -> list[dict[str, Any]]:
    """The references beside this key, one line for each recipe; a constant that all recipes share is one line."""
    out = []
    for reference in kind.entries:
        if reference.beside != entry.key:
            continue
        bound = reference.key.replace("{layer}", kind.name(key))
        lines = [_mean([bins.average(scalars, bound) for scalars in group]) for group in groups]
        values = set(_flat(lines))
        if values:
            label = reference.label or reference.key
            out.append({"label": label, "groups": [next(filter(None, lines))] if len(values) == 1 else lines})
    return out


def _mean(lines: Iterable[list[float | None]]) -> list[float | None]:
    """Mean over the runs that have a value, step by step."""
    columns = ([v for v in column if v is not None] for column in itertools.zip_longest(*lines))
    return [_short(sum(column) / len(column)) if column else None for column in columns]
