"""The suites' pieces run and mean what their rows say; nothing here is timed."""

import pytest
import torch

from gan_lab.metrics import functional
from gan_lab.metrics.backbones.inception import InceptionFID
from scripts.benchmarks import busy, metrics, precision, scaling, several, step, stylegan2, whole
from scripts.benchmarks.__main__ import RESULTS
from scripts.benchmarks.harness import Bench
from scripts.benchmarks.report import read, render, rows_of
from scripts.studies.study import REPOSITORY

BENCH = Bench(repeats=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "width", "parts"),
    [
        ("sngan_cnn", 1 / 16, {"norm"}),
        pytest.param("wgan", 1 / 16, set(), marks=pytest.mark.long),
        pytest.param("wn_gan", 1 / 16, {"norm"}, marks=pytest.mark.long),
        ("stylegan2", 1 / 32, {"norm", "D, all penalties due", "G, all penalties due"}),
        pytest.param("r3gan", 1 / 64, set(), marks=pytest.mark.long),
    ],
)
def test_a_recipes_step_is_split_into_its_parts(recipe, width, parts):
    rows = step.split(BENCH, recipe, f"width={width}", "trainer.batch_size=4")
    always = {"D", "G", "optimizer D", "optimizer G", "data", "EMA"}
    assert {row.variant for row in rows} == always | parts
    shares = {row.variant: row.facts.get("share") for row in rows}
    assert sum(shares[name] for name in ("D", "G", "data", "EMA")) == pytest.approx(1.0, abs=1e-3)
    assert all(row.seconds.median > 0 for row in rows)


@pytest.mark.slow
def test_stylegan2_with_a_weight_per_sample_differs_only_by_rounding():
    assert 0 < stylegan2.difference(BENCH) < 1e-5  # 0 would mean that nothing was exchanged


def test_frechet_of_commuting_gaussians_is_the_closed_form(monkeypatch):
    monkeypatch.setattr(metrics, "DIMENSIONS", 40)
    *given, exact = metrics.gaussians()
    assert functional.frechet_distance(*given) == pytest.approx(exact, rel=1e-9)
    assert exact > 1.0


def test_random_inception_is_the_same_network_in_both_forms():
    theirs = metrics.torch_fidelity("64", None)
    ours = InceptionFID(theirs.state_dict(), "64").eval()
    x = metrics.images(2, 0)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)["features"], theirs(x)[0], rtol=1e-4, atol=1e-4)
    assert not torch.equal(x, metrics.images(2, 1))


@pytest.mark.long
def test_a_run_is_measured_beside_a_busy_process(monkeypatch):
    monkeypatch.setattr(busy, "POLICIES", dict(list(busy.POLICIES.items())[:2]))
    rows = busy.suite(BENCH, threads=1, seconds=0.1)
    assert [("busy" in row.case, row.variant) for row in rows] == [
        (beside, name) for beside in (False, True) for name in busy.POLICIES
    ]
    assert rows[0].faster.median == rows[2].faster.median == 1 and all(row.faster.low > 0 for row in rows)


@pytest.mark.long
def test_several_runs_train_at_the_same_time():
    assert several.together(BENCH, 2, 0.2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("side", precision.UPDATES)
def test_a_gradient_in_fp32_and_one_in_bf16_are_as_far_from_float64_as_their_digits(side):
    words = [*step.words_of(BENCH, "dcgan", precision.BATCH), "width=0.0625"]
    fp32, bf16 = [], []
    for seed in range(3):
        exact = precision.gradient(BENCH, words, side, "float64", seed)
        assert exact.numel() > 10_000
        fp32.append(precision.error(precision.gradient(BENCH, words, side, "fp32", seed), exact))
        bf16.append(precision.error(precision.gradient(BENCH, words, side, "bf16", seed), exact))
    assert 1e-8 < min(fp32) < 1e-4  # a ReLU whose input rounds to the other side of 0 makes single ones larger
    assert min(bf16) > 2.0**-9 and max(bf16) < 0.5
    assert precision.error(precision.gradient(BENCH, words, side, "fp32", 0), exact) > 0.5  # another seed's


@pytest.mark.slow
def test_a_whole_run_is_extrapolated(monkeypatch):
    """The sum of what is measured, each as often as it occurs."""
    monkeypatch.setattr(whole, "seconds_per_step", lambda bench, steps: 0.009)
    monkeypatch.setattr(whole, "seconds_per_sample", lambda bench, samples: 0.001)
    (row,) = whole.suite(BENCH)
    assert row.facts["minutes"] == pytest.approx((900 + 210) / 60, abs=0.05)


@pytest.mark.slow
def test_a_step_does_as_many_operations_as_its_batch_asks_for():
    counts = [scaling.operations(scaling.step(BENCH, batch, 16, 0.0625)) for batch in (2, 4)]
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)


def test_the_page_is_what_the_report_makes_of_the_measurements():
    assert RESULTS.with_suffix(".md").read_text("utf-8") == render(read(RESULTS))


def test_the_readme_has_the_speed_that_was_measured_against_mimicry():
    readme = " ".join((REPOSITORY / "README.md").read_text("utf-8").split())
    faster = {row.case[-4:]: row.faster.median for row in rows_of(read(RESULTS)["suites"]["peers"])}  # the last is ours
    assert f"| {faster['fp32']:.2f}; in bf16 {faster['bf16']:.2f} | not measured | 1; in bf16 1 |" in readme
    case = "SNGAN ResNet 32, batch 64, 5 D + 1 G, "
    ms = {
        (r.case.removeprefix(case), r.variant): r.facts["ms a step"] for r in rows_of(read(RESULTS)["suites"]["h200"])
    }
    tf32, low, plain, plain_low = (
        ms[name, "textbook (mimicry)"] / ms[name, how] for how in ("graphs", "eager") for name in ("tf32", "bf16")
    )
    assert f"| {tf32:.1f}; in bf16 {low:.1f} | not measured | 1; in bf16 1 |" in readme
    assert f"({plain:.1f} and {plain_low:.1f} times as fast without)" in readme
