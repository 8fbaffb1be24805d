"""What each kind of range takes and refuses, and how it says so."""

import math

import pytest

from gan_lab.config.ranges import (
    ABOVE_ZERO,
    BETAS,
    DEVICE,
    METRIC_RANGES,
    NAME,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    WIDTH,
    at_least,
    is_number,
    one_of,
    whole,
)  # fmt: skip

LINEAR = {"_target_": "gan_lab.schedules.Linear"}


@pytest.mark.parametrize(
    "allowed, good, bad",
    [
        (at_least(2), [2, 2.5, 10**9], [1.999, -3, math.inf, math.nan, True, "3", None]),
        (whole(0, 5), [0, 5, 2.0], [-1, 6, 2.5]),
        (whole(0), [2**31], [2**31 + 1]),
        (one_of("a", "b"), ["a", "b"], ["c", "", None]),
        (ABOVE_ZERO, [1e-300, 3], [0, -1, math.nan, math.inf, False]),
        (NOT_NEGATIVE, [0, 1.5, {**LINEAR, "start": 0, "end": 2}], [-1, {**LINEAR, "start": 1, "end": -1}, {"end": 1}]),
        (POSITIVE, [1e-9, {**LINEAR, "start": 1}], [0, {**LINEAR, "start": 0}, {**LINEAR, "end": "x"}]),
        (BETAS, [[0, 0.99], [0.5, {**LINEAR, "end": 0.9}]], [[0, 1], [0.5], [-0.1, 0.9], (0.5, 0.9), 0.5]),
        (SEED, [0, 2**63 - 1], [-1, 2**63]),
        (NAME, [None, "a", "2024_11_28", "norm=sn,seed=1", "x" * 100], ["", "-a", ".a", "a/b", "a b", "x" * 101]),
        (DEVICE, ["auto", "cpu", "cuda", "cuda:1"], ["gpu", "cuda:", "cuda:x", ""]),
        (WIDTH, [0.01, 16], [0, -1, 16.01]),
        (METRIC_RANGES["seed"], [0, 2**32 - 1], [-1, 2**32]),
        (METRIC_RANGES["truncation"], [0.001, 1], [0, 1.01, -1]),
        (METRIC_RANGES["num_samples"], [1, None, "?"], [0, -5]),
        (METRIC_RANGES["kid_subset_size"], [2], [1]),
        (METRIC_RANGES["real_split"], ["train", "test"], ["valid"]),
    ],
)
def test_what_is_inside(allowed, good, bad):
    assert [value for value in good if not allowed.holds(value)] == []
    assert [value for value in bad if allowed.holds(value)] == []


def test_how_a_range_completes_must_be():
    assert at_least(0).text == "at least 0" and at_least(0, "never").text == "at least 0 (never)"
    assert whole(1).text == "a whole number from 1 to 2^31" and whole(2, 9).text == "a whole number from 2 to 9"
    assert one_of("a", "b", "c").text == "a, b or c" and one_of("a", "b").choices == ("a", "b")


def test_numbers_are_finite_and_no_bools():
    assert is_number(0) and is_number(-1.5) and is_number(10**300)
    assert not any(map(is_number, (math.inf, -math.inf, math.nan, True, "1", None, 10**400, [1])))
