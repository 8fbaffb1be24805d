"""Intervals, tests and their correction, against scipy, by hand, and by simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.report.statistics import (
    compare,
    compare_all,
    holm,
    mean_estimate,
    paired_difference,
    sample_sd,
    welch_difference,
)

DRAWS = 20_000


def samples(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_a_case_worked_by_hand():
    # 2, 4, 6: mean 4, sd 2, standard error 2 / sqrt(3); with 2 degrees of freedom P(|t| < q) = q / sqrt(2 + q^2).
    e = mean_estimate([2.0, 4.0, 6.0])
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # 4.3027
    reach = quantile * 2 / math.sqrt(3)
    assert sample_sd([2.0, 4.0, 6.0]) == 2
    assert e.value == 4 and e.df == 2
    # To 1e-10, as SciPy before 1.17 finds the quantile to 1.2e-11 only.
    assert e.low == pytest.approx(4 - reach, rel=1e-10) and e.high == pytest.approx(4 + reach, rel=1e-10)


def test_a_paired_case_worked_by_hand():
    # Differences -1, -2, -3: mean -2, standard error 1 / sqrt(3), t = -2 sqrt(3); with 2 degrees of freedom the
    # two-sided p is 1 - |t| / sqrt(2 + t^2) = 1 - sqrt(12 / 14).
    e = paired_difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert e.value == -2
    assert e.p == pytest.approx(1 - math.sqrt(12 / 14), rel=1e-12)
    assert e.high < 0.5 and e.low < -4


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_the_mean_s_interval_is_scipy_s(n):
    x = samples(n, seed=n) * 3 + 1
    e = mean_estimate(x)
    low, high = scipy.stats.t.interval(0.95, n - 1, loc=x.mean(), scale=scipy.stats.sem(x))
    assert (e.low, e.high) == (pytest.approx(low, rel=1e-10), pytest.approx(high, rel=1e-10))
    assert e.p == pytest.approx(scipy.stats.ttest_1samp(x, 0).pvalue, rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_paired_test_is_scipy_s(n):
    a, b = samples(2, n, seed=n + 50)
    theirs = scipy.stats.ttest_rel(a, b + 1)
    ours = paired_difference(a, b + 1)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


@pytest.mark.parametrize(("n", "m", "scale"), [(3, 3, 1.0), (3, 5, 4.0), (10, 4, 0.1)])
def test_the_welch_test_is_scipy_s(n, m, scale):
    a, b = samples(n, seed=n), samples(m, seed=m + 90) * scale + 0.7
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False)
    ours = welch_difference(a, b)
    assert ours.value == pytest.approx(a.mean() - b.mean())
    assert ours.df == pytest.approx(theirs.df, rel=1e-10)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


def test_holm_by_hand():
    # Sorted: 0.005 x 4 = 0.02, 0.01 x 3 = 0.03, 0.03 x 2 = 0.06, 0.04 x 1 = 0.04, raised to 0.06 before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.9, 0.8]) == [1.0, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p):
    adjusted = holm(p)
    for raw, ours in zip(p, adjusted, strict=True):
        assert raw <= ours <= min(1, raw * len(p)) + 1e-12
    ranked = [ours for _, ours in sorted(zip(p, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def share(low, high, true):
    return np.mean((low <= true) & (true <= high))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_mean_s_interval_covers_95_percent(n):
    e = mean_estimate(samples(DRAWS, n, seed=n) * 2 + 7)
    assert share(e.low, e.high, 7) == pytest.approx(0.95, abs=0.01)


def test_the_paired_interval_covers_95_percent_of_seeds_with_a_common_effect():
    rng = np.random.default_rng(1)
    common = rng.normal(size=(DRAWS, 3)) * 5
    e = paired_difference(common + rng.normal(size=(DRAWS, 3)) + 2, common + rng.normal(size=(DRAWS, 3)) * 3)
    assert share(e.low, e.high, 2) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("n", "m", "scale"), [(3, 3, 1.0), (5, 5, 3.0), (3, 6, 2.0), (10, 5, 4.0)])
def test_the_welch_interval_covers_95_percent(n, m, scale):
    rng = np.random.default_rng([n, m])
    e = welch_difference(rng.normal(size=(DRAWS, n)), rng.normal(size=(DRAWS, m)) * scale - 1)
    assert share(e.low, e.high, 1) == pytest.approx(0.95, abs=0.02)


def test_holm_keeps_the_family_s_error_rate_where_no_recipe_differs():
    rng = np.random.default_rng(3)
    seeds = range(5)
    wrong = 0
    for _ in range(400):
        found = compare_all({r: dict(zip(seeds, rng.normal(size=5), strict=True)) for r in "abcd"})
        wrong += any(c.adjusted < 0.05 for c in found)
    assert wrong / 400 < 0.08  # 0.05 and three standard errors


def test_the_same_seeds_are_paired_by_seed_and_others_tested_by_welch():
    x = {1: 1.0, 2: 5.0, 3: 9.0}
    shuffled = {3: 10.1, 1: 1.9, 2: 6.0}
    paired = compare("a", "b", x, shuffled)
    assert paired.kind == "paired"
    assert paired.estimate.p == pytest.approx(scipy.stats.ttest_rel([1, 5, 9], [1.9, 6.0, 10.1]).pvalue, rel=1e-9)
    other = compare("a", "b", x, {4: 1.9, 5: 6.0, 6: 10.1})
    assert other.kind == "welch" and other.estimate.p > 0.5 > 0.01 > paired.estimate.p


@pytest.mark.parametrize("n", [1, 2])
def test_below_three_seeds_nothing_is_tested_and_that_is_said(n):
    c = compare("a", "b", {s: float(s) for s in range(n)}, {s: 2.0 * s for s in range(5)})
    assert not c.tested and c.too_few and c.adjusted is None and "no test below 3" in c.reason


def test_below_five_seeds_a_test_comes_with_a_caution_and_from_five_without():
    x, y = {s: float(s) for s in range(5)}, {s: 2.0 * s for s in range(5)}
    few = [{s: v[s] for s in range(4)} for v in (x, y)]
    assert "fewer than 5" in compare("a", "b", *few).reason and compare("a", "b", *few).tested
    assert compare("a", "b", x, y).reason == ""


@pytest.mark.parametrize("offset", [1.0, 0.1, 0.0])
def test_without_spread_there_is_no_test(offset):
    x = {1: 1.0, 2: 2.0, 3: 3.0}
    c = compare("a", "b", x, {s: v + offset for s, v in x.items()})
    assert not c.tested and not c.too_few and "no spread" in c.reason


def test_one_value_has_no_spread_and_none_is_refused():
    e = mean_estimate([3.0])
    assert e.value == 3 and all(math.isnan(v) for v in (e.low, e.high, e.p, sample_sd([3.0])))
    with pytest.raises(ValueError, match="no values"):
        mean_estimate([])


def test_the_correction_counts_the_tests_made_and_no_others():
    rng = np.random.default_rng(0)
    figures = {name: {s: rng.normal() for s in range(5)} for name in "abc"} | {"one": {0: 1.0}, "empty": {}}
    found = compare_all(figures)
    assert len(found) == 6 and {c.b for c in found if not c.tested} == {"one"}
    tested = [c for c in found if c.tested]
    assert [c.adjusted for c in tested] == pytest.approx(holm([c.estimate.p for c in tested]))
    assert max(c.adjusted / c.estimate.p for c in tested) == pytest.approx(3)
