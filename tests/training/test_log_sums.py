"""Means of logged scalars over updates: of those that were finite."""

import math

import pytest
import torch

from gan_lab.training.log_sums import add_scalars, means


def test_means_are_of_the_finite_numbers_of_each_name():
    sums = {}
    for loss, gap in ((1.0, 4.0), (2.0, math.nan), (6.0, math.inf)):
        add_scalars(sums, {"loss": torch.tensor(loss), "gap": torch.tensor(gap)})
    assert means(sums) == {"loss": 3.0, "gap": 4.0}


def test_a_name_that_never_was_finite_has_no_mean():
    sums = {}
    add_scalars(sums, {"loss": torch.tensor(math.nan)})
    assert math.isnan(means(sums)["loss"])


def test_names_that_come_in_several_sets_are_averaged_over_all():
    sums = {}
    add_scalars(sums, {"a": torch.tensor(1.0), "b": torch.tensor(-3.0)})
    add_scalars(sums, {"a": torch.tensor(5.0)})
    assert means(sums) == {"a": 3.0, "b": -3.0}


def test_sums_are_in_float64_and_hold_no_graph():
    sums = {}
    add_scalars(sums, {"a": torch.tensor(1.0, requires_grad=True)})
    add_scalars(sums, {"a": torch.tensor(2.0**-40)})
    assert sums["a"].dtype == torch.float64 and not sums["a"].requires_grad
    assert means(sums)["a"] == pytest.approx((1 + 2.0**-40) / 2, rel=1e-15)
