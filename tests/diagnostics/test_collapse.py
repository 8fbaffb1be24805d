"""Each kind of event: what raises it, what just does not, how often, and the same after a resume."""

import json
import math
import random
import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.diagnostics.collapse import DEFAULTS, Detector, Event
from gan_lab.errors import UserError

HEALTHY = {
    "loss/d": 0.6, "loss/g": 1.0, "logits/real": 0.7, "logits/fake": 0.3, "logits/real_std": 0.3,
    "logits/fake_std": 0.3, "logits/real_sign": 0.9, "logits/fake_sign": 0.5, "grad_norm/d": 2.0, "grad_norm/g": 1.0,
    "skipped_updates": 0.0,
}  # fmt: skip


def feed(detector, rows, start=1):
    """Events of rows at steps start, start + 1, ..."""
    return [e for i, row in enumerate(rows) for e in detector.observe(start + i, {**HEALTHY, **row})]


def evaluate(detector, figures, start=1, lower=True):
    """Events of evaluations at steps 1000 start, 1000 (start + 1), ..., the figures after that of the untrained G."""
    return [
        e for i, f in enumerate(figures) for e in detector.observe_evaluation(1000 * (start + i), f, lower, "figure")
    ]


def kinds(events):
    return [(e.kind, e.severity, e.step) for e in events]


def noisy(rng, factor=1.5):
    """A healthy row whose every number is off by up to a factor."""
    return {k: v * factor ** rng.uniform(-1, 1) for k, v in HEALTHY.items()}


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_healthy_run_raises_nothing(seed):
    rng, detector = random.Random(seed), Detector({})
    for step in range(1, 400):
        row = noisy(rng)
        if step % 10 == 0:
            row |= {"spread/pixels": rng.uniform(0.4, 0.8), "spread/features": rng.uniform(3.0, 6.0)}
        row["grad_norm/d"] *= 5 * step / 400 + 1  # gradients grow over a run
        assert detector.observe(step, row) == []
    assert detector.observe_evaluation(0, 51.0, True, "fid") == []
    falling = [3.0 + 40 * math.exp(-i / 5) for i in range(80)]
    for i, figure in enumerate(falling):
        assert detector.observe_evaluation(100 * (i + 1), figure * rng.uniform(1.0, 1.2), True, "fid") == []


def test_metric_worse_needs_the_factor_and_the_patience():
    detector = Detector({})
    assert evaluate(detector, [51.0, 10.0, 14.9, 15.1, 15.1, 14.9, 16.0, 16.0], start=0) == []
    (event,) = evaluate(detector, [16.0, 30.0, 60.0], start=8)
    assert event == Event(8000, "metric_worse", "collapse", event.message, 16.0, 15.0)
    assert "figure is 16" in event.message and "10" in event.message
    assert evaluate(detector, [9.0, 10.0, 13.4, 13.6, 13.6], start=11) == []  # recovered: armed again
    assert kinds(evaluate(detector, [13.6], start=16)) == [("metric_worse", "collapse", 16000)]


def test_evaluations_that_are_much_worse_count_for_more_but_never_one_alone():
    """1.5 cubed is 3.4: that much in the product of two, of at most 1.5 to the power 1.5, 1.84, each."""
    assert evaluate(Detector({}), [51.0, 10.0, 1000.0, 10.0, 18.3, 18.3], start=0) == []
    for pair in ((18.4, 18.4), (18.4, 1000.0), (1000.0, 18.4)):
        assert kinds(evaluate(Detector({}), [51.0, 10.0, *pair], start=0)) == [("metric_worse", "collapse", 3000)]
    assert evaluate(Detector({}), [51.0, 10.0, 15.1, 1000.0], start=0) == []
    assert (
        len(evaluate(Detector({"metric_patience": 4}), [51.0, 10.0, 1000.0, 22.4], start=0)) == 0
    )  # 1.5 squared: 2.25
    assert len(evaluate(Detector({"metric_patience": 4}), [51.0, 10.0, 1000.0, 22.6], start=0)) == 1


def test_a_recovery_shorter_than_the_patience_is_the_same_episode():
    detector = Detector({})
    assert len(evaluate(detector, [51.0, 10.0, 20.0, 20.0, 20.0, 10.0, 10.0], start=0)) == 1
    assert evaluate(detector, [20.0] * 5, start=7) == []


@pytest.mark.parametrize("first", [51.0, None])
def test_higher_is_better_decides_as_its_reciprocal(first):
    figures = [10.0, 12.0, 15.1, 15.2, 15.3, 9.0, 8.0, 9.0, 13.0, 13.0, 13.0]
    low, high = Detector({}), Detector({})
    if first is not None:
        low.observe_evaluation(0, first, True, "figure")
        high.observe_evaluation(0, 1 / first, False, "figure")
    found = kinds(evaluate(low, figures))
    assert found == [("metric_worse", "collapse", 5000), ("metric_worse", "collapse", 11000)]
    assert kinds(evaluate(high, [1 / f for f in figures], lower=False)) == found
    assert evaluate(Detector({}), [10.0, 16.0, 17.0, 18.0], lower=False) == []
    event = evaluate(Detector({}), [1 / f for f in figures], lower=False)[0]
    assert event.threshold == pytest.approx(1 / 15)


@pytest.mark.parametrize("untrained", [23.0, 32.0])
def test_the_untrained_figure_is_no_best_and_neither_is_one_little_better(untrained):
    """A random net that scores 23, as R3GAN's does on shapes, then 22, then 33 and more on the way to learning."""
    figures = [22.0, 33.5, 34.0, 33.5, 20.0]
    assert evaluate(Detector({}), [untrained, *figures], start=0) == []
    assert kinds(evaluate(Detector({}), [33.1, *figures], start=0)) == [("metric_worse", "collapse", 4000)]


def test_a_figure_near_zero_is_judged_by_what_was_gained():
    kid = [0.6, 0.001, 0.0016, 0.0016, 0.0016]
    assert evaluate(Detector({}), kid, start=0) == []
    assert kinds(evaluate(Detector({"metric_loss": 0.0009}), kid, start=0)) == [("metric_worse", "collapse", 4000)]
    assert evaluate(Detector({}), [0.6, -0.001, 0.001, 0.002, 0.003], start=0) == []
    assert kinds(evaluate(Detector({}), [0.6, -0.001, 0.1, 0.1, 0.1], start=0)) == [("metric_worse", "collapse", 4000)]


def test_no_progress_while_no_best_counts():
    still = [48.0, 47.0, 46.0, 45.0, 47.0, 48.0]  # step 2000 is the first that is judged
    assert kinds(evaluate(Detector({}), [51.0, *still], start=0)) == [("no_progress", "collapse", 5000)]
    assert evaluate(Detector({"progress_steps": 4000}), [51.0, *still], start=0) == []  # too early to tell
    assert evaluate(Detector({}), [73.0, *still], start=0) == []  # 48 is better than 72 by 1.5: it has learned
    assert evaluate(Detector({}), still) == []  # nothing to compare with
    (event,) = evaluate(Detector({}), [51.0, *still], start=0)
    assert (event.value, event.threshold) == (47.0, 34.0)


def test_progress_is_a_tenth_however_many_evaluations_it_takes():
    slowly, stuck = ([70.0 * rate**i for i in range(20)] for rate in (0.97, 0.98))  # a tenth takes four, and six
    assert evaluate(Detector({}), [51.0, *slowly], start=0) == []
    assert evaluate(Detector({}), [1 / f for f in [51.0, *slowly]], start=0, lower=False) == []
    assert len(evaluate(Detector({}), [51.0, *stuck], start=0)) > 0
    assert len(evaluate(Detector({}), [1 / f for f in [51.0, *stuck]], start=0, lower=False)) > 0


def test_figures_far_worse_than_untrained_need_fewer_evaluations():
    assert kinds(evaluate(Detector({}), [51.0, 115.0, 115.0, 115.0], start=0)) == [("no_progress", "collapse", 3000)]
    assert evaluate(Detector({}), [51.0, 114.0, 114.0, 114.0], start=0) == []  # 51 times 1.5 squared is 114.75


def test_a_metric_that_is_not_finite_and_one_of_another_name():
    detector = Detector({})
    assert kinds(evaluate(detector, [math.nan])) == [("non_finite", "collapse", 1000)]
    detector = Detector({})
    detector.observe_evaluation(1, 1.0, True, "kid")
    assert evaluate(detector, [50.0, 50.0, 50.0]) == []  # figures of another name are not compared with it


def spread(*numbers, key="spread/features", **more):
    return [{key: number, **more} for number in numbers]


def test_spread_lost_against_its_median():
    detector = Detector({})
    assert feed(detector, spread(4.0, 6.0, 5.0, 1.6, 5.0, 1.4)) == []  # 0.3 of the median, 5, is 1.5
    (event,) = feed(detector, spread(1.4, 0.1, 0.1), start=7)
    assert (event.kind, event.severity, event.step) == ("spread_lost", "collapse", 7)
    assert event.value == 1.4 and event.threshold == pytest.approx(1.5)  # what is held against it does not lower it
    assert feed(detector, spread(0.1, 4.0, 0.1, 4.0, 5.0), start=10) == []
    assert kinds(feed(detector, spread(0.1, 0.1), start=15)) == [("spread_lost", "collapse", 16)]


def test_spread_in_features_goes_before_pixels_but_one_grey_level_is_absolute():
    fine = spread(4.0, 6.0, 5.0, 5.0, **{"spread/pixels": 0.05})
    assert feed(Detector({}), spread(0.5, 0.6, key="spread/pixels") + fine) == []
    lost = spread(0.5, 0.6, 0.5, 0.1, 0.1, key="spread/pixels")
    assert kinds(feed(Detector({}), lost)) == [("spread_lost", "collapse", 5)]
    same = spread(0.007, 0.007, key="spread/pixels")  # from the first measurement on: below 2 / 255
    assert kinds(feed(Detector({}), same)) == [("spread_lost", "collapse", 2)]
    assert kinds(feed(Detector({}), spread(4.0, 4.0, **{"spread/pixels": 0.0}))) == [("spread_lost", "collapse", 2)]
    assert feed(Detector({}), spread(0.009, 0.009, 0.009, key="spread/pixels")) == []


def test_a_net_that_does_not_move():
    frozen = [{"update_ratio/d": 9e-7, "update_ratio/g": 1e-3}] * 3
    assert kinds(feed(Detector({}), frozen)) == [("not_moving", "collapse", 2)]
    still = [{"update_ratio/d": 1.1e-6, "update_ratio/g": ratio} for ratio in (0.0, 1e-3, 0.0, 0.0)]
    (event,) = feed(Detector({}), still)
    assert (event.kind, event.step, event.value, "changes G" in event.message) == ("not_moving", 4, 0.0, True)


def decayed(share, ratio=5e-4, **rates):
    """A measurement under a schedule that has come down to this share of both learning rates."""
    both = {"lr/d": 3e-4 * share, "lr/g": 1e-4 * share}
    return {"update_ratio/d": ratio * share, "update_ratio/g": 4 * ratio * share, **both, **rates}


def test_learning_rates_that_decay_together_stop_no_net():
    shares = [1.0, 0.5, 1e-2, 1e-3, 1e-4, 1e-5, 2e-6]
    decay = [decayed(share) for share in shares]
    assert feed(Detector({}), decay) == []
    unscheduled = [{k: v for k, v in row.items() if not k.startswith("lr/")} for row in decay]
    assert kinds(feed(Detector({}), unscheduled)) == [("not_moving", "collapse", 5), ("not_moving", "collapse", 6)]
    late = feed(Detector({}), [decayed(1.0), *[decayed(1e-3, 9e-7)] * 2])  # stuck besides
    assert kinds(late) == [("not_moving", "collapse", 3)] and "changes D" in late[0].message
    assert (late[0].value, late[0].threshold) == (pytest.approx(9e-10), pytest.approx(1e-9))
    assert feed(Detector({}), [decayed(1.0), *[decayed(1e-3, 1.1e-6)] * 3]) == []


def test_a_schedule_that_has_ended_says_nothing_of_the_nets():
    for share in (0.0, 1e-9):  # 1e-9: smaller than what fp32 resolves, so the nets may well stand still
        assert feed(Detector({}), [decayed(1.0), *[decayed(share, 0.0)] * 5]) == []
    assert feed(Detector({}), [decayed(1.0, **{"update_ratio/d": 0.0, "lr/d": 0.0})] * 5) == []  # frozen on purpose
    assert kinds(feed(Detector({}), [decayed(1.0, **{"update_ratio/d": 0.0})] * 5)) == [("not_moving", "collapse", 2)]


def test_one_net_whose_rate_falls_alone_is_not_moving():
    frozen = {"lr/d": 1e-9, "update_ratio/d": 5e-8}
    assert kinds(feed(Detector({}), [decayed(1.0), *[decayed(1.0, **frozen)] * 3])) == [("not_moving", "collapse", 3)]
    assert kinds(feed(Detector({}), [decayed(1.0, **frozen)] * 3)) == [("not_moving", "collapse", 2)]


def test_the_largest_learning_rates_outlive_a_resume_and_older_states_do_without():
    first, resumed, older = Detector({}), Detector({}), Detector({})
    feed(first, [decayed(1.0)])
    state = json.loads(json.dumps(first.state_dict()))
    resumed.load_state_dict(state)
    assert feed(resumed, [decayed(1e-4)] * 3, start=2) == []
    older.load_state_dict({k: v for k, v in state.items() if k != "rates"})
    assert kinds(feed(older, [decayed(1e-4)] * 3, start=2)) == [("not_moving", "collapse", 3)] * 2  # D and G
    assert feed(older, [decayed(1e-4)] * 2, start=5) == feed(older, [decayed(2e-6)] * 2, start=7) == []
    with pytest.raises(KeyError, match="streaks"):
        older.load_state_dict({k: v for k, v in state.items() if k != "streaks"})


def test_a_d_whose_gradient_stays_zero_is_stuck():
    """A hinge D is without a gradient for a while when all logits are beyond the margin."""
    start, zero = [{}] * 6, {"grad_norm/d": 0.0}
    assert kinds(feed(Detector({}), [*start, *[zero] * 9, {}, *[zero] * 4])) == [("gradient_vanished", "warning", 11)]
    assert kinds(feed(Detector({}), [*start, *[zero] * 30])) == [
        ("gradient_vanished", "warning", 11), ("not_moving", "collapse", 16)
    ]  # fmt: skip
    assert "not_moving" not in [e.kind for e in feed(Detector({}), [*start, *[{"grad_norm/d": 1e-30}] * 30])]


def logits(rng, mean_real, mean_fake, sd_real, sd_fake):
    """What the step would log of samples with exactly these means and deviations."""
    real, fake = ([rng.gauss(0, 1) for _ in range(64)] for _ in range(2))

    def exactly(x, mean, sd):
        return [mean + sd * (v - statistics.fmean(x)) / statistics.stdev(x) for v in x]

    real, fake = exactly(real, mean_real, sd_real), exactly(fake, mean_fake, sd_fake)
    return {
        "logits/real": statistics.fmean(real), "logits/fake": statistics.fmean(fake),
        "logits/real_std": statistics.stdev(real), "logits/fake_std": statistics.stdev(fake),
        "logits/real_sign": statistics.fmean(math.copysign(1, v) for v in real),
        "logits/fake_sign": statistics.fmean(math.copysign(1, v) for v in fake),
    }  # fmt: skip


@pytest.mark.parametrize(("apart", "event"), [(3.9, None), (4.1, "d_saturated"), (-2.9, None), (-3.1, "d_beaten")])
@pytest.mark.parametrize("middle", [0.0, 100.0])
def test_how_far_apart_logits_lie(apart, event, middle):
    """In units of the root mean square of both standard deviations, wherever the logits are."""
    unit = math.sqrt((3.0**2 + 1.0**2) / 2)
    row = logits(random.Random(0), middle + apart * unit, middle, 3.0, 1.0)
    row["logits/real_sign"] = row["logits/fake_sign"] = 1.0
    assert feed(Detector({}), [row] * 4) == []
    found = feed(Detector({}), [row] * 9)
    severity = "warning" if event == "d_saturated" else "collapse"
    assert kinds(found) == ([(event, severity, 5)] if event else [])
    if found:
        assert found[0].value == pytest.approx(apart, rel=1e-6)


def test_signs_tell_a_saturated_d_too():
    wide = {"logits/real": 10.0, "logits/fake": -2.0, "logits/real_std": 9.0, "logits/fake_std": 0.5}
    assert kinds(feed(Detector({}), [{**wide, "logits/real_sign": 1.0, "logits/fake_sign": -1.0}] * 6)) == [
        ("d_saturated", "warning", 5)
    ]
    assert feed(Detector({}), [{**wide, "logits/real_sign": 0.9, "logits/fake_sign": -1.0}] * 6) == []
    assert feed(Detector({}), [{**wide, "logits/real_sign": -1.0, "logits/fake_sign": 1.0}] * 6) == []


def test_g_starves_under_a_saturated_d_only():
    saturated = {"logits/real": 10.0, "logits/fake": -10.0}
    before = [{}] * 20
    low = {"grad_norm/g": 0.09}
    assert kinds(feed(Detector({}), [*before, *[{**saturated, **low}] * 6])) == [
        ("d_saturated", "warning", 25), ("g_starved", "collapse", 25)
    ]  # fmt: skip
    assert feed(Detector({}), [*before, *[low] * 6]) == []
    assert kinds(feed(Detector({}), [*before, *[{**saturated, "grad_norm/g": 0.11}] * 6])) == [
        ("d_saturated", "warning", 25)
    ]


def flat(size, difference):
    return {
        "logits/real": size, "logits/fake": size * (1 + difference), "logits/real_std": abs(size * difference),
        "logits/fake_std": abs(size * difference),
    }  # fmt: skip


@pytest.mark.parametrize("size", [4e-9, -0.3, 50.0])
def test_a_flat_d_is_told_by_the_size_of_its_logits(size):
    assert kinds(feed(Detector({}), [flat(size, 9e-4)] * 8)) == [("d_flat", "collapse", 5)]
    assert feed(Detector({}), [flat(size, 1.1e-3)] * 8) == []  # small logits that differ, as of a clipped critic


def test_logits_that_are_exactly_zero_are_flat():
    zero = dict.fromkeys(("logits/real", "logits/fake", "logits/real_std", "logits/fake_std"), 0.0)
    assert kinds(feed(Detector({}), [zero] * 8)) == [("d_flat", "collapse", 5)]


@pytest.mark.parametrize(
    ("key", "number", "event"),
    [
        ("grad_norm/g", 0.029, ("gradient_vanished", "collapse")),
        ("grad_norm/g", 0.031, None),
        ("grad_norm/g", 99.0, None),
        ("grad_norm/g", 101.0, ("gradient_exploded", "warning")),
        ("grad_norm/d", 0.0, ("gradient_vanished", "warning")),
        ("grad_norm/d", 201.0, ("gradient_exploded", "warning")),
        ("loss/d", -1.1e4, ("out_of_scale", "collapse")),
        ("loss/g", 9e3, None),
        ("logits/real", 1.1e4, ("out_of_scale", "collapse")),
    ],
)
def test_gradients_against_their_median_and_the_scale_of_losses(key, number, event):
    rows = [{}] * 30 + [{key: 1e4}] * 2 + [{}] * 5  # two outliers move a mean, not a median
    found = feed(Detector({}), [*rows, *[{key: number, "logits/real_std": 1e6}] * 9])
    assert [(e.kind, e.severity) for e in found] == ([event] if event else [])
    assert all(e.step == len(rows) + 5 for e in found)


def test_the_first_rows_make_no_history():
    start = [{"grad_norm/g": 1e3}] * 5
    assert feed(Detector({}), [*start, *[{}] * 20]) == []
    assert kinds(feed(Detector({"warmup_rows": 1}), [*start, *[{}] * 20])) == [("gradient_vanished", "collapse", 10)]


def test_a_gradient_that_is_zero_from_the_start():
    assert kinds(feed(Detector({}), [{"grad_norm/g": 0.0}] * 12)) == [("gradient_vanished", "collapse", 10)]
    assert feed(Detector({}), [{"grad_norm/g": 1e-12}] * 12) == []  # small, but no smaller than ever


def test_a_vanished_gradient_is_an_episode_until_it_is_back():
    detector, low = Detector({}), {"grad_norm/g": 1e-4}
    assert len(feed(detector, [{}] * 20 + [low] * 200)) == 1  # the median does not follow what is held against it
    assert feed(detector, [{}] * 4 + [low] * 20) == []
    assert kinds(feed(detector, [{}] * 5 + [low] * 5)) == [("gradient_vanished", "collapse", 10)]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, None])
def test_numbers_that_are_not_finite(number):
    found = feed(Detector({}), [{}, {"loss/d": number}, {"loss/d": number}, {"loss/d": number}, {}])
    assert kinds(found) == [("non_finite", "warning", 2), ("non_finite", "collapse", 4)]
    assert "loss/d" in found[0].message


def test_skipped_updates_count_when_they_grow():
    skipped = [0.0, 0.0, 2.0, 2.0, 2.0, 3.0, 4.0, 9.0, 9.0]
    found = feed(Detector({}), [{"skipped_updates": n} for n in skipped])
    assert kinds(found) == [
        ("non_finite", "warning", 3), ("non_finite", "warning", 6), ("non_finite", "collapse", 8)
    ]  # fmt: skip
    assert [e.value for e in found] == [2.0, 1.0, 5.0]


def test_a_long_history_is_bounded_and_keeps_its_median():
    detector, rng, norms = Detector({}), random.Random(0), []
    for step in range(5000):
        norms.append(math.exp(rng.gauss(0, 0.3) + step / 5000))
        detector.observe(step, {"grad_norm/g": norms[-1]})
    state = detector.state_dict()
    kept = state["histories"]["grad_norm/g"]["values"]
    assert len(kept) <= 128 and len(json.dumps(state)) < 5000
    assert statistics.median(kept) == pytest.approx(statistics.median(norms), rel=0.1)


numbers = st.one_of(st.floats(1e-6, 1e6), st.sampled_from([0.0, math.nan, math.inf, None, 1.0, 2.0]))
rows = st.lists(
    st.dictionaries(st.sampled_from([*HEALTHY, "spread/features", "update_ratio/d"]), numbers, max_size=6), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(rows, st.lists(st.floats(-1.0, 100.0), max_size=40), st.integers(0, 40))
def test_a_resumed_run_decides_identically(observed, figures, at):
    """The state goes through JSON, which holds plain values only, at any point of any run."""
    impatient = {"row_patience": 2, "metric_patience": 2, "warmup_rows": 1, "progress_steps": 1}
    whole, first = Detector(impatient), Detector(impatient)

    def one(detector, i):
        events = detector.observe(i, observed[i]) if i < len(observed) else []
        return events + (detector.observe_evaluation(i, figures[i], True, "fid") if i < len(figures) else [])

    for i in range(at):
        assert repr(one(whole, i)) == repr(one(first, i))
    saved = first.state_dict()
    text = json.dumps(saved)
    one(first, at)
    assert json.dumps(saved) == text  # a copy
    resumed = Detector(impatient)
    resumed.load_state_dict(json.loads(text))
    for i in range(at, 41):
        assert repr(one(whole, i)) == repr(one(resumed, i))  # by repr, as NaN is not equal to itself


def test_a_resume_remembers_the_warm_up_and_the_skips():
    first, resumed = Detector({}), Detector({})
    feed(first, [{"grad_norm/g": 1e3, "skipped_updates": 7.0}] * 5)
    resumed.load_state_dict(first.state_dict())
    rows = [{"grad_norm/g": g, "skipped_updates": 7.0} for g in (1.0, *[1e-3] * 5)]
    assert kinds(feed(resumed, rows, start=6)) == [("gradient_vanished", "collapse", 11)]


def test_batches_of_one_image_have_no_spread_to_measure_by():
    alone = {"logits/real": -1.0, "logits/fake": 1.0, "logits/real_std": 0.0, "logits/fake_std": 0.0}
    assert feed(Detector({}), [alone] * 9) == []


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"metric_facto": 2.0}, ("metric_facto", "did you mean 'metric_factor'")),
        ({"metric_factor": 1.0}, ("metric_factor", "above 1")),
        ({"spread_factor": 1.5}, ("spread_factor", "below 1")),
        ({"row_patience": 2.5}, ("row_patience", "whole")),
        ({"row_patience": 0}, ("row_patience", "above 0")),
        ({"beaten": True}, ("beaten", "number")),
        ({"beaten": "3"}, ("beaten", "number")),
        ({"beaten": math.nan}, ("beaten", "above 0")),
    ],
)
def test_settings_that_make_no_sense(given_settings, words):
    with pytest.raises(UserError) as caught:
        Detector(given_settings)
    assert all(word in str(caught.value) for word in words) and "monitor.detection." in str(caught.value)


def test_the_defaults_are_valid_and_each_can_be_overridden():
    assert Detector(DEFAULTS).settings == Detector({}).settings == DEFAULTS
    assert Detector({"beaten": 2}).settings == {**DEFAULTS, "beaten": 2.0}


def test_the_page_states_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "stability.md").read_text()
    for name, number in DEFAULTS.items():
        stated = re.findall(rf"`{name}`,? ([0-9][0-9e.+/-]*)", page)
        assert stated, name
        assert all(eval(text.rstrip("."), {}) == number for text in stated[:1]), (name, stated)  # such as 2/255


def test_an_event_as_plain_values():
    (event,) = evaluate(Detector({}), [10.0, 20.0, 20.0, 20.0])
    assert json.loads(json.dumps(event.as_dict())) == {
        "step": 3000, "kind": "metric_worse", "severity": "collapse", "message": event.message, "value": 20.0,
        "threshold": 15.0,
    }  # fmt: skip
