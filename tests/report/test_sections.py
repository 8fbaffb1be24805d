"""What is compared with what, at which step, and what is refused."""

import math

import pytest
import scipy.stats

from gan_lab.errors import UserError
from gan_lab.report.runs import find_runs, read_run
from gan_lab.report.sections import make_sections
from gan_lab.report.tables import all_metrics
from gan_lab.report.verdict import of_leader, turned, verdict


def sections(folder, **how):
    return make_sections([read_run(p, p.name) for p in find_runs([folder])], **how)


def write(fabricate, folder, recipes, **how):
    """recipes: norm -> one {step: figure} for each seed."""
    for norm, seeds in recipes.items():
        for seed, figures in enumerate(seeds):
            fabricate.run(folder / f"norm={norm},seed={seed}", fabricate.config(norm, seed), figures=figures,
                          overrides=[f"norm={norm}"], last=100, **how)  # fmt: skip


def test_mean_sd_and_interval_over_seeds_at_the_common_step(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{0: 50, 100: 4.0}, {0: 50, 100: 6.0}, {0: 50, 100: 5.0, 200: 1.0}]})
    (section,) = sections(tmp_path)
    cell = section.at_step(section.recipes[0], "fid_shapes")
    assert section.step == 100 and cell.values == {0: 4.0, 1: 6.0, 2: 5.0}
    low, high = scipy.stats.t.interval(0.95, 2, loc=5, scale=1 / math.sqrt(3))
    assert (cell.mean, cell.sd) == (5, 1)
    assert (cell.estimate.low, cell.estimate.high) == (pytest.approx(low), pytest.approx(high))


def test_at_best_is_each_run_s_own_best_of_so_many_evaluations(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{0: 50, 50: 3.0, 100: 4.0}, {0: 50, 50: 8.0, 100: 6.0}]})
    (section,) = sections(tmp_path)
    best = section.at_best(section.recipes[0], "fid_shapes")
    assert best.values == {0: 3.0, 1: 6.0} and best.steps == (50, 100) and best.evaluations == (3, 3)


def test_a_growing_figure_is_best_at_its_largest(sweep):
    (section,) = sections(sweep, metric="is_shapes")
    assert section.metric == "is_shapes"
    means = [section.at_step(r, "is_shapes").mean for r in section.recipes]
    assert means == sorted(means, reverse=True)
    best = section.at_best(section.recipes[0], "is_shapes")
    assert best.mean >= means[0] and "highest" in verdict(section)[0]


@pytest.mark.parametrize("higher", [True, False])
def test_the_protocol_says_which_way_a_figure_from_outside_is_better(tmp_path, fabricate, higher):
    protocol = {**fabricate.protocol, "higher_is_better": {"fid_shapes": higher}}  # against what its name suggests
    recipes = {"sn": [{0: 1.0, 50: 9.0, 100: 5.0}], "bsn": [{0: 1.0, 50: 3.0, 100: 7.0}]}
    write(fabricate, tmp_path, recipes, protocol=protocol)
    (section,) = sections(tmp_path)
    assert [r.label for r in section.recipes] == (["norm=bsn", "norm=sn"] if higher else ["norm=sn", "norm=bsn"])
    sn = next(r for r in section.recipes if r.label == "norm=sn")
    assert section.at_best(sn, "fid_shapes").steps == ((50,) if higher else (0,))
    assert ("highest" if higher else "lowest") in verdict(section)[0]
    assert f"{'higher' if higher else 'lower'} is better" in all_metrics(section, False)


def test_a_figure_without_a_direction_is_not_compared(tmp_path, fabricate):
    protocol = {**fabricate.protocol, "higher_is_better": {"is_shapes": True}}
    fabricate.run(tmp_path / "run", fabricate.config("sn", 0), protocol=protocol, last=500)
    (section,) = sections(tmp_path)
    assert section.metrics == ["is_shapes"]


def test_the_metric_is_the_one_that_chose_the_best_checkpoints_and_comes_first(sweep):
    (section,) = sections(sweep)
    assert section.metric == section.metrics[0] == "fid_shapes"
    assert not any(key.endswith("_std") for key in section.metrics)
    assert [r.label for r in section.recipes] == ["norm=bssn", "norm=ssn", "norm=bsn", "norm=sn", "norm=none"]


def test_a_failed_run_enters_no_mean_but_an_unfinished_one_that_got_there_does(tmp_path, fabricate):
    for seed, status in enumerate(["finished", "diverged", "collapsed", "interrupted", None]):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={100: float(seed)}, status=status)
    (section,) = sections(tmp_path)
    assert section.at_step(section.recipes[0], "fid_shapes").values == {0: 0.0, 3: 3.0, 4: 4.0}
    assert section.at_best(section.recipes[0], "fid_shapes").values == {0: 0.0, 3: 3.0, 4: 4.0}
    assert "1 collapsed and 1 diverged of 5" in " ".join(verdict(section))


def test_an_unfinished_run_holds_the_step_back_and_the_warning_says_how_to_go_on(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{0: 50, 100: 9, 200: 5}] * 3})
    fabricate.run(tmp_path / "late", fabricate.config("bsn", 0), figures={0: 50, 100: 8}, status=None)
    (section,) = sections(tmp_path)
    assert section.step == 100 and "step=200" in section.warnings[0]
    (later,) = sections(tmp_path, step=200)
    assert later.step == 200 and later.at_step(later.recipes[1], "fid_shapes").n == 0


def test_without_a_common_step_the_most_common_one_is_taken_with_a_warning(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{0: 9, 100: 5}, {0: 9, 100: 5}], "bsn": [{0: 9, 70: 6}]})
    (section,) = sections(tmp_path)
    assert section.step == 100 and "2 of 3" in section.warnings[0]


def test_an_unknown_metric_or_step_is_refused_with_what_there_is(sweep):
    with pytest.raises(UserError, match="metric=fid_shape.*did you mean 'fid_shapes'"):
        sections(sweep, metric="fid_shape")
    with pytest.raises(UserError, match="step=123.*0, 250"):
        sections(sweep, step=123)


@pytest.fixture
def two_protocols(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{100: 4.0}] * 2})
    write(fabricate, tmp_path, {"bsn": [{100: 3.0}]}, protocol={**fabricate.protocol, "num_fake": 50_000})
    fabricate.run(tmp_path / "none", fabricate.config("none"), protocol=None, last=100)
    return tmp_path


def test_protocols_are_not_mixed_and_the_difference_is_named(two_protocols):
    with pytest.raises(UserError, match="num_fake: 50000 against 3000.*protocols=separate") as caught:
        sections(two_protocols)
    assert "num_real" not in str(caught.value)


def test_separate_protocols_are_separate_sections(two_protocols):
    found = sections(two_protocols, separate=True)
    assert [[r.label for r in s.recipes] for s in found] == [["norm=bsn"], ["norm=sn"], ["norm=none"]]
    assert [s.protocol.get("num_fake") for s in found] == [50_000, 3000, None]
    assert found[2].metric is None and "no figures" in verdict(found[2])[0]


def test_protocols_without_content_differ_by_their_hash(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{100: 4.0}] * 2})
    for path in tmp_path.glob("*"):
        (path / "protocol.json").unlink()
    rows = next(tmp_path.glob("*seed=1")) / "metrics.jsonl"
    rows.write_text('{"step": 100, "fid_shapes": 3.0, "protocol": "cafe"}\n')
    with pytest.raises(UserError, match="differ in hash: .* against cafe"):
        sections(tmp_path)
    first, second = sections(tmp_path, separate=True)  # one recipe, in two sections
    assert [first.recipes[0].label, second.recipes[0].label] == ["the recipe"] * 2 or len(first.recipes) == 1
    assert len(first.runs) == len(second.runs) == 1


def test_runs_that_were_never_evaluated_make_a_section_without_figures(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config("sn"), protocol=None, last=100)
    (section,) = sections(tmp_path)
    assert section.metric is None and section.step is None and section.comparisons == []


def test_the_verdict_claims_what_the_tests_show_and_nothing_else(tmp_path, fabricate):
    write(fabricate, tmp_path, {
        "bssn": [{100: 3.0 + 0.01 * s * s} for s in range(6)], "sn": [{100: 6.0 + 0.02 * s} for s in range(6)],
        "ssn": [{100: 3.15 + 0.3 * (-1) ** s} for s in range(6)],
    })  # fmt: skip
    (section,) = sections(tmp_path)
    lead, sure, unsure, *rest = verdict(section)
    assert lead.startswith("norm=bssn has the lowest mean fid_shapes at step 100: 3.092")
    assert sure.startswith("Distinguishable from norm=sn (−2.958 [") and "norm=ssn" not in sure
    assert unsure.startswith("Not distinguishable from norm=ssn") and "norm=sn " not in unsure
    assert "Holm over 3 comparisons" in rest[-1] and "Fewer than 5" not in " ".join(rest)


def test_the_verdict_says_when_seeds_are_too_few(tmp_path, fabricate):
    write(fabricate, tmp_path, {"sn": [{100: 5.0}, {100: 5.1}], "bsn": [{100: 1.0}, {100: 1.1}]})
    (section,) = sections(tmp_path)
    text = " ".join(verdict(section))
    assert "Too few seeds to test: a test needs at least 3" in text and "istinguishable" not in text


def test_a_comparison_turned_round_is_its_mirror_image(sweep):
    (section,) = sections(sweep)
    c = section.comparisons[0]
    t = turned(c)
    assert (t.a, t.b, t.estimate.value) == (c.b, c.a, -c.estimate.value)
    assert (t.estimate.low, t.estimate.high) == (-c.estimate.high, -c.estimate.low) and t.adjusted == c.adjusted
    assert [x.a for x in of_leader(section)] == [0] * 4
