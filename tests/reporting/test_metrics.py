"""What a metric is called, which way is better, and what it cannot be."""

import math

from gan_lab.reporting.metrics import Best, describe


def test_names_and_bounds():
    assert describe("fid_shapes", [], False).name == "FID" and describe("fid768", [], False).name == "FID"
    assert describe("fidelity", [1.0], False).name == "fidelity"
    assert describe("modes_kl_shapes", [], False).name == "KL of modes"
    assert describe("precision_shapes", [], False).bounds == (0, 1) and describe("fid", [], False).bounds == (
        0,
        math.inf,
    )
    assert describe("kid_shapes", [0.1], False).bounds == (-math.inf, math.inf)  # the estimate can be negative
    assert describe("mine", [0.0, 2.0], False).bounds == (0, math.inf)
    assert describe("mine", [-0.1, 2.0], False).bounds == (-math.inf, math.inf)


def test_the_best_is_counted_without_the_untrained_generator():
    lower, higher = describe("fid", [], False), describe("is_mean", [], True)
    at = {0: 0.5, 100: 3.0, 200: 2.0, 300: 2.5}
    assert lower.best(at) == Best(200, 2.0, 3) and higher.best(at) == Best(100, 3.0, 3)
    assert higher.best({0: 9.0, 100: 3.0}) == Best(100, 3.0, 1)
    assert lower.best({0: 1.0}) is None and lower.best({}) is None


def test_figures_that_the_number_of_classes_limits_need_three_seeds_for_an_interval():
    limited = {key for key in ("fid", "is_mean", "modes_shapes", "modes_kl_shapes", "density", "precision", "mine")
               if describe(key, [1.0], True).fewest_for_interval == 3}  # fmt: skip
    assert limited == {"is_mean", "modes_shapes", "modes_kl_shapes"}
    assert describe("fid", [], False).fewest_for_interval == 2
