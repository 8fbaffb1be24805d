"""Numbers and words of the report."""

import math

import pytest

from gan_lab.reporting.formatting import (
    MISSING,
    count,
    decimals_for,
    duration,
    fixed,
    interval,
    listed,
    p_value,
    span,
    with_sd,
)  # fmt: skip


@pytest.mark.parametrize(
    "values, decimals", [([21.7, 19.3], 2), ([0.0123], 5), ([1234.5], 0), ([5.0], 3), ([1e-12], 7), ([], 2), ([0], 2)]
)
def test_decimals_show_four_digits_of_the_median(values, decimals):
    assert decimals_for(values) == decimals


def test_numbers():
    assert fixed(-1234.567, 2) == "−1,234.57" and fixed(0.004, 2) == "0.00" and fixed(-0.004, 2) == "0.00"
    assert fixed(None, 2) == fixed(math.nan, 2) == MISSING
    assert with_sd(1.0, 0.25, 2) == "1.00 ± 0.25" and with_sd(1.0, math.nan, 1) == "1.0"
    assert interval(-1, 2, 1) == "[−1.0, 2.0]" and interval(math.nan, 2, 1) == ""


@pytest.mark.parametrize(
    "p, text",
    [
        (0.00009, "< 0.0001"),
        (0.0001, "0.0001"),
        (0.0449, "0.045"),
        (0.5, "0.50"),
        (1.0, "1.00"),
        (None, "–"),
        (0.0496, "0.0496"),
        (0.0504, "0.0504"),
        (0.049996, "0.049996"),
        (0.05, "0.0500"),
        (0.0506, "0.051"),
    ],
)
def test_p_values_have_two_digits(p, text):
    assert p_value(p) == text


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (12_000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text and duration(None) == MISSING


def test_counts_spans_and_lists():
    assert count(1, "run") == "1 run" and count(0, "run") == "0 runs" and count(2000, "run") == "2,000 runs"
    assert span([5, 5]) == "5" and span([5, 3]) == "3 to 5" and span([]) == MISSING
    assert listed(["a"]) == "a" and listed(["a", "b"]) == "a and b" and listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefgh")) == "a, b, c, d, e, f and 2 more" and listed(["a", "b"], last="or") == "a or b"


@pytest.mark.parametrize("p", [0.0495, 0.04999999, 0.05, 0.0500001, 0.0504])
def test_a_p_value_shows_on_which_side_of_five_percent_it_lies(p):
    assert (float(p_value(p)) < 0.05) is (p < 0.05)
