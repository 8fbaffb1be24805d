"""Streaming states against the whole arrays, and two ranks against one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lab.metrics import functional as fn
from gan_lab.metrics import modules, states


@pytest.fixture(params=[states, modules], ids=["ours", "torchmetrics"])
def kind(request):
    return request.param


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_streamed_statistics_equal_those_of_the_whole(kind):
    x = features(101, 7) * 3 + 5
    state = kind.GaussianStatistics(7)
    for part in x.split(13):
        state.update(part)
    mean, cov, count = state.compute()
    expected_mean, expected_cov = fn.mean_and_covariance(x)
    assert count == 101 and mean.dtype == cov.dtype == torch.float64
    torch.testing.assert_close(mean, expected_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cov, expected_cov, rtol=1e-10, atol=1e-12)
    state.reset()
    state.update(x[:2])
    assert state.compute()[2] == 2


def test_one_sample_has_no_covariance(kind):
    state = kind.GaussianStatistics(3)
    state.update(features(1, 3))
    mean, cov, count = state.compute()
    assert count == 1 and cov.isnan().all() and not mean.isnan().any()


def test_frechet_state_equals_the_function_and_refuses_one_sample(kind):
    real, fake = features(60, 5), features(80, 5, 1) + 0.3
    state = kind.FrechetDistance(*fn.mean_and_covariance(real))
    state.update(fake[:1])
    with pytest.raises(ValueError, match="first covariance is not finite"):
        state.compute()
    for part in fake[1:].split(9):
        state.update(part)
    expected = fn.frechet_distance(*fn.mean_and_covariance(fake), *fn.mean_and_covariance(real))
    assert state.compute() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", [None, 2020])
def test_streamed_inception_score_equals_the_function_in_any_order(kind, seed):
    logits = features(103, 6) * 4
    state = kind.InceptionScore(6, 103, 10, seed)
    for positions in torch.randperm(103, generator=torch.Generator().manual_seed(5)).split(8):
        state.update(logits[positions], positions)
    assert state.compute() == pytest.approx(fn.inception_score(logits, 10, seed), rel=1e-12)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_feature_bank_orders_by_position_and_keeps_the_limit(kind):
    x, bank = features(50, 4), kind.FeatureBank(30)
    for positions in torch.randperm(50, generator=torch.Generator().manual_seed(1)).split(7):
        bank.update(x[positions], positions)
    torch.testing.assert_close(bank.compute(), x[:30], rtol=0, atol=0)
    torch.testing.assert_close(bank.compute(), x[:30], rtol=0, atol=0)  # again: nothing was used up
    bank.reset()
    with pytest.raises(ValueError, match="no features"):
        bank.compute()


def test_torchmetrics_takes_them_in_a_collection():
    from torchmetrics import Metric, MetricCollection

    x = features(40, 5)
    group = MetricCollection({"fid": modules.FrechetDistance(*fn.mean_and_covariance(x))})
    group.update(x + 1.0)
    assert group.compute()["fid"] == pytest.approx(5.0, rel=1e-9)  # the mean moved by 1 in each of 5 dimensions
    assert not issubclass(states.FrechetDistance, Metric)


def test_mode_counts(kind):
    state = kind.ModeCounts(4)
    state.update(torch.eye(4)[[0, 2, 2]])
    state.update(torch.eye(4)[[3]])
    assert state.compute().tolist() == [1, 0, 2, 1]


SCRIPT = Path(__file__).with_name("gloo_ranks.py")


def run_two_ranks(samples: list[int], folder: Path) -> list[dict]:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), "2", str(folder / "store"), *map(str, samples)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(2)
    ]  # fmt: skip
    results = []
    for process in processes:
        out, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        results.append(json.loads(out.splitlines()[-1]))
    return results


def assert_close(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_close(a[key], b[key])
    else:
        torch.testing.assert_close(
            torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), rtol=1e-9, atol=1e-9
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_ranks_give_the_figures_of_one_process(tmp_path):
    sizes = [103, 15]  # uneven shares, and a second rank without a batch to evaluate
    spec = importlib.util.spec_from_file_location("gloo_ranks", SCRIPT)
    alone = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alone)
    together = run_two_ranks(sizes, tmp_path)
    for samples in sizes:
        expected = alone.figures_of(0, 1, samples)
        assert expected["states"]["count"] == samples
        assert_close(expected["states"], expected["modules"])
        for rank in together:
            assert_close(rank[str(samples)], expected)
