"""Learning curves as data for the page: every seed of every recipe on one grid of steps for each chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan_lab.report.numbers import direction, spelled
from gan_lab.report.runs import Run, Scalars
from gan_lab.report.sections import Section

MOST_POINTS, FEWEST_POINTS = 400, 60
BUDGET = 1_500_000
"""Values in one section's charts: beyond it, curves get fewer points, down to the fewest."""


@dataclass(frozen=True)
class Kind:
    """A chart: the keys it shows (`prefix/` for one per layer), its title, what it says, and its bounds."""

    keys: tuple[str, ...]
    title: str
    text: str
    section: str
    bounds: tuple[tuple[str, str], ...] = ()  # label, key or `prefix/` of the same layer
    log: bool | None = None  # None: where the values span orders of magnitude


WIDE = 8
"""A chart opens in log scale where its largest value is so many times the smallest."""

GAP = "logits/gap"  # derived: real minus fake

KINDS = (
    Kind(("loss/d", "loss/g"), "Losses", "Loss of D and of G as the recipe defines it: only comparable under one loss.",
         "Losses and logits", log=False),
    Kind((GAP, "logits/real", "logits/fake", "logits/real_sign", "logits/fake_sign", "logits/real_std",
          "logits/fake_std", "logits/held_out", "logits/held_out_sign", "logits/overfit_gap"), "Logits of D",
         "gap: mean on reals minus mean on fakes. held_out: reals that D is not trained on; overfit_gap: train reals "
         "minus held-out reals. sign and std: mean sign and spread.", "Losses and logits", log=False),
    Kind(("penalty/",), "Penalties", "What each penalty adds to the loss.", "Losses and logits"),
    Kind(("grad_norm/d", "grad_norm/g"), "Gradient norms",
         "Joint norm of the raw gradients of D and of G, mean over the log interval.", "Gradients"),
    Kind(("grad/effective/",), "Gradient of D by effective weights",
         "Norm of the gradient with respect to the normalized weights, jointly and by layer; dotted: the bound "
         "sqrt(L) |x|.", "Gradients", (("bound", "grad/bound"),)),
    Kind(("grad/raw/",), "Gradient of D by raw weights", "Norm with respect to the stored weights.", "Gradients"),
    Kind(("grad/input", "grad/g/joint", "grad_cosine/d", "grad_cosine/g", "update_ratio/d", "update_ratio/g"),
         "Gradients, other", "By D's input, of G, cosine between consecutive steps, and update-to-weight ratio.",
         "Gradients"),
    Kind(("sigma/",), "Spectral norm, running", "The estimate of the power iteration, by layer.",
         "Spectra and variance"),
    Kind(("sigma_exact_out/",), "Spectral norm, exact, by output", "Largest singular value of the (out, in k k) view.",
         "Spectra and variance"),
    Kind(("sigma_exact_in/",), "Spectral norm, exact, by input", "Largest singular value of the (in, out k k) view.",
         "Spectra and variance"),
    Kind(("sigma_product",), "Product of spectral norms", "Over the layers of D.", "Spectra and variance", log=True),
    Kind(("variance/",), "Variance of effective weights",
         "By layer. Dotted: 1/max(m, n), which spectral normalization keeps below; 2/(fan in + fan out) and 1/fan in.",
         "Spectra and variance",
         (("1/max(m, n)", "variance_sn/"), ("2/(fan in + fan out)", "variance_bsn/"), ("1/fan in", "variance_wn/"))),
    Kind(("spread/",), "Spread of fixed-z samples", "Mean distance between pairs of images: falls when modes collapse.",
         "Other"),
    Kind(("path_length/mean",), "Path length", "Running mean.", "Other"),
    Kind(("ada/p",), "ADA probability", "Of an augmentation.", "Other"),
    Kind(("lr/d", "lr/g"), "Learning rates", "After schedules.", "Other"),
    Kind(("skipped_updates",), "Skipped updates", "Count so far.", "Other"),
    Kind(("images_per_second",), "Speed", "Images per second.", "Other"),
)  # fmt: skip


@dataclass
class Chart:
    """What one chart shows. Each variant holds, for each recipe and each of its runs, values on a grid of steps."""

    title: str
    text: str
    section: str
    log: bool
    variants: list[dict[str, Any]] = field(default_factory=list)


class Grids:
    """The grids of steps that charts share, so that the page holds each once."""

    def __init__(self) -> None:
        self.all: list[list[int]] = []

    def index(self, steps: Iterable[int]) -> int:
        grid = [int(s) for s in steps]
        if grid not in self.all:
            self.all.append(grid)
        return self.all.index(grid)


def make_charts(section: Section) -> tuple[list[Chart], list[list[int]]]:
    """All charts that the section's runs have values for, and their grids."""
    groups = [recipe.runs for recipe in section.recipes]
    for run in section.runs:
        _derive_gap(run.train)
    train_keys = list(dict.fromkeys(key for g in groups for run in g for key in run.train.values))
    kinds = list(KINDS)
    known = {key for kind in kinds for key in _keys_of(kind, train_keys)}
    bounds = [key for kind in kinds for _, key in kind.bounds]
    rest = [k for k in train_keys if k not in known and not any(k == b or k.startswith(b) for b in bounds)]
    kinds += [Kind((key,), key, "", "Other") for key in rest]
    number = sum(len(_keys_of(kind, train_keys)) for kind in kinds) + len(section.metrics)
    runs = sum(len(g) for g in groups)
    points = int(np.clip(BUDGET / max(number * runs, 1), FEWEST_POINTS, MOST_POINTS))
    grids = Grids()
    charts: list[Chart] = []
    for metric in section.metrics:
        lower = section.lower_is_better(metric)
        kind = Kind((metric,), metric, f"{spelled(metric)[:1].upper()}{spelled(metric)[1:]}: {direction(lower)}.",
                    "Figures", log=None if lower else False)  # fmt: skip
        _add(charts, kind, [[run.figures for run in g] for g in groups], [metric], grids, points)
    order = list(dict.fromkeys(kind.section for kind in kinds))
    for kind in sorted(kinds, key=lambda k: order.index(k.section)):
        _add(charts, kind, [[run.train for run in g] for g in groups], _keys_of(kind, train_keys), grids, points)
    return charts, grids.all


def _derive_gap(train: Scalars) -> None:
    values = train.values
    if "logits/real" in values and "logits/fake" in values:
        values[GAP] = values["logits/real"] - values["logits/fake"]


def _keys_of(kind: Kind, present: Sequence[str]) -> list[str]:
    """The keys present that a chart shows, in its order."""
    out: list[str] = []
    for key in kind.keys:
        out += [k for k in present if k.startswith(key)] if key.endswith("/") else [k for k in present if k == key]
    return out


def _add(
    charts: list[Chart], kind: Kind, groups: list[list[Scalars]], keys: list[str], grids: Grids, points: int
) -> None:
    """Append the chart of a kind, if any run has its keys."""
    variants = []
    span: list[float] = []
    for key in keys:
        grid = _grid(groups, key, points)
        if not len(grid[0]):
            continue
        values = [[_on_grid(scalars, key, grid) for scalars in g] for g in groups]
        if kind.section != "Figures" and not any(v for g in values for run in g for v in run):
            continue  # zeros only: nothing was skipped, no penalty was on
        span += [v for g in values for run in g for v in run if v is not None]
        layer = key.removeprefix(kind.keys[0]) if kind.keys[0].endswith("/") else key
        bounds = []
        for label, name in kind.bounds:
            bound = f"{name}{layer}" if name.endswith("/") else name
            if not (name.endswith("/") or layer == "joint") or not any(bound in s.values for g in groups for s in g):
                continue
            lines = [_mean_of(_on_grid(s, bound, grid) for s in g) for g in groups]
            span += [v for line in lines for v in line if v is not None]
            bounds.append({"label": label, "groups": _one_if_equal(lines)})
        variants.append({"name": layer, "grid": grids.index(grid[1]), "values": values, "bounds": bounds})
    if not variants:
        return
    wide = min(span) > 0 and max(span) > WIDE * min(span)
    charts.append(Chart(kind.title, kind.text, kind.section, wide if kind.log is None else kind.log, variants))


def _grid(groups: list[list[Scalars]], key: str, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Right edges of bins over the steps that have the key, and the step at which each bin is drawn.

    Up to `points` steps are kept as they are; more are put into that many bins of equal width.
    """
    have = [s.steps[~np.isnan(s.values[key])] for g in groups for s in g if key in s.values]
    steps = np.unique(np.concatenate(have)) if have else np.zeros(0, np.int64)
    if len(steps) <= points:
        return steps, steps
    edges = np.linspace(steps[0], steps[-1], points + 1)[1:]
    bins = np.searchsorted(edges, steps)
    used, counts = np.unique(bins, return_counts=True)
    centers = np.bincount(bins, weights=steps)[used] / counts
    return edges[used], np.rint(centers).astype(np.int64)


def _on_grid(scalars: Scalars, key: str, grid: tuple[np.ndarray, np.ndarray]) -> list[float | None]:
    """The mean of a run's values in each bin, None where it has none; trailing Nones are left away."""
    column = scalars.values.get(key)
    if column is None:
        return []
    there = ~np.isnan(column)
    bins = np.searchsorted(grid[0], scalars.steps[there])
    sums = np.bincount(bins, weights=column[there], minlength=len(grid[0]))
    counts = np.bincount(bins, minlength=len(grid[0]))
    means = [float(f"{s / c:.4g}") if c else None for s, c in zip(sums.tolist(), counts.tolist(), strict=True)]
    while means and means[-1] is None:
        means.pop()
    return means


def _mean_of(runs: Iterable[list[float | None]]) -> list[float | None]:
    columns: list[list[float]] = []
    for run in runs:
        columns += [[] for _ in range(len(run) - len(columns))]
        for column, value in zip(columns, run, strict=False):
            if value is not None:
                column.append(value)
    return [float(f"{sum(c) / len(c):.4g}") if c else None for c in columns]


def _one_if_equal(groups: list[list[float | None]]) -> list[list[float | None]]:
    """One line where all recipes have the same constant bound, which is then drawn once."""
    constants = {v for g in groups for v in g if v is not None}
    return [next(g for g in groups if g)] if len(constants) == 1 else groups


def run_of_seed(run: Run) -> str:
    """The name of a run's curve."""
    return f"seed {run.seed}" + ("" if run.status == "finished" else f", {run.status}")
