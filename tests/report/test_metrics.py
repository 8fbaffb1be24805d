"""What a metric is called, which way is better, and what it cannot be."""

import math

import pytest

from gan_lab.report.metrics import Best, describe

DECLARED = {"fid": False, "psnr": True, "modes": True, "modes_kl": False, "fid_clip": True}


@pytest.mark.parametrize(
    ("key", "higher"),
    [("psnr_shapes", True), ("psnr", True), ("fid_shapes", False), ("fid50", False), ("modes_kl_shapes", False),
     ("modes_shapes", True), ("fid_clip_shapes", True)],
)  # fmt: skip
def test_what_the_protocol_declares_is_believed_by_key_or_by_the_longest_name_it_begins_with(key, higher):
    assert describe(key, [1.0], DECLARED).higher_is_better is higher


def test_a_declaration_under_the_whole_key_counts_and_one_of_another_metric_does_not():
    assert describe("mine_shapes", [1.0], {"mine_shapes": True}).higher_is_better
    assert not describe("minefield", [1.0], {"mine": True}).higher_is_better


@pytest.mark.parametrize(
    ("key", "higher"), [("fid_shapes", False), ("is_mean", True), ("recall", True), ("kid", False)]
)
def test_without_a_declaration_the_name_decides(key, higher):
    assert describe(key, [1.0], {}).higher_is_better is higher


def test_names_and_bounds():
    assert describe("fid_shapes", [], {}).name == "FID" and describe("fid768", [], {}).name == "FID"
    assert describe("fidelity", [1.0], {}).name == "fidelity"
    assert describe("modes_kl_shapes", [], {}).name == "KL of modes"
    assert describe("precision_shapes", [], {}).bounds == (0, 1) and describe("fid", [], {}).bounds == (0, math.inf)
    assert describe("kid_shapes", [0.1], {}).bounds == (-math.inf, math.inf)  # the estimate can be negative
    assert describe("mine", [0.0, 2.0], {}).bounds == (0, math.inf)
    assert describe("mine", [-0.1, 2.0], {}).bounds == (-math.inf, math.inf)


def test_the_best_is_counted_without_the_untrained_generator():
    lower, higher = describe("fid", [], {}), describe("is_mean", [], {})
    at = {0: 0.5, 100: 3.0, 200: 2.0, 300: 2.5}
    assert lower.best(at) == Best(200, 2.0, 3) and higher.best(at) == Best(100, 3.0, 3)
    assert higher.best({0: 9.0, 100: 3.0}) == Best(100, 3.0, 1)
    assert lower.best({0: 1.0}) is None and lower.best({}) is None
