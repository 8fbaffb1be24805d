"""Means over seeds with t intervals, paired and Welch t tests, Holm's correction, and power.

Means and differences are along the last axis, so that a simulation can check thousands of intervals at once. Values are
assumed to be normally distributed over seeds, which a handful of seeds cannot confirm.
"""

import math
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from scipy.special import chdtri, expit, ndtr, stdtr, stdtrit

from gan_lab.reporting.formatting import count

LEVEL, ALPHA, POWER = 0.95, 0.05, 0.8
FEWEST_TO_TEST, FEWEST_TO_TRUST = 3, 5
"""With fewer seeds per recipe than the first, there is no test; with fewer than the second, a test has a caution."""
MOST_SEEDS = 1000
"""The most seeds that `seeds_to_settle` considers."""

Array = Any  # a numpy array, or the scalar that numpy makes of one value
Bounds = tuple[float, float]  # the smallest and the largest value that a quantity can have
UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class Estimate:
    """A mean or a difference of means, its degrees of freedom, and its interval of level `LEVEL`.

    p: p value of the two-sided test that the value is 0. Fields are NaN if they are undefined: fewer than two values,
    or no spread.
    """

    value: Array
    df: Array
    low: Array
    high: Array
    p: Array


def _estimate(value: Array, error: Array, df: Array, bounds: Bounds = UNBOUNDED) -> Estimate:
    """error: the standard error of `value`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        interval = bounded_interval(value, stdtrit(df, 0.5 + LEVEL / 2) * error, bounds)
        spread = error > 1e-12 * np.abs(value)  # below it, the error is rounding
        p = 2 * stdtr(df, -np.abs(value / error))
        low, high, p = (np.where(spread, x, np.nan)[()] for x in (*interval, p))
    return Estimate(value, df, low, high, p)


def bounded_interval(value: Array, reach: Array, bounds: Bounds) -> tuple[Array, Array]:
    """Return the interval `value` +- `reach`, computed on a transformed scale so that it stays within the bounds.

    The scale is log(x - a) for a lower bound a, and logit((x - a) / (b - a)) for bounds a and b. The error is
    transformed by the delta method, so the interval is that of the mean (not of a geometric mean), and for a small
    `reach` it is the plain one.
    """
    smallest, largest = bounds
    if not math.isfinite(smallest):
        return value - reach, value + reach
    value = np.asarray(value, float)
    above, below = value - smallest, largest - value
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if math.isfinite(largest):
            width, middle = largest - smallest, np.log(above / below)
            low, high = (smallest + width * expit(middle + s * reach * width / (above * below)) for s in (-1, 1))
        else:
            low, high = (smallest + above * np.exp(s * reach / above) for s in (-1, 1))
    inside = (above > 0) & (below > 0)  # else the mean lies on a bound, and there is no spread
    return np.where(inside, low, value - reach)[()], np.where(inside, high, value + reach)[()]


def sample_sd(x: Array) -> Array:
    """Return the standard deviation with n - 1 in the denominator, NaN for one value."""
    x = np.asarray(x, float)
    if x.shape[-1] < 2:
        return np.full(x.shape[:-1], np.nan)[()]
    return x.std(axis=-1, ddof=1)


def mean_estimate(x: Array, bounds: Bounds = UNBOUNDED) -> Estimate:
    """Return the mean of x (... n) and its t interval with n - 1 degrees of freedom, within the bounds."""
    x = np.asarray(x, float)
    n = x.shape[-1]
    if n == 0:
        raise ValueError("no values")
    return _estimate(x.mean(axis=-1), sample_sd(x) / np.sqrt(n), float(n - 1) if n > 1 else np.nan, bounds)


def welch_difference(a: Array, b: Array) -> Estimate:
    """Return mean of a (... n) minus mean of b (... m), with Welch's t test for independent a, b of unequal variance.

    The degrees of freedom are those of Welch and Satterthwaite.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    n, m = a.shape[-1], b.shape[-1]
    if not n or not m:
        raise ValueError("no values")
    var_a, var_b = sample_sd(a) ** 2 / n, sample_sd(b) ** 2 / m
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (var_a + var_b) ** 2 / (var_a**2 / (n - 1) + var_b**2 / (m - 1)) if min(n, m) > 1 else np.nan
    return _estimate(a.mean(axis=-1) - b.mean(axis=-1), np.sqrt(var_a + var_b), df)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values (Holm 1979); rejecting those below alpha keeps the family-wise error rate."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def power_of_test(n: int, difference: float, sds: Sequence[float], alpha: float = ALPHA) -> float:
    """Return the power of a two-sided t test with n seeds per recipe at level alpha (Cohen 1988, chapter 2).

    sds: the standard deviation of the paired differences (paired test), or those of the two recipes (Welch's test).
    The power is the mass of the noncentral t distribution beyond the critical values. It is computed as the mean of a
    normal probability over quantiles of the estimated deviation, because scipy's noncentral t is NaN in places.
    """
    variance = sum(s**2 for s in sds)
    df = (n - 1) * variance**2 / sum(s**4 for s in sds)
    shift, critical = abs(difference) / math.sqrt(variance / n), stdtrit(df, 1 - alpha / 2)
    deviation = np.sqrt(chdtri(df, (np.arange(2000) + 0.5) / 2000) / df)  # estimated / true deviation
    return float(np.mean(ndtr(shift - critical * deviation) + ndtr(-shift - critical * deviation)))


def seeds_to_settle(difference: float, sds: Sequence[float], alpha: float = ALPHA) -> int | None:
    """Return the fewest seeds per recipe for which a test at level alpha has the power POWER.

    It is the total number, at least FEWEST_TO_TEST. None if it takes more than MOST_SEEDS, or if there is no spread or
    no difference.
    """
    if not (all(s > 0 for s in sds) and difference != 0 and math.isfinite(difference)):
        return None
    numbers = range(FEWEST_TO_TEST, MOST_SEEDS + 1)
    i = bisect_left(numbers, POWER, key=lambda n: power_of_test(n, difference, sds, alpha))
    return numbers[i] if i < len(numbers) else None


@dataclass(frozen=True)
class PairTest:
    """Recipe a against recipe b: the mean difference a - b and its test.

    kind: "paired", "welch", or "none" without a test. sds: for `power_of_test`. reason: why there is no test, or a
    caution. too_few: whether too few seeds are the reason. shared: on which seeds a paired test is if a recipe has
    more, else "". adjusted: p value after Holm, None without a test.
    """

    a: Hashable
    b: Hashable
    kind: str
    estimate: Estimate
    sds: tuple[float, ...] = ()
    reason: str = ""
    too_few: bool = False
    shared: str = ""
    adjusted: float | None = None

    @property
    def tested(self) -> bool:
        return self.kind != "none"

    @property
    def significant(self) -> bool:
        return self.adjusted is not None and self.adjusted < ALPHA

    @property
    def note(self) -> str:
        return "; ".join(filter(None, (self.shared, self.reason)))

    @property
    def has_spread(self) -> bool:
        """Whether the spread over seeds is known, and more than rounding."""
        return all(sd > 0 for sd in self.sds) and bool(np.isfinite(self.estimate.p))

    def swapped(self) -> Self:
        """Return the same test as b - a."""
        e = self.estimate
        mirrored = replace(e, value=-e.value, low=-e.high, high=-e.low)
        return replace(self, a=self.b, b=self.a, estimate=mirrored, sds=self.sds[::-1])


def compare(a: Hashable, b: Hashable, x: Mapping[Any, float], y: Mapping[Any, float]) -> PairTest:
    """Compare x with y (seed -> value): paired if all seeds of one are among those of the other, else by Welch's test.

    So a seed that one recipe lost leaves the rest paired. The paired difference is of the seeds that both have; they
    must be enough for a test, unless the seeds are the same.
    """
    fewest = min(len(x), len(y))
    both = [seed for seed in x if seed in y]
    shared = ""
    if len(both) == fewest and (len(x) == len(y) or fewest >= FEWEST_TO_TEST):
        shared = f"on the {fewest} seeds that both have" if len(x) != len(y) else ""
        samples = [[x[seed] - y[seed] for seed in both]]
        kind, found = "paired", mean_estimate(samples[0])
    else:
        samples = [list(x.values()), list(y.values())]
        kind, found = "welch", welch_difference(samples[0], samples[1])
    sds = tuple(float(sample_sd(sample)) for sample in samples)
    if fewest < FEWEST_TO_TEST:
        reason = f"only {count(fewest, 'seed')}: no test below {FEWEST_TO_TEST}"
        return PairTest(a, b, "none", found, sds, reason, too_few=True)
    if not np.isfinite(found.p):
        return PairTest(a, b, "none", found, sds, "no spread over seeds: a test is not defined", shared=shared)
    caution = f"fewer than {FEWEST_TO_TRUST} seeds: take it as a lead" if fewest < FEWEST_TO_TRUST else ""
    return PairTest(a, b, kind, found, sds, caution, shared=shared)


def compare_all(figures: Mapping[Any, Mapping[Any, float]]) -> list[PairTest]:
    """Compare every pair of recipes (recipe -> seed -> value), with Holm's correction over all tests."""
    names = [name for name, values in figures.items() if values]
    found = [compare(a, b, figures[a], figures[b]) for i, a in enumerate(names) for b in names[i + 1 :]]
    adjusted = iter(holm([float(c.estimate.p) for c in found if c.tested]))
    return [replace(c, adjusted=next(adjusted)) if c.tested else c for c in found]
