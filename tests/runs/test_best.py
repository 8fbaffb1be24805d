"""Which evaluation is the best so far."""

import math

import pytest

from gan_lab.metrics.base import Figure
from gan_lab.runs.best import best_of_rows, update_best

HERE = "protocol dataset"


def course(values, higher=False, identity=HERE, best=None, start=1, figure="fid"):
    """Updates with one value after the other, at steps from `start` on; returns best and where it improved."""
    improved, best = [], dict(best or {})
    for step, value in enumerate(values, start):
        best, better = update_best(best, Figure(figure, higher), value, step, identity)
        if better:
            improved.append(step)
    return best, improved


@pytest.mark.parametrize(("higher", "values", "at"), [(False, [5.0, 3.0, 4.0, 3.0, 2.5], [1, 2, 5]),
                                                      (True, [5.0, 3.0, 5.5, 5.5, 7.0], [1, 3, 5])])  # fmt: skip
def test_both_directions_and_a_tie_is_no_improvement(higher, values, at):
    best, improved = course(values, higher)
    wanted = (max if higher else min)(values)
    assert improved == at
    assert best == {"metric": "fid", "value": wanted, "step": at[-1], "evaluations": 5, "identity": HERE}


def test_the_untrained_g_is_never_the_best_and_does_not_count():
    best, improved = course([1.0, 9.0, 8.0], start=0)
    assert improved == [1, 2] and (best["value"], best["step"], best["evaluations"]) == (8.0, 2, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [False, True])
def test_what_is_not_a_number_is_passed_over(value, higher):
    assert course([value]) == ({}, [])
    best, improved = course([5.0, value, 5.0], higher)
    assert improved == [1] and (best["value"], best["evaluations"]) == (5.0, 2)


@pytest.mark.parametrize("other", [{"identity": "another protocol"}, {"figure": "kid"}], ids=["protocol", "figure"])
def test_with_another_protocol_dataset_or_figure_the_choice_begins_anew(other):
    best, _ = course([2.0, 1.0])
    renewed, improved = course([7.0, 8.0], best=best, start=3, **other)
    assert improved == [3]
    wanted = {"metric": "fid", "identity": HERE} | {{"figure": "metric"}.get(k, k): v for k, v in other.items()}
    assert renewed == {**wanted, "value": 7.0, "step": 3, "evaluations": 2}


def test_a_best_of_version_0_1_kept_no_identity_and_takes_that_of_the_next_evaluation():
    old = {"metric": "fid", "value": 2.0, "step": 4, "evaluations": 3}
    best, improved = course([5.0], best=old, start=5)
    assert improved == [] and best == {**old, "evaluations": 4, "identity": HERE}
    assert course([1.0], best=old, start=5)[0]["value"] == 1.0
    assert course([5.0], best=best, start=6, identity="another protocol")[0]["value"] == 5.0


def test_the_argument_is_left_alone():
    best, _ = course([2.0])
    kept = dict(best)
    for value in (1.0, 3.0, math.nan):
        update_best(best, Figure("fid", False), value, 9, HERE)
    assert best == kept


@pytest.mark.parametrize(
    ("higher", "steps", "best"),
    [
        (False, {2, 4, 6}, (3.0, 4, 3)),
        (True, {2, 4, 6}, (9.0, 2, 3)),
        (False, {2, 6}, (5.0, 6, 2)),  # the checkpoint of step 4 is gone
        (False, {0, 8, 10}, None),  # the untrained G, another protocol, another figure, not finite
        (True, set(), None),
    ],
)
def test_the_best_is_chosen_again_among_the_checkpoints_there_are(higher, steps, best):
    rows = [
        {"step": 0, "fid": 1.0, "protocol": "a"}, {"step": 2, "fid": 9.0, "protocol": "a"},
        {"step": 4, "fid": 3.0, "protocol": "a"}, {"step": 6, "fid": 5, "protocol": "a"},
        {"step": 8, "fid": 2.0, "protocol": "b"}, {"step": 10, "kid": 2.0, "protocol": "a"},
        {"step": 10, "fid": None, "protocol": "a"},
    ]  # fmt: skip
    found = best_of_rows(rows, Figure("fid", higher), "a images", steps)
    if best is None:
        assert found == {}
    else:
        assert (found["value"], found["step"], found["evaluations"]) == best
        assert (found["metric"], found["identity"]) == ("fid", "a images")
