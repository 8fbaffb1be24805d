"""The data of the curves: common grids, bins, gaps and bounds."""

import json

import numpy as np
import pytest

from gan_lab.diagnostics.catalogue import find
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.curves import BYTES, FEWEST_POINTS, MOST_POINTS, make_charts
from gan_lab.reporting.runs import Scalars, find_runs, read_run


def charts_of(folder, budget=BYTES):
    (comparison,) = compare_runs([read_run(p, p.name) for p in find_runs([folder])])
    charts, grids, _ = make_charts(comparison, budget)
    return comparison, {c.kind.title: c for c in charts}, grids


def test_every_figure_and_every_diagnostic_has_a_chart(sweep):
    comparison, charts, _ = charts_of(sweep)
    assert {m.key for m in comparison.metrics} <= set(charts)
    assert {"Losses", "Logits of D", "Gradient norms", "Spectral norm, running", "Variance of effective weights",
            "Product of spectral norms", "Gradient of D's loss", "Speed",
            "Gradient of D by effective weights"} <= set(charts)  # fmt: skip
    assert "Skipped updates" not in charts  # zeros only
    assert [v["name"] for v in charts["Spectral norm, running"].variants] == ["conv1", "conv2", "conv3", "linear"]


def test_a_short_curve_is_shown_as_it_was_logged(sweep):
    comparison, charts, grids = charts_of(sweep)
    variant = charts["fid_shapes"].variants[0]
    grid = grids[variant["grid"]]
    for recipe, values in zip(comparison.recipes, variant["values"], strict=True):
        for run, line in zip(recipe.runs, values, strict=True):
            assert grid[: len(line)] == list(run.figures.steps)
            assert line == pytest.approx(list(run.figures.at("fid_shapes").values()), rel=1e-3)


def test_a_run_that_ended_early_has_a_shorter_line(sweep):
    comparison, charts, _ = charts_of(sweep)
    lengths = [len(line) for line in charts["fid_shapes"].variants[0]["values"][-1]]  # norm=none
    assert lengths == [13, 13, 8]


def test_a_long_curve_is_averaged_in_bins_that_keep_its_mean(tmp_path, fabricate):
    for seed in (1, 2):
        run = fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={0: 1.0, 2000: 1.0}, last=100)
        rows = "".join(f'{{"step": {s}, "loss/d": {s / 1000 + seed}}}\n' for s in range(1, 2001))
        (run / "train.jsonl").write_text(rows)
    _, charts, grids = charts_of(tmp_path)
    variant = charts["Losses"].variants[0]
    grid, lines = grids[variant["grid"]], variant["values"][0]
    assert len(grid) == MOST_POINTS and grid[0] < 10 and grid[-1] > 1990 and grid == sorted(set(grid))
    for seed, line in zip((1, 2), lines, strict=True):
        assert np.mean(line) == pytest.approx(1.0005 + seed, rel=1e-3)
        assert np.allclose(line, np.array(grid) / 1000 + seed, atol=2e-3)


def test_what_a_row_lacks_is_a_gap_and_not_a_zero(tmp_path, fabricate):
    run = fabricate.run(tmp_path / "a", fabricate.config(), figures={0: 1.0, 10: 1.0}, last=100)
    (run / "train.jsonl").write_text(
        '{"step": 1, "loss/d": 1.0}\n{"step": 2, "loss/d": null, "loss/g": 5.0}\n{"step": 3, "loss/d": 2.0}\n'
    )
    other = fabricate.run(tmp_path / "b", fabricate.config(seed=1), figures={0: 1.0, 10: 1.0}, last=100)
    (other / "train.jsonl").write_text('{"step": 2, "loss/d": 7.0}\n')
    _, charts, grids = charts_of(tmp_path)
    d = charts["Losses"].variants[0]
    assert grids[d["grid"]] == [1, 2, 3] and d["values"] == [[[1.0, None, 2.0], [None, 7.0]]]


def test_the_gap_of_the_logits_is_real_minus_fake(tmp_path, fabricate):
    run = fabricate.run(tmp_path / "a", fabricate.config(), figures={0: 1.0, 10: 1.0}, last=100)
    (run / "train.jsonl").write_text('{"step": 1, "logits/real": 1.5, "logits/fake": -0.5}\n')
    _, charts, _ = charts_of(tmp_path)
    variant = charts["Logits of D"].variants[0]
    assert variant["name"] == "logits/gap" and variant["values"] == [[[2.0]]]


def test_bounds_stand_beside_what_they_bound(sweep):
    comparison, charts, _ = charts_of(sweep)
    variance = charts["Variance of effective weights"].variants[1]
    assert variance["name"] == "conv2"
    assert {b["label"]: b["groups"][0][-1] for b in variance["bounds"]} == {
        "SN, 1/max(m, n)": 0.001, "BSN, 2/(fan-in + fan-out)": 0.0015}  # fmt: skip
    assert all(len(b["groups"]) == 1 for b in variance["bounds"])  # the same for all: one line
    gradient = {v["name"]: v["bounds"] for v in charts["Gradient of D's loss"].variants}
    assert [b["label"] for b in gradient["grad/effective/joint"]] == ["bound for the effective weights"]
    assert len(gradient["grad/effective/joint"][0]["groups"]) == len(comparison.recipes)
    assert gradient.keys() == {"grad/effective/joint", "grad/raw/joint"} and gradient["grad/raw/joint"] == []
    by_layer = charts["Gradient of D by effective weights"].variants
    assert [v["name"] for v in by_layer] == ["conv1", "conv2", "conv3", "linear"]
    assert all(v["bounds"] == [] for v in by_layer)


def test_what_a_chart_says_are_the_formulas_of_the_catalogue(sweep):
    _, charts, _ = charts_of(sweep)
    assert charts["Product of spectral norms"].kind.text == f"{find('sigma_product').formula.replace('`', '')}."
    logits = charts["Logits of D"].kind.text
    assert all(f"{key}: {find(key).formula.replace('`', '')}" in logits for key in ("logits/real", "logits/fake"))
    assert charts["Product of spectral norms"].log and not charts["Losses"].log
    assert charts["fid_shapes"].kind.text == "FID: lower is better."


def test_many_runs_get_fewer_points_then_fewer_charts_and_stay_within_the_bytes(tmp_path, fabricate):
    for seed in range(3):
        run = fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), figures={0: 1.0, 2000: 1.0}, last=100)
        rows = (
            f'{{"step": {s}, "loss/d": {1 / (s + 7)}, "loss/g": {1 / (s + 5)}, "ada/p": {1 / (s + 9)}}}'
            for s in range(1, 2001)
        )
        (run / "train.jsonl").write_text("\n".join(rows))
    (comparison,) = compare_runs([read_run(p, p.name) for p in find_runs([tmp_path])])

    def made(budget):
        charts, grids, left_out = make_charts(comparison, budget)
        size = sum(len(json.dumps(c.variants, separators=(",", ":"))) for c in charts)
        return {c.kind.title for c in charts}, max(map(len, grids)), left_out, size

    every = {"fid_shapes", "Losses", "ADA probability"}
    assert made(BYTES)[:3] == (every, MOST_POINTS, 0)
    titles, points, left_out, size = made(20_000)
    assert titles == every and FEWEST_POINTS < points < MOST_POINTS and left_out == 0 and size <= 20_000
    titles, points, left_out, size = made(1800)
    assert titles == {"fid_shapes", "Losses"} and points == FEWEST_POINTS and left_out == 1 and size <= 1800


def test_limits_are_of_the_metric_or_follow_from_the_values(sweep):
    _, charts, _ = charts_of(sweep)
    limits = {title: list(chart.limits) for title, chart in charts.items()}
    assert limits["precision_shapes"] == [0, 1] and limits["fid_shapes"] == [0, None]
    assert limits["Gradient norms"] == [0, None] and limits["Logits of D"] == limits["kid_shapes"] == [None, None]


def test_a_key_that_no_chart_knows_has_one_of_its_own(tmp_path, fabricate):
    run = fabricate.run(tmp_path / "a", fabricate.config(), figures={0: 1.0, 10: 1.0}, last=100)
    (run / "train.jsonl").write_text('{"step": 1, "mine/x": 1.5, "grad/bound": 3.0}\n')
    _, charts, _ = charts_of(tmp_path)
    assert set(charts) == {"fid_shapes", "mine/x"} and charts["mine/x"].kind.section == "Other"


def test_scalars_at_leaves_out_what_is_missing():
    scalars = Scalars(np.array([1, 2]), {"a": np.array([np.nan, 3.0])})
    assert scalars.at("a") == {2: 3.0} and scalars.at("b") == {}
