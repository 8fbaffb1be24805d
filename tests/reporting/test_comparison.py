"""What is compared with what, at which step, and what is refused."""

import json
import math

import numpy as np
import pytest
import scipy.stats

from gan_lab.errors import UserError
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.metrics import describe
from gan_lab.reporting.runs import find_runs, read_run
from gan_lab.reporting.statistics import seeds_to_settle

FID = describe("fid_shapes", [], False)


def compared(folder, **how):
    return compare_runs([read_run(p, p.name) for p in find_runs([folder])], **how)


def test_mean_sd_and_interval_over_seeds_at_the_common_step(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 50, 100: 4.0}, {0: 50, 100: 6.0}, {0: 50, 100: 5.0, 200: 1.0}]})
    (comparison,) = compared(tmp_path)
    found = comparison.at_step(comparison.recipes[0], FID)
    assert comparison.step == 100 and found.values == {0: 4.0, 1: 6.0, 2: 5.0}
    low, high = np.exp(scipy.stats.t.interval(0.95, 2, loc=math.log(5), scale=1 / 5 / math.sqrt(3)))
    assert (found.mean, found.sd) == (5, 1)
    assert (found.estimate.low, found.estimate.high) == (pytest.approx(low), pytest.approx(high))


def test_at_best_is_each_run_s_own_best_of_so_many_evaluations(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 50, 50: 3.0, 100: 4.0}, {0: 50, 50: 8.0, 100: 6.0}]})
    (comparison,) = compared(tmp_path)
    best = comparison.at_best(comparison.recipes[0], FID)
    assert best.values == {0: 3.0, 1: 6.0} and best.evaluations == (2, 2)
    assert comparison.chosen_from_many(FID)


def test_at_best_nothing_after_the_common_step_counts(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{50: 3.0, 100: 4.0, 200: 1.0}, {50: 8.0, 100: 6.0}], "bsn": [{100: 5.0}]})
    (comparison,) = compared(tmp_path)
    assert comparison.step == 100
    sn = next(r for r in comparison.recipes if r.label == "norm=sn")
    assert comparison.at_best(sn, FID).values == {0: 3.0, 1: 6.0} and comparison.at_best(sn, FID).evaluations == (2, 2)
    assert comparison.best_of(sn.seeds[0], FID) == (50, 3.0, 2)
    (later,) = compared(tmp_path, step=200)
    sn = next(r for r in later.recipes if r.label == "norm=sn")
    assert later.at_best(sn, FID).values == {0: 1.0} and later.at_best(sn, FID).evaluations == (3,)


@pytest.mark.parametrize(("other", "warned"), [((64, 1), False), ((32, 2), False), ((64, 5), True), ((16, 1), True)])
def test_steps_of_unequally_many_images_are_warned_of(tmp_path, fabricate, other, warned):
    for norm, (batch, n_dis) in (("sn", (64, 1)), ("bsn", other)):
        config = fabricate.config(norm)
        config["trainer"] |= {"batch_size": batch, "n_dis": n_dis}
        fabricate.run(tmp_path / norm, config, figures={100: 5.0}, overrides=[f"norm={norm}"])
    (comparison,) = compared(tmp_path)
    found = [w for w in comparison.warnings if w.startswith("Images a step")]
    assert len(found) == warned
    if warned:
        assert "64 (norm=sn)" in found[0] and f"{other[0] * other[1]} (norm=bsn)" in found[0]


def test_the_untrained_generator_is_no_best(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 1.0, 100: 4.0}, {0: 9.0, 100: 6.0}]})
    (comparison,) = compared(tmp_path)
    best = comparison.at_best(comparison.recipes[0], FID)
    assert best.values == {0: 4.0, 1: 6.0} and best.evaluations == (1, 1)
    (start,) = compared(tmp_path, step=0)
    assert start.at_step(start.recipes[0], FID).values == {0: 1.0, 1: 9.0}


def test_runs_with_nothing_but_step_0_have_no_best(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 50.0}, {0: 49.0}]})
    (comparison,) = compared(tmp_path)
    assert comparison.step == 0 and comparison.at_step(comparison.recipes[0], FID).n == 2
    assert comparison.at_best(comparison.recipes[0], FID).n == 0


def test_a_growing_figure_is_best_at_its_largest(sweep):
    (comparison,) = compared(sweep, metric="is_shapes")
    metric = comparison.metric
    assert metric.key == "is_shapes" and metric.higher_is_better
    means = [comparison.at_step(r, metric).mean for r in comparison.recipes]
    assert means == sorted(means, reverse=True)
    assert comparison.at_best(comparison.recipes[0], metric).mean >= means[0]


def test_the_metric_is_the_one_that_chose_the_best_checkpoints_and_comes_first(sweep):
    (comparison,) = compared(sweep)
    assert comparison.metric == comparison.metrics[0] and comparison.metric.key == "fid_shapes"
    assert len(comparison.metrics) == 9 and not any(m.key.endswith("_std") for m in comparison.metrics)
    assert [r.label for r in comparison.recipes] == ["norm=bssn", "norm=ssn", "norm=bsn", "norm=sn", "norm=none"]


def test_a_failed_run_enters_no_mean_but_an_unfinished_one_that_got_there_does(tmp_path, fabricate):
    for seed, status in enumerate(["finished", "diverged", "collapsed", "interrupted", None]):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={100: float(seed)}, status=status)
    (comparison,) = compared(tmp_path)
    assert comparison.at_step(comparison.recipes[0], FID).values == {0: 0.0, 3: 3.0, 4: 4.0}
    assert comparison.at_best(comparison.recipes[0], FID).values == {0: 0.0, 3: 3.0, 4: 4.0}


def test_an_unfinished_run_holds_the_step_back_and_the_warning_says_how_to_go_on(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 50, 100: 9, 200: 5}] * 3})
    fabricate.run(tmp_path / "late", fabricate.config("bsn", 0), figures={0: 50, 100: 8}, status=None)
    (comparison,) = compared(tmp_path)
    assert comparison.step == 100 and "step=200" in comparison.warnings[0]
    (later,) = compared(tmp_path, step=200)
    assert later.step == 200 and later.at_step(later.recipes[1], FID).n == 0


def test_a_finished_run_without_its_last_figure_is_named(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 9, 200: 5}, {100: 9}, {100: 8, 200: 4}]})
    (comparison,) = compared(tmp_path)
    lacking = next(run.name for run in comparison.runs if 200 not in run.figures.at(FID.key))
    assert comparison.step == 100
    assert comparison.warnings == [
        f"1 of 3 runs have no {FID.key} after step 100, at which all are compared, {lacking} among them; step=200 "
        "compares the 2 that have one there."
    ]


def test_without_a_common_step_the_most_common_one_is_taken_with_a_warning(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 9, 100: 5}, {0: 9, 100: 5}], "bsn": [{0: 9, 70: 6}]})
    (comparison,) = compared(tmp_path)
    assert comparison.step == 100 and "2 of 3" in comparison.warnings[0]


def test_an_unknown_metric_or_step_is_refused_with_what_there_is(sweep):
    with pytest.raises(UserError, match="metric=fid_shape.*did you mean 'fid_shapes'"):
        compared(sweep, metric="fid_shape")
    with pytest.raises(UserError, match="step=123.*0, 250"):
        compared(sweep, step=123)


@pytest.fixture
def two_protocols(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}] * 2})
    fabricate.figures(tmp_path, {"bsn": [{100: 3.0}]}, protocol={**fabricate.protocol, "num_fake": 50_000})
    fabricate.run(tmp_path / "none", fabricate.config("none"), protocol=None, last=100)
    return tmp_path


def test_protocols_are_not_mixed_and_the_difference_is_named(two_protocols):
    with pytest.raises(UserError, match="num_fake: 50000 against 3000.*protocols=separate") as caught:
        compared(two_protocols)
    assert "num_real" not in str(caught.value)


def test_separate_protocols_are_separate_comparisons(two_protocols):
    found = compared(two_protocols, separate=True)
    assert [[r.label for r in s.recipes] for s in found] == [["norm=bsn"], ["norm=sn"], ["norm=none"]]
    assert [s.protocol.get("num_fake") for s in found] == [50_000, 3000, None]
    assert found[2].metric is None


def test_a_generator_without_classes_compares_with_one_that_draws_them(tmp_path, fabricate):
    drawn = {**fabricate.protocol, "fake_labels": "uniform"}
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}]})
    fabricate.figures(tmp_path, {"bsn": [{100: 3.0}], "ssn": [{100: 5.0}]}, protocol=drawn)
    (comparison,) = compared(tmp_path)
    assert [r.label for r in comparison.recipes] == ["norm=bsn", "norm=sn", "norm=ssn"]
    assert comparison.protocol == drawn
    fabricate.figures(tmp_path, {"none": [{100: 9.0}]}, protocol={**drawn, "fake_labels": "data"})
    with pytest.raises(UserError, match="fake_labels: (data against uniform|uniform against data)"):
        compared(tmp_path)
    sizes = sorted(len(c.recipes) for c in compared(tmp_path, separate=True))
    assert sizes in ([1, 3], [2, 2])  # each recipe once


def test_protocols_without_content_differ_by_their_hash(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}] * 2})
    for path in tmp_path.glob("*"):
        (path / "protocol.json").unlink()
    rows = next(tmp_path.glob("*seed=1")) / "metrics.jsonl"
    rows.write_text('{"step": 100, "fid_shapes": 3.0, "protocol": "cafe"}\n')
    with pytest.raises(UserError, match="differ in hash: .* against cafe"):
        compared(tmp_path)
    first, second = compared(tmp_path, separate=True)  # one recipe, in two sections
    assert [first.recipes[0].label, second.recipes[0].label] == ["the recipe"] * 2 or len(first.recipes) == 1
    assert len(first.runs) == len(second.runs) == 1


def test_runs_that_were_never_evaluated_make_a_section_without_figures(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config("sn"), protocol=None, last=100)
    (comparison,) = compared(tmp_path)
    assert comparison.metric is None and comparison.step is None and comparison.tests == []


def test_the_leaders_tests_are_seen_from_the_leader(sweep):
    (comparison,) = compared(sweep)
    assert [t.a for t in comparison.leaders_tests] == [0] * 4
    assert [t.b for t in comparison.leaders_tests] == [1, 2, 3, 4]
    assert all(t.estimate.value < 0 for t in comparison.leaders_tests)


def test_the_seeds_needed_are_for_a_level_corrected_for_all_pairs(sweep):
    (comparison,) = compared(sweep, share=0.05)
    test = comparison.leaders_tests[0]
    assert comparison.seeds_needed(test) == seeds_to_settle(test.estimate.value, test.sds, alpha=0.05 / 10)
    leader = comparison.at_step(comparison.recipes[0], FID).mean
    assert comparison.smallest_difference == pytest.approx(0.05 * leader)
    assert comparison.seeds_needed(test, 1.0) == seeds_to_settle(1.0, test.sds, alpha=0.05 / 10)


@pytest.mark.parametrize("hashed_with_it", [True, False])
def test_the_protocol_says_which_way_is_better(tmp_path, fabricate, hashed_with_it):
    declared = fabricate.protocol | {"higher_is_better": {"fid_shapes": True}}  # against what the name says
    protocol = declared if hashed_with_it else fabricate.protocol
    fabricate.figures(
        tmp_path, {"sn": [{0: 50, 50: 3.0, 100: 4.0}], "bsn": [{0: 50, 50: 8.0, 100: 6.0}]}, protocol=protocol
    )
    for file in tmp_path.glob("*/protocol.json"):
        file.write_text(json.dumps(declared))
    (comparison,) = compared(tmp_path)
    assert comparison.metric.higher_is_better
    assert [r.label for r in comparison.recipes] == ["norm=bsn", "norm=sn"]
    assert comparison.at_best(comparison.recipes[0], comparison.metric).values == {0: 8.0}


def test_a_figure_without_a_direction_is_not_compared(tmp_path, fabricate):
    protocol = {**fabricate.protocol, "higher_is_better": {"is_shapes": True}}
    fabricate.run(tmp_path / "run", fabricate.config("sn", 0), protocol=protocol, last=500)
    assert [metric.key for metric in compared(tmp_path)[0].metrics] == ["is_shapes"]


@pytest.mark.parametrize("garbage", [[], "fid", None])
def test_a_declaration_that_says_nothing_leaves_it_to_the_name(tmp_path, fabricate, garbage):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}]}, protocol=fabricate.protocol | {"higher_is_better": garbage})
    assert not compared(tmp_path)[0].metric.higher_is_better
