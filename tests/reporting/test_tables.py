"""What the tables hold, cell by cell."""

import math

import pytest

from gan_lab.reporting import tables
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.runs import find_runs, read_run
from gan_lab.reporting.table import Cell, Column, Table, number, text


def compared(folder, **how):
    (found,) = compare_runs([read_run(p, p.name) for p in find_runs([folder])], **how)
    return found


def column(table, title, group=None):
    (i,) = [i for i, c in enumerate(table.columns) if c.title == title and group in (None, c.group)]
    return [row[i] for row in table.rows]


def test_a_table_has_a_row_for_each_item_and_says_how_many_there_are():
    columns = [Column("a", text), Column("b", lambda x: number(x, 1), group="over", where="html")]
    table = Table(columns, [1, 2, 3], most=2)
    assert [[c.text for c in row] for row in table.rows] == [["1", "1.0"], ["2", "2.0"]] and table.total == 3
    assert table.groups == [("", 1), ("over", 1)] and Table(columns[:1], []).groups == []
    plain = table.for_format("tex")
    assert [c.title for c in plain.columns] == ["a"] and [[c.text for c in row] for row in plain.rows] == [["1"], ["2"]]
    assert [c.title for c in table.for_format("html").columns] == ["a", "b"]
    assert number(None) == Cell("–", None)


def test_the_results_give_the_mean_first_and_best_first(sweep):
    table = tables.results(c := compared(sweep), c.metric)
    assert [col.title for col in table.columns][:3] == ["Recipe", "Mean ± SD", "95% interval"]
    means = column(table, "Mean ± SD", "fid_shapes at step 3,000")
    assert means[0].text == "3.493 ± 0.057" and [m.sort for m in means] == sorted(m.sort for m in means)
    assert column(table, "95% interval", "at best")[0].text == "[3.355, 3.637]"
    assert {c.text for c in column(table, "Best of")} == {"12"}
    assert [c.text for c in column(table, "Seeds")] == ["3"] * 4 + ["2 of 3"]
    outcome = column(table, "Runs")
    assert (outcome[0].text, outcome[0].mark) == ("3 finished", "good")
    assert (outcome[-1].text, outcome[-1].mark) == ("2 finished, 1 diverged", "bad")


def test_strips_put_means_seeds_and_intervals_on_one_axis(sweep):
    c = compared(sweep)
    found = [c.at_step(recipe, c.metric) for recipe in c.recipes]
    strips = tables.strips(found)
    assert [s["mean"] for s in strips] == sorted(s["mean"] for s in strips)
    for strip, over in zip(strips, found, strict=True):
        assert len(strip["seeds"]) == over.n and strip["ends"][0] <= strip["mean"] <= strip["ends"][1]
        assert strip["mean"] == pytest.approx(sum(strip["seeds"]) / over.n, abs=0.1)  # the axis is linear


def test_no_interval_of_a_positive_figure_is_negative(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 1.0}, {100: 9.0}], "bsn": [{100: 2.0}, {100: 11.0}]})
    table = tables.results(c := compared(tmp_path), c.metric)
    assert all(
        "−" not in cell.text and cell.text.startswith("[0.") for cell in column(table, "95% interval", "at best")
    )


def test_seeds_stand_side_by_side_and_failed_ones_by_their_end(sweep):
    c = compared(sweep)
    table = tables.seeds(c, c.metric)
    assert [col.title for col in table.columns] == ["Recipe", "seed 1", "seed 2", "seed 3"]
    for recipe, row in zip(c.recipes, table.rows, strict=True):
        values = c.at_step(recipe, c.metric).values
        assert [cell.sort for cell in row[1:] if not cell.mark] == list(values.values())
    assert (table.rows[-1][3].text, table.rows[-1][3].mark) == ("diverged", "bad")


def test_seeds_are_in_the_order_of_numbers(tmp_path, fabricate):
    for seed in (10, 9, 100):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={100: float(seed)})
    c = compared(tmp_path)
    assert [col.title for col in tables.seeds(c, c.metric).columns[1:]] == ["seed 9", "seed 10", "seed 100"]


def test_columns_are_sorted_best_first_by_whether_higher_is_better(sweep):
    directions = {c.title: (c.sort, c.note) for c in tables.all_metrics(compared(sweep), best=False).columns[1:]}
    assert directions["fid_shapes"] == ("ascending", "lower is better")
    assert directions["is_shapes"] == directions["recall_shapes"] == ("descending", "higher is better")
    assert directions["modes_kl_shapes"][0] == "ascending"


def test_every_metric_at_best_is_at_least_as_good_as_at_the_step(sweep):
    c = compared(sweep)
    at, best = tables.all_metrics(c, best=False), tables.all_metrics(c, best=True)
    for i, metric in enumerate(c.metrics, 1):
        for here, there in zip(at.rows, best.rows, strict=True):
            assert metric.leader({"at": here[i].sort, "best": there[i].sort}) == "best" or here[i].sort == there[i].sort
            assert there[i].note.endswith("of 12")


def test_the_tests_read_as_they_allow_and_say_what_would_settle_them(sweep):
    c = compared(sweep, share=0.05)
    table = tables.tests(c, c.metric)
    readings = [cell.text for cell in column(table, "Reading")]
    assert set(readings) == {"differs", "no difference can be claimed", "no test"} and len(readings) == 10
    for test, reading, needed in zip(c.tests, readings, column(table, "Seeds to settle"), strict=True):
        assert (reading == "differs") is (test.adjusted is not None and test.adjusted < 0.05)
        assert needed.text == (str(c.seeds_needed(test)) if test.tested else "–")
    assert len(column(table, f"Seeds for {c.smallest_difference:.3f}")) == 10


def test_events_and_runs(sweep):
    c = compared(sweep)
    events = tables.events(c)
    assert events.total == 1 and events.rows[0][2].text == "2,100" and events.rows[0][6].text == "0.41"
    runs = tables.runs(c)
    assert runs.total == 15 and {cell.text for cell in column(runs, "Status")} == {"finished", "diverged"}
    remarkable = tables.runs(c, remarkable=True)
    assert sorted(row[0].text for row in remarkable.rows) == ["norm=none,seed=1", "norm=none,seed=3"]


def test_the_long_form_has_a_row_for_each_run_and_metric(sweep):
    c = compared(sweep)
    rows = [dict(zip(tables.LONG_FORM, row, strict=True)) for row in tables.long_form(c)]
    assert len(rows) == 15 * 9 and len({(r["run"], r["metric"]) for r in rows}) == 15 * 9
    (row,) = [r for r in rows if r["run"] == "norm=sn,seed=2" and r["metric"] == "recall_shapes"]
    run = next(run for run in c.runs if run.name == "norm=sn,seed=2")
    at = run.figures.at("recall_shapes")
    assert (row["recipe"], row["seed"], row["status"], row["in_means"]) == ("norm=sn", 2, "finished", True)
    assert row["higher_is_better"] and (row["step"], row["value"]) == (3000, at[3000])
    assert (row["best_value"], row["best_of"]) == (max(v for s, v in at.items() if s), 12) and at[
        row["best_step"]
    ] == row["best_value"]
    lost = [r for r in rows if r["run"] == "norm=none,seed=3"]
    assert {(r["status"], r["in_means"], r["value"], r["last_step"]) for r in lost} == {("diverged", False, None, 1800)}


def test_of_two_seeds_modes_have_no_interval_and_of_three_they_have(tmp_path, fabricate):
    for seed in (0, 1, 2):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), floor=4.0, last=3000, every=1000)
    for n, lacking in ((3, False), (2, True)):
        c = compared(tmp_path)
        modes = next(m for m in c.metrics if m.key == "is_shapes")
        estimate = c.at_step(c.recipes[0], modes).estimate
        assert c.at_step(c.recipes[0], modes).n == n and math.isnan(estimate.low) is lacking
        row = tables.results(c, modes)
        assert (column(row, "95% interval", "at best")[0].text == "–") is lacking
        assert (column(row, "Spread")[0].strip["ends"] == []) is lacking
        (tmp_path / "2" / "metrics.jsonl").unlink(missing_ok=True)


def test_seeds_without_spread_have_a_dash_for_an_interval(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}] * 3, "bsn": [{100: 5.0}, {100: 6.0}, {100: 7.0}]})
    table = tables.results(c := compared(tmp_path), c.metric)
    texts = [cell.text for cell in column(table, "95% interval", "at best")]
    assert texts[0] == "–" and texts[1].startswith("[3.966, 9.077]")
    assert [len(cell.strip["ends"]) for cell in column(table, "Spread")] == [0, 2]


def test_a_seed_that_ran_twice_is_one_of_the_seeds(tmp_path, fabricate):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fabricate.run(tmp_path / name, fabricate.config(seed=seed), figures={100: 4.0 + seed})
    table = tables.results(c := compared(tmp_path), c.metric)
    assert [cell.text for cell in column(table, "Seeds")] == ["2"]
    assert [cell.text for cell in column(table, "Runs")] == ["3 finished"]


def test_a_job_that_never_began_has_its_seed_s_column(tmp_path, fabricate):
    for seed in (1, 2):
        fabricate.run(tmp_path / str(seed), fabricate.config("sn", seed), figures={100: 4.0 + seed},
                      overrides=["norm=sn", f"seed={seed}"])  # fmt: skip
    fabricate.run(tmp_path / "o", fabricate.config("bsn", 3), figures={100: 4.0}, overrides=["norm=bsn", "seed=3"])
    (tmp_path / "3" / ".hydra").mkdir(parents=True)
    (tmp_path / "3" / ".hydra" / "overrides.yaml").write_text("- norm=sn\n- seed=3\n")
    table = tables.seeds(c := compared(tmp_path), c.metric)
    assert [col.title for col in table.columns] == ["Recipe", "seed 1", "seed 2", "seed 3"]
    assert [row[3].text for row in table.rows if row[0].text == "norm=sn"] == ["not started"]
