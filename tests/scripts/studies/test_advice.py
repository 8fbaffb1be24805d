"""The study of the advice: which runs it makes, what it counts, and that the page is what its small file says."""

import json

from gan_lab.config.compose import compose
from gan_lab.diagnostics.advice import ADVICE
from scripts.markdown import around_marks
from scripts.studies import advice

RECORDED = {r["name"]: r for r in json.loads((advice.DOCS / "stability.json").read_text())["runs"]}


def test_it_starts_from_runs_that_failed_and_raised_every_kind_of_event():
    cases = advice.failing()
    assert len({case.name for case in cases}) == len(cases) == 15
    assert all(RECORDED[case.name]["images"] == "failed" for case in cases)
    raised = {e["kind"] for case in cases for e in RECORDED[case.name]["events"]}
    assert raised == set(ADVICE)


def test_a_remedy_replaces_the_words_of_the_fault():
    (case,) = [c for c in advice.failing() if c.name == "ns_r1-penalty-x-1e6-13"]
    assert compose(*case.overrides()).penalty.r1.weight == 1e6
    cfg = compose(*advice.replace(case, remedy="penalty").overrides())
    assert set(cfg.penalty) == {"r1r2"} and cfg.penalty.r1r2.weight == 1.0
    cfg = compose(*advice.replace(case, remedy="rates").overrides())
    assert set(cfg.penalty) == {"r1"} and cfg.optimizer.d.lr == cfg.optimizer.g.lr == 1e-3
    (case,) = [c for c in advice.failing() if c.fault == "NaN, half-way"]
    assert "nan" in compose(*case.overrides()).penalty
    assert "nan" not in compose(*advice.replace(case, remedy="term").overrides()).penalty


def test_the_second_advice_is_tried_where_the_first_fails_and_a_remedy_that_changes_nothing_is_not_run():
    first = advice.failing()[0]
    runs = []

    def run(case):
        runs.append(case.remedy)
        return "healthy" if case.remedy == "penalty" else "failed"

    assert advice.outcomes(first, ["no_progress"], run) == {"penalty": "healthy"} and runs == ["penalty"]
    assert advice.outcomes(first, ["not_moving"], run) == {"rates": "failed", "penalty": "healthy"}
    same = advice.Advised("check", "relativistic", "lr x 100", 0)  # its penalty is R1 and R2 already
    runs.clear()
    assert advice.outcomes(same, ["no_progress"], lambda case: runs.append(case.remedy)) == {"penalty": "failed"}
    assert runs == ["rates"]  # asked for, and not there yet


def test_shares_count_the_runs_that_were_tried_to_the_end():
    def row(part, **found):
        return {"set": part, "events": ["d_beaten"], "with": found}

    rows = [row("choose", rates="healthy"), row("choose", rates="failed", penalty="healthy"),
            row("choose", rates="between", penalty="failed"), row("choose", rates="failed"), row("choose"),
            row("choose", penalty="healthy"),
            row("check", rates="healthy")]  # fmt: skip
    assert advice.shares(rows, "d_beaten", "choose") == (3, 1, 2)
    assert advice.shares(rows, "d_beaten", "check") == (1, 1, 1)
    assert advice.shares(rows, "d_flat", "choose") == (0, 0, 0)
    line = next(line for line in advice.table(rows).splitlines() if line.startswith("| `d_beaten`"))
    assert line.endswith("| 1 of 3, 2 of 3 | 1 of 1, 1 of 1 |")


def test_the_page_is_what_the_file_says():
    rows = json.loads(advice.RESULTS.read_text())["runs"]
    before, after = around_marks(advice.PAGE, advice.BEGIN, advice.END)
    assert f"{before}\n{advice.table(rows)}\n{after}" == advice.PAGE.read_text() and len(rows) == 15
    assert all(set(row["with"].values()) <= {"healthy", "between", "failed"} for row in rows)
