"""Figures measured after training: which run has which, their means, and the tests between cells."""

import json

import numpy as np
import pytest
import scipy.stats

from scripts.studies.measured import Measured, by_cell, pairwise_tests, table
from scripts.studies.study import Study

STUDY = Study(name="s", question="", setting=(), cells={"x": (), "y": (), "z": ()}, seeds=3, budget="")


def run(end, best=None, step=30):
    return Measured(step, {"fid": end}, {} if best is None else {"fid": best})


@pytest.mark.parametrize("order", [(10, 30), (30, 10)])
def test_the_end_and_the_best_are_told_apart_by_their_steps(tmp_path, order):
    (tmp_path / "summary.json").write_text(json.dumps({"status": "finished", "step": 30, "best": {"step": 10}}))
    rows = [{"step": 30, "fid": 9.0}, *({"step": s, "fid": float(s), "checkpoint": "c"} for s in order)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Measured.read(tmp_path) == Measured(30, {"fid": 30.0}, {"fid": 10.0})
    (tmp_path / "summary.json").write_text(json.dumps({"status": "finished", "step": 30, "best": {"step": 20}}))
    assert Measured.read(tmp_path) == Measured(30, {"fid": 30.0}, {})
    (tmp_path / "summary.json").write_text(json.dumps({"status": "finished", "step": 30, "best": None}))
    assert Measured.read(tmp_path) == Measured(30, {"fid": 30.0}, {})
    (tmp_path / "summary.json").write_text("{}")
    assert Measured.read(tmp_path) == Measured(None, {}, {})


def test_means_at_the_end_and_at_best_are_of_the_same_runs():
    runs = {"x-0": run(4.0, 2.0), "x-1": run(6.0, 3.0), "y-0": run(1.0, 1.0), "y-1": run(2.0), "z-0": run(5.0)}
    cells = by_cell(STUDY, runs | {"x-3": run(99.0, 99.0), "w-0": run(99.0, 99.0)})  # not of the study
    assert list(table(cells)) == [
        ("x", "fid", "5.000 ± 1.414 (2)", "2.500 ± 0.707 (2)"),
        ("y", "fid", "1.500 ± 0.707 (2)", "–"),
        ("z", "fid", "5.000 (1)", "–"),
    ]


def test_cells_are_tested_by_their_figures_at_the_end():
    values = {"x": [1.0, 2.0, 4.0], "y": [3.0, 3.5, 7.0], "z": [2.0, 9.0]}
    runs = {f"{cell}-{seed}": run(v, best=0.5) for cell, of in values.items() for seed, v in enumerate(of)}
    (comparison,) = pairwise_tests(by_cell(STUDY, runs))
    assert (comparison.metric.key, comparison.step) == ("fid", 30)
    names = [(comparison.label(t.a), comparison.label(t.b)) for t in comparison.tests]
    assert names == [("x", "y"), ("x", "z"), ("y", "z")]
    first = comparison.tests[0]
    assert float(first.estimate.value) == pytest.approx(np.mean(values["x"]) - np.mean(values["y"]))
    assert float(first.estimate.p) == pytest.approx(scipy.stats.ttest_rel(values["x"], values["y"]).pvalue)
    assert pairwise_tests(by_cell(STUDY, {name: one for name, one in runs.items() if name[0] == "x"})) == []
    assert pairwise_tests({}) == [] == list(table({}))
