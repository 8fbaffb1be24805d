"""Learning curves as data for the page's script: all seeds of all recipes, on one grid of steps per chart."""

import itertools
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gan_lab.diagnostics.catalogue import Diagnostic, Limits, find, panels
from gan_lab.reporting.comparison import Comparison
from gan_lab.reporting.metrics import POSITIVE, Metric, bounds_of
from gan_lab.reporting.runs import Scalars

FEWEST_POINTS, MOST_POINTS = 24, 400
BYTES = 600_000
"""The most bytes of all charts of a page. To stay below, curves get fewer points; then charts are left out."""
BYTES_PER_VALUE = 7
WIDE = 8
"""A chart opens in log scale if its largest value is more than so many times the smallest."""


@dataclass(frozen=True)
class Kind:
    """The title of a chart, and the diagnostics or the figure that it shows."""

    section: str
    title: str
    entries: Sequence[Diagnostic]

    @property
    def text(self) -> str:
        """The formulas of the entries."""
        shown = [(f"{e.key}: " if len(self.entries) > 1 else "") + e.formula.replace("`", "") for e in self.entries]
        return f"{'; '.join(shown)}." if any(e.formula for e in self.entries) else ""

    @property
    def log(self) -> bool | None:
        """Whether the axis is logarithmic; None if that depends on the values."""
        return next((entry.log for entry in self.entries if entry.log is not None), None)

    @property
    def limits(self) -> Limits | None:
        """The smallest and the largest possible value of all entries; None if those of an entry are unknown."""
        known = [entry.limits for entry in self.entries if entry.limits is not None]
        if len(known) < len(self.entries):
            return None
        lows, highs = zip(*known, strict=True)
        return None if None in lows else min(lows), None if None in highs else max(highs)

    def shown(self, present: Collection[str]) -> list[tuple[str, Diagnostic]]:
        """Return the present keys that the chart shows, each with its entry, in the order of the entries."""
        return [(key, e) for e in self.entries if not e.beside for key in present if e.matches(key)]

    def name(self, key: str) -> str:
        """Return the name of a key in the chart: the layer if it shows one diagnostic by layer, else the key."""
        families = [entry for entry in self.entries if not entry.beside]
        layered = len(families) == 1 and re.search(r"\{(layer|name)\}$", families[0].key)
        return key[layered.start() :] if layered else key


@dataclass
class Chart:
    """The data of one chart. Each variant has, for each run of each recipe, values on a grid of steps.

    limits: smallest and largest possible value, None if there is none; the band of the 95% interval stays within them.
    """

    kind: Kind
    log: bool
    limits: Limits
    variants: list[dict[str, Any]]


class Bins:
    """The steps of all runs that have the key. More than `points` steps are put in bins of equal width."""

    def __init__(self, groups: list[list[Scalars]], key: str, points: int) -> None:
        have = [s.steps[~np.isnan(s.values[key])] for group in groups for s in group if key in s.values]
        self.edges = np.unique(np.concatenate(have))
        self.steps = self.edges.tolist()  # the positions of the bins
        if len(self.steps) > points:
            edges = np.linspace(self.steps[0], self.steps[-1], points + 1)[1:]
            used, inverse = np.unique(np.searchsorted(edges, self.steps), return_inverse=True)
            centers = np.bincount(inverse, weights=self.steps) / np.bincount(inverse)
            self.edges, self.steps = edges[used], np.rint(centers).astype(int).tolist()

    def average(self, scalars: Scalars, key: str) -> list[float | None]:
        """Return the mean of a run's values in each bin, None for an empty bin. Trailing Nones are dropped."""
        column = scalars.values.get(key, np.full(len(scalars.steps), np.nan))
        there = ~np.isnan(column)
        bins = np.searchsorted(self.edges, scalars.steps[there])
        sums = np.bincount(bins, weights=column[there])
        return [_short(s / n) if n else None for s, n in zip(sums, np.bincount(bins), strict=True)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def make_charts(comparison: Comparison, budget: int = BYTES) -> tuple[list[Chart], list[list[int]], int]:
    """Make the charts that the runs have values for. Returns charts, grids of steps, and how many charts are left out.

    budget: the most bytes of the charts as JSON.
    """
    figures = [[run.figures for run in recipe.runs] for recipe in comparison.recipes]
    train = [[_with_gap(run.train) for run in recipe.runs] for recipe in comparison.recipes]
    keys = dict.fromkeys(key for group in train for scalars in group for key in scalars.values)
    extra = list({d.key: d for run in comparison.runs for d in run.diagnostics}.values())
    extra += [Diagnostic(key, "", limits=None) for key in keys if find(key, extra) is None]
    wanted = [(kind, figures) for kind in map(_kind_of, comparison.metrics)]
    wanted += [(Kind(s, *chart), train) for s, charts in panels(extra).items() for chart in charts.items()]
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
    """Add `logits/gap`: the mean logit of reals minus that of fakes."""
    values = train.values
    if "logits/real" not in values or "logits/fake" not in values:
        return train
    return Scalars(train.steps, values | {"logits/gap": values["logits/real"] - values["logits/fake"]})


def _kind_of(metric: Metric) -> Kind:
    text = f"{metric.name[:1].upper()}{metric.name[1:]}: {metric.direction}"
    log = False if metric.higher_is_better else None
    return Kind("Figures", metric.key, [Diagnostic(metric.key, text, limits=metric.bounds, log=log)])


def _chart(kind: Kind, groups: list[list[Scalars]], points: int, grids: list[list[int]]) -> Chart | None:
    """Make the chart of a kind, or None if no run has its keys. Appends new grids to `grids`."""
    variants: list[dict[str, Any]] = []
    everything: list[float] = []
    present = dict.fromkeys(key for group in groups for scalars in group for key in scalars.values)
    for key, entry in kind.shown(present):
        bins = Bins(groups, key, points)
        values = [[bins.average(scalars, key) for scalars in group] for group in groups]
        flat = _flat(line for group in values for line in group)
        if not flat or (kind.section != "Figures" and not any(flat)):
            continue  # only zeros: no update was skipped, or the penalty was off
        bounds = _references(kind, key, entry, groups, bins)
        everything += flat + _flat(line for bound in bounds for line in bound["groups"])
        if bins.steps not in grids:
            grids.append(bins.steps)
        grid = grids.index(bins.steps)
        variants.append({"name": kind.name(key), "grid": grid, "values": values, "bounds": bounds})
    if not variants:
        return None
    wide = min(everything) > 0 and max(everything) > WIDE * min(everything)
    log = wide if kind.log is None else kind.log
    guessed = (0.0 if bounds_of(everything) == POSITIVE else None, None)
    return Chart(kind, log, kind.limits or guessed, variants)


def _flat(lines: Iterable[list[float | None]]) -> list[float]:
    return [value for line in lines for value in line if value is not None]


def _references(
    kind: Kind, key: str, entry: Diagnostic, groups: list[list[Scalars]], bins: Bins
) -> list[dict[str, Any]]:
    """Return the reference lines of this key, one per recipe, or a single one if all are the same constant."""
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
    """Return the mean over the runs that have a value, for each step."""
    columns = ([v for v in column if v is not None] for column in itertools.zip_longest(*lines))
    return [_short(sum(column) / len(column)) if column else None for column in columns]
