"""The verdict never says more than its tests do."""

import json
import re

import pytest

from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.page import sentences
from gan_lab.reporting.runs import find_runs, read_run


def verdict(folder, **how):
    found = compare_runs([read_run(p, p.name) for p in find_runs([folder])], **how)
    return sentences(found[-1])


def seeds(base, spread, n=6):
    """n values with this mean and spread that belong to no common pattern of the seeds."""
    return [{100: base + spread * (((s * 7) % n) / n - 0.4)} for s in range(n)]


def test_the_verdict_claims_what_the_tests_show_and_nothing_else(tmp_path, fabricate):
    fabricate.figures(tmp_path, {
        "bssn": [{100: 3.0 + 0.01 * s * s} for s in range(6)], "sn": [{100: 6.0 + 0.02 * s} for s in range(6)],
        "ssn": [{100: 3.15 + 0.3 * (-1) ** s} for s in range(6)],
    })  # fmt: skip
    unsure, lead, sure, *rest = verdict(tmp_path)
    assert unsure.startswith("No difference can be claimed between norm=bssn and norm=ssn (−0.058 [")
    assert unsure.endswith("in fid_shapes at step 100.") and "norm=sn " not in unsure
    assert lead.startswith("norm=bssn has the lowest mean fid_shapes at step 100: 3.092, 95% interval [")
    assert sure.startswith("Distinguishable from norm=sn (−2.958 [") and "norm=ssn" not in sure
    assert "Holm over 3 comparisons" in rest[-1] and "Fewer than 5" not in " ".join(rest)


def test_without_a_claim_no_sentence_before_it_names_a_winner(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 2.0), "bsn": seeds(5.1, -2.0), "ssn": seeds(5.2, 1.5)})
    first, *rest = verdict(tmp_path)
    assert re.match(r"No difference can be claimed between norm=\w+ and norm=\w+ \(.*\) or norm=\w+ \(", first)
    assert "istinguishable" not in " ".join([first, *rest])


def test_a_leader_that_is_told_from_all_others_comes_first(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 0.1), "bsn": seeds(9.0, -0.1)})
    lead, sure, *rest = verdict(tmp_path)
    assert lead.startswith("norm=sn has the lowest mean fid_shapes at step 100") and "No difference" not in lead
    assert sure.startswith("Distinguishable from norm=bsn (−") and not any(
        "No difference" in s or "settle" in s for s in rest
    )


def test_the_verdict_says_when_seeds_are_too_few(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 5.0}, {100: 5.1}], "bsn": [{100: 1.0}, {100: 1.1}]})
    first, *rest = verdict(tmp_path)
    assert first.startswith(
        "No difference can be claimed between norm=bsn and norm=sn in fid_shapes at step 100: a test"
    )
    assert "a test needs at least 3 seeds per recipe" in first and "istinguishable" not in " ".join(rest)
    assert not any("To settle" in s or "takes" in s for s in rest)  # nor a number from the spread of two


def test_recipes_without_a_test_come_after_those_that_all_tests_tell_from_the_leader(tmp_path, fabricate):
    runs = {"sn": seeds(5.0, 0.1), "bsn": seeds(9.0, -0.1), "ssn": [{100: 6.0}]}
    fabricate.figures(tmp_path / "told", runs)
    lead, sure, untested, *_ = verdict(tmp_path / "told")
    assert lead.startswith("norm=sn has the lowest mean") and sure.startswith("Distinguishable from norm=bsn (−")
    assert untested.startswith("No difference can be claimed between norm=sn and norm=ssn in fid_shapes at step 100: a")
    fabricate.figures(tmp_path / "unsure", {**runs, "none": seeds(5.1, -2.0)})
    unsure, untested, lead, *_ = verdict(tmp_path / "unsure")
    assert unsure.startswith("No difference can be claimed between norm=sn and norm=none (")
    assert "norm=sn and norm=ssn in" in untested and lead.startswith("norm=sn has the lowest mean")


def test_recipes_that_differ_by_the_same_in_every_seed_are_not_tested(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 5.0 + s} for s in range(3)], "bsn": [{100: 6.0 + s} for s in range(3)]})
    first, *rest = verdict(tmp_path)
    assert "no spread over seeds" in first and not any("settle" in s for s in rest)


@pytest.mark.parametrize("share", [None, 0.1])
def test_what_is_open_comes_with_the_seeds_that_would_settle_it(tmp_path, fabricate, share):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 2.0), "bsn": seeds(5.3, -2.0)})
    text = " ".join(verdict(tmp_path, share=share))
    assert re.search(r"To settle it .* at 80% power and level 5% .*: (\d+|over 1,000) against norm=bsn", text)
    (found,) = compare_runs([read_run(p, p.name) for p in find_runs([tmp_path])], share=share)
    (test,) = found.leaders_tests
    assert f"measured: {found.seeds_needed(test)} against norm=bsn" in text
    wanted = found.smallest_difference
    told = f"takes {found.seeds_needed(test, wanted)} against norm=bsn (" if share else ""
    assert told in text and ("of the leader's mean" in text) is bool(share)


def test_seeds_to_settle_come_with_the_time_of_so_many_runs_of_both(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 1.0), "bsn": seeds(6.0, -2.0)})
    for name, wall in (("sn", 600.0), ("bsn", 1200.0)):
        for path in tmp_path.glob(f"norm={name},*/summary.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": wall}))
    (found,) = compare_runs([read_run(p, p.name) for p in find_runs([tmp_path])])
    n = found.seeds_needed(found.leaders_tests[0])
    hours, minutes = divmod(n * 30, 60)
    assert hours > 0 and f": {n} against norm=bsn ({hours} h {minutes} min). Times are of" in " ".join(
        verdict(tmp_path)
    )
    for path in tmp_path.glob("norm=bsn,*/summary.json"):  # they went on after the step of the comparison
        path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 400}))
    hours, minutes = divmod(n * 15, 60)
    assert f": {n} against norm=bsn ({hours} h {minutes} min). Times are of" in " ".join(verdict(tmp_path))
    for path in tmp_path.glob("norm=sn,*/*.json*"):
        path.write_text(re.sub(r'"wall_seconds": [0-9.]+', '"wall_seconds": null', path.read_text()))
    text = " ".join(verdict(tmp_path))
    assert f": {n} against norm=bsn. " in text and "Times are of" not in text


def test_few_seeds_are_a_lead_and_no_ranking(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 0.1, 4), "bsn": seeds(9.0, -0.1, 4)})
    assert any(s.startswith("Fewer than 5 seeds") and "lead, not a ranking" in s for s in verdict(tmp_path))


def test_lost_runs_are_told(tmp_path, fabricate):
    for seed, status in enumerate(["finished", "diverged", "collapsed", "interrupted", None]):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={100: float(seed)}, status=status)
    assert any(s.startswith("Runs were lost: the recipe (1 collapsed and 1 diverged of 5)") for s in verdict(tmp_path))


def test_the_best_of_many_says_of_how_many_and_leaves_step_0_out(sweep):
    (best,) = [s for s in verdict(sweep) if s.startswith("With every run at its best")]
    assert "best of 12 evaluations after step 0 and up to step 3,000, it leads, too: 3.493 [" in best
    assert best.endswith("; the lowest of many noisy evaluations is optimistic and is not tested.")


def test_of_one_evaluation_each_there_is_no_best(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{0: 50.0, 100: 5.0}], "bsn": [{0: 50.0, 100: 6.0}]})
    assert not any("at its best" in s for s in verdict(tmp_path))
    fabricate.figures(tmp_path, {"ssn": [{0: 50.0, 50: 8.0, 100: 7.0}]})
    assert any("best of 1 to 2 evaluations" in s for s in verdict(tmp_path))


def test_a_growing_metric_is_led_by_the_highest(sweep):
    text = " ".join(verdict(sweep, metric="is_shapes"))
    assert "norm=bssn has the highest mean is_shapes at step 3,000" in text


def test_without_figures_there_is_nothing_to_say(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config("sn"), protocol=None, last=100)
    assert verdict(tmp_path) == ["No run has been evaluated yet: there are no figures to compare."]


def test_where_every_evaluated_run_failed_there_is_nothing_to_compare(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}]}, status="diverged")
    assert verdict(tmp_path)[0] == "No run that counts has fid_shapes: there is nothing to compare."


def test_one_recipe_has_no_other(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 0.1)})
    first, *_ = verdict(tmp_path)
    assert "There is no other recipe" in first and "lowest" not in first


def test_recipes_without_the_figure_are_named(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 0.1), "ssn": [{50: 3.0}]})
    first, *_ = verdict(tmp_path, step=100)
    assert first.endswith("There is nothing to compare it with.") and "no other recipe" not in first
    named = "No run that counts of norm=ssn has fid_shapes at step 100."
    assert named in verdict(tmp_path, step=100)
    fabricate.figures(tmp_path, {"bsn": seeds(9.0, -0.1)})
    assert named in verdict(tmp_path, step=100)
    (tmp_path / "norm=ssn,seed=0" / "metrics.jsonl").write_text("")
    assert any("norm=ssn has fid_shapes" in s for s in verdict(tmp_path))


def test_a_test_on_shared_seeds_says_so(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": seeds(5.0, 0.1), "bsn": seeds(9.0, -0.1)[:5]})
    assert any(s.startswith("Distinguishable") and ", on the 5 seeds that both have)" in s for s in verdict(tmp_path))
