"""Means over seeds with t intervals, paired and Welch t tests, and Holm's correction.

Every function works along the last axis, so that a simulation can check the intervals by thousands at once. The
errors of a figure over seeds are taken to be normal, which a handful of seeds cannot confirm.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
FEWEST_TO_TEST, FEWEST_TO_TRUST = 3, 5
"""Below the first number of seeds per recipe nothing is tested; below the second a test comes with a caution."""

Array = Any  # a numpy array, or the scalar that numpy makes of one value


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, its standard error, degrees of freedom, and interval of level `LEVEL`.

    p: of the two-sided test that the value is 0. Fields are NaN where they are undefined: fewer than two
    values, or no spread at all.
    """

    value: Array
    error: Array
    df: Array
    low: Array
    high: Array
    p: Array


def _estimate(value: Array, error: Array, df: Array, level: float) -> Estimate:
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = stdtrit(df, 0.5 + level / 2) * error
        spread = error > 1e-12 * np.abs(value)  # below it is rounding
        p = np.where(spread, 2 * stdtr(df, -np.abs(value / error)), np.nan)
    return Estimate(value, error, df, value - reach, value + reach, p[()])


def sample_sd(x: Array) -> Array:
    """Standard deviation with n - 1 in the denominator; NaN for one value."""
    x = np.asarray(x, float)
    if x.shape[-1] < 2:
        return np.full(x.shape[:-1], np.nan)[()]
    return x.std(axis=-1, ddof=1)


def mean_estimate(x: Array, level: float = LEVEL) -> Estimate:
    """The mean of x (... n) and its t interval with n - 1 degrees of freedom."""
    x = np.asarray(x, float)
    n = x.shape[-1]
    if n == 0:
        raise ValueError("no values")
    return _estimate(x.mean(axis=-1), sample_sd(x) / np.sqrt(n), float(n - 1) if n > 1 else np.nan, level)


def paired_difference(a: Array, b: Array, level: float = LEVEL) -> Estimate:
    """Mean of a - b, where a and b (... n) belong together one by one: Student's paired t test."""
    return mean_estimate(np.asarray(a, float) - np.asarray(b, float), level)


def welch_difference(a: Array, b: Array, level: float = LEVEL) -> Estimate:
    """Mean of a (... n) minus mean of b (... m), of unequal variances: Welch's t test.

    The degrees of freedom are those of Welch and Satterthwaite. a and b are taken to be independent.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    n, m = a.shape[-1], b.shape[-1]
    if not n or not m:
        raise ValueError("no values")
    var_a, var_b = sample_sd(a) ** 2 / n, sample_sd(b) ** 2 / m
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (var_a + var_b) ** 2 / (var_a**2 / (n - 1) + var_b**2 / (m - 1)) if min(n, m) > 1 else np.nan
    return _estimate(a.mean(axis=-1) - b.mean(axis=-1), np.sqrt(var_a + var_b), df, level)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Holm 1979): rejecting those below alpha keeps the family's error rate at alpha."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Comparison:
    """Recipe a against recipe b: the mean difference a - b, how it was tested, and what to think of it.

    kind: "paired", "welch", or "none" where there is no test; reason: why there is none, or a caution; too_few:
    whether seeds are why. adjusted: Holm's p over all comparisons of the family, None without a test.
    """

    a: Hashable
    b: Hashable
    kind: str
    estimate: Estimate
    reason: str = ""
    adjusted: float | None = None

    too_few: bool = False

    @property
    def tested(self) -> bool:
        return self.kind != "none"


def compare(a: Hashable, b: Hashable, x: Mapping[Any, float], y: Mapping[Any, float]) -> Comparison:
    """Compare x with y (seed -> figure): paired where both have the same seeds, by Welch's test otherwise."""
    if not x or not y:
        raise ValueError("no values")
    fewest, paired = min(len(x), len(y)), set(x) == set(y)
    if paired:
        seeds = list(x)
        found = paired_difference([x[s] for s in seeds], [y[s] for s in seeds])
    else:
        found = welch_difference(list(x.values()), list(y.values()))
    if fewest < FEWEST_TO_TEST:
        seeds_of = "only 1 seed" if fewest == 1 else f"only {fewest} seeds"
        return Comparison(a, b, "none", found, f"{seeds_of}: no test below {FEWEST_TO_TEST}", too_few=True)
    if not np.isfinite(found.p):
        return Comparison(a, b, "none", found, "no spread over seeds: a test is not defined")
    caution = f"fewer than {FEWEST_TO_TRUST} seeds: take it as a lead" if fewest < FEWEST_TO_TRUST else ""
    return Comparison(a, b, "paired" if paired else "welch", found, caution)


def compare_all(figures: Mapping[Any, Mapping[Any, float]]) -> list[Comparison]:
    """Every pair of recipes that have figures (recipe -> seed -> figure), Holm-corrected over the tests made."""
    names = [name for name, values in figures.items() if values]
    found = [compare(a, b, figures[a], figures[b]) for i, a in enumerate(names) for b in names[i + 1 :]]
    adjusted = iter(holm([float(c.estimate.p) for c in found if c.tested]))
    return [replace(c, adjusted=next(adjusted)) if c.tested else c for c in found]
