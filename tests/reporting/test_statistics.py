"""Intervals, tests and their correction, against scipy, by hand, and by simulation."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.reporting.statistics import (
    MOST_SEEDS,
    bounded_interval,
    compare,
    compare_all,
    holm,
    mean_estimate,
    power_of_test,
    sample_sd,
    seeds_to_settle,
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
    e = compare("a", "b", dict(enumerate([1.0, 2.0, 3.0])), dict(enumerate([2.0, 4.0, 6.0]))).estimate
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
    ours = compare("a", "b", dict(enumerate(a)), dict(enumerate(b + 1))).estimate
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
    e = mean_estimate(common + rng.normal(size=(DRAWS, 3)) + 2 - (common + rng.normal(size=(DRAWS, 3)) * 3))
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
    assert not c.has_spread  # differences of 0.1 differ by rounding
    assert compare("a", "b", x, {1: 1.5, 2: 2.0, 3: 4.0}).has_spread


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


POSITIVE, SHARE = (0, math.inf), (0, 1)


def test_the_interval_of_a_positive_quantity_is_a_t_interval_of_its_logarithm():
    x = np.array([0.4, 5.0, 1.2])
    assert mean_estimate(x).low < 0 < mean_estimate(x, bounds=POSITIVE).low
    e = mean_estimate(x, bounds=POSITIVE)
    error_of_log = scipy.stats.sem(x) / x.mean()  # delta method: d log(m) = dm / m
    low, high = scipy.stats.t.interval(0.95, 2, loc=math.log(x.mean()), scale=error_of_log)
    assert (math.log(e.low), math.log(e.high)) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))
    assert e.value == pytest.approx(x.mean()) and e.p == mean_estimate(x).p
    shifted = mean_estimate(x + 1, bounds=(1, math.inf))
    assert (shifted.low, shifted.high) == (pytest.approx(1 + e.low), pytest.approx(1 + e.high))


def test_the_interval_of_a_share_is_a_t_interval_of_its_logit():
    x = np.array([0.99, 0.80, 0.97])
    assert mean_estimate(x).high > 1 > mean_estimate(x, bounds=SHARE).high
    e, m = mean_estimate(x, bounds=SHARE), x.mean()
    error_of_logit = scipy.stats.sem(x) / (m * (1 - m))
    low, high = scipy.stats.t.interval(0.95, 2, loc=scipy.special.logit(m), scale=error_of_logit)
    assert (e.low, e.high) == (pytest.approx(scipy.special.expit(low)), pytest.approx(scipy.special.expit(high)))
    wide = mean_estimate(3 + 4 * x, bounds=(3, 7))
    assert (wide.low, wide.high) == (pytest.approx(3 + 4 * e.low), pytest.approx(3 + 4 * e.high))


@settings(max_examples=200, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0, 50), st.sampled_from([POSITIVE, SHARE, (-3, math.inf)]))
def test_a_bounded_interval_holds_its_mean_and_stays_within_the_bounds(mean, reach, bounds):
    low, high = bounded_interval(mean, reach, bounds)
    assert bounds[0] <= low <= mean + 1e-12 and mean - 1e-12 <= high <= bounds[1]


@pytest.mark.parametrize("bounds", [POSITIVE, SHARE])
def test_a_narrow_interval_is_the_plain_one_and_a_mean_on_a_bound_has_none(bounds):
    assert bounded_interval(0.5, 1e-4, bounds) == pytest.approx((0.4999, 0.5001), abs=1e-7)
    e = mean_estimate([0.0, 0.0, 0.0], bounds=bounds)
    assert math.isnan(e.low) and math.isnan(e.high) and math.isnan(e.p) and e.value == 0
    assert math.isnan(mean_estimate([0.5], bounds=bounds).low)


@pytest.mark.parametrize(
    ("draw", "mean", "bounds", "plain"),
    [
        (lambda rng: rng.exponential(1, (DRAWS, 3)), 1, POSITIVE, 0.89),
        (lambda rng: rng.lognormal(0, 0.5, (DRAWS, 3)), math.exp(0.125), POSITIVE, 0.925),
        (lambda rng: rng.beta(8, 2, (DRAWS, 3)), 0.8, SHARE, 0.935),
        (lambda rng: 1 + 0.1 * rng.normal(size=(DRAWS, 3)), 1, POSITIVE, 0.95),
    ],
    ids=["exponential", "lognormal", "beta", "normal"],
)
def test_bounded_intervals_cover_95_percent_where_plain_ones_cover_less(draw, mean, bounds, plain):
    x = draw(np.random.default_rng(0))
    bounded = mean_estimate(x, bounds=bounds)
    assert share(bounded.low, bounded.high, mean) == pytest.approx(0.95, abs=0.015)
    assert share(mean_estimate(x).low, mean_estimate(x).high, mean) == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize(
    ("effect", "sds", "n"), [(0.5, (1,), 34), (0.8, (1,), 15), (0.5, (1, 1), 64), (0.8, (1, 1), 26), (-0.8, (1, 1), 26)]
)
def test_the_seeds_needed_are_those_of_the_textbooks_tables(effect, sds, n):
    # Cohen 1988 and G*Power: a medium (0.5) and a large (0.8) effect, two-sided 0.05, power 0.8, matched and unmatched.
    assert seeds_to_settle(effect, sds) == n


def closed_form(n, difference, sds, alpha):
    variance = sum(s * s for s in sds)
    df = (n - 1) * variance**2 / sum(s**4 for s in sds)
    shift, critical = difference / math.sqrt(variance / n), scipy.stats.t.ppf(1 - alpha / 2, df)
    return scipy.stats.nct.sf(critical, df, shift) + scipy.stats.nct.cdf(-critical, df, shift)


@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("sds", [(1.0,), (1.0, 1.0), (0.5, 2.0)])
@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_power_is_the_noncentral_t_distribution_s(n, sds, alpha):
    for difference in (0.0, 0.4, 1.5):
        ours = power_of_test(n, difference, sds, alpha)
        assert ours == pytest.approx(closed_form(n, difference, sds, alpha), abs=2e-4)
    assert power_of_test(n, 0.0, sds, alpha) == pytest.approx(alpha, abs=2e-4)


def test_the_power_is_the_share_of_simulated_tests_that_find_the_difference():
    x = samples(DRAWS, 5, seed=7) * 1.2 + 2
    assert np.mean(mean_estimate(x).p < 0.05) == pytest.approx(power_of_test(5, 2, (1.2,)), abs=0.012)
    a, b = samples(DRAWS, 5, seed=8), samples(DRAWS, 5, seed=9) * 2 - 3
    # Welch's degrees of freedom are those of the true spreads here, and of the measured ones in a test.
    assert np.mean(welch_difference(a, b).p < 0.05) == pytest.approx(power_of_test(5, 3, (1, 2)), abs=0.03)


def test_a_test_after_every_added_seed_finds_a_quarter_of_differences_that_are_not_there():
    n, difference = np.arange(1, 31), samples(DRAWS, 30)  # docs/guides/sweeps.md states the share
    mean = difference.cumsum(1) / n
    variance = ((difference**2).cumsum(1) - n * mean**2)[:, 2:] / (n[2:] - 1)
    found = np.abs(mean[:, 2:]) / np.sqrt(variance / n[2:]) > scipy.stats.t.ppf(0.975, n[2:] - 1)
    assert found[:, -1].mean() == pytest.approx(0.05, abs=0.005)
    assert found.any(1).mean() == pytest.approx(0.26, abs=0.01)


def test_one_seed_fewer_would_not_do_and_a_stricter_level_takes_more():
    n = seeds_to_settle(1.0, (1.5,), alpha=0.01)
    assert closed_form(n - 1, 1.0, (1.5,), 0.01) < 0.8 <= closed_form(n, 1.0, (1.5,), 0.01)
    assert seeds_to_settle(1.0, (1.5,)) < n < seeds_to_settle(1.0, (1.5,), alpha=0.001)
    assert seeds_to_settle(100.0, (1.0,)) == 3  # no test below


def test_where_seeds_settle_nothing_there_is_no_number():
    assert seeds_to_settle(1e-4, (1.0,)) is None and seeds_to_settle(0.0, (1.0,)) is None
    assert seeds_to_settle(1.0, (0.0,)) is None and seeds_to_settle(1.0, (math.nan, 1.0)) is None
    assert power_of_test(MOST_SEEDS, 1e-4, (1.0,)) < 0.8


def test_a_comparison_turned_round_is_its_mirror_image():
    c = compare("a", "b", {1: 1.0, 2: 3.0, 3: 2.5}, {4: 0.5, 5: 1.0, 6: 0.0})
    t = c.swapped()
    assert (t.a, t.b, t.estimate.value) == (c.b, c.a, -c.estimate.value) and c.estimate.value > 0
    assert (t.estimate.low, t.estimate.high) == (-c.estimate.high, -c.estimate.low) and t.adjusted == c.adjusted
    assert t.sds == c.sds[::-1] and c.sds[0] != c.sds[1]


@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [0.1 + 0.2, 0.3, 0.3]])
def test_without_spread_an_interval_is_undefined_and_not_of_width_zero(values):
    e = mean_estimate(values)
    assert math.isnan(e.low) and math.isnan(e.high) and math.isnan(e.p) and e.value == pytest.approx(values[0])
    near = mean_estimate([2.0, 2.0, 2.0 + 1e-6])
    assert near.low < near.value < near.high


def test_a_lost_seed_leaves_the_others_paired_and_the_note_says_on_how_many():
    x = {0: 1.0, 1: 5.0, 2: 9.0, 3: 7.0}
    y = {0: 1.9, 1: 6.0, 2: 10.1}
    theirs = scipy.stats.ttest_rel([1.0, 5.0, 9.0], [1.9, 6.0, 10.1])
    for c, sign in ((compare("a", "b", x, y), 1), (compare("b", "a", y, x), -1)):
        assert c.kind == "paired" and c.estimate.p == pytest.approx(theirs.pvalue, rel=1e-9)
        assert c.estimate.value == pytest.approx(sign * np.mean([-0.9, -1.0, -1.1])) and len(c.sds) == 1
        assert c.note.startswith("on the 3 seeds that both have; fewer than 5 seeds")
    assert compare("a", "b", y, y | {0: 2.0}).shared == ""  # the same seeds


@pytest.mark.parametrize("y", [{1: 1.9, 2: 6.0, 3: 10.1, 9: 1.0}, {1: 1.9, 2: 6.0, 8: 10.1}])
def test_each_with_a_seed_of_its_own_is_tested_by_welch(y):
    c = compare("a", "b", {0: 1.0, 1: 5.0, 2: 9.0, 3: 7.0}, y)
    assert c.kind == "welch" and c.shared == "" and len(c.sds) == 2
