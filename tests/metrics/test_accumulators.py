"""What is accumulated batch by batch against the whole arrays, two ranks against one, and no wait for a device."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lab.errors import UserError
from gan_lab.metrics import functional as fn
from gan_lab.metrics.accumulators import Accumulators, GaussianStatistics, Rows
from tests.metrics.host_reads import HostReads


def features(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_streamed_statistics_equal_those_of_the_whole():
    x = features(101, 7) * 3 + 5
    state = GaussianStatistics(7)
    for part in x.split(13):
        state.update(part)
    mean, cov, count = state.compute()
    expected_mean, expected_cov = fn.mean_and_covariance(x)
    assert count == 101 and mean.dtype == cov.dtype == torch.float64
    torch.testing.assert_close(mean, expected_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cov, expected_cov, rtol=1e-10, atol=1e-12)


def test_one_sample_has_no_covariance():
    state = GaussianStatistics(3)
    state.update(features(1, 3))
    mean, cov, count = state.compute()
    assert count == 1 and cov.isnan().all() and not mean.isnan().any()


@pytest.mark.parametrize("limit", [0, 30, 39, 50, 90])
def test_statistics_end_at_their_limit(limit):
    x, state = features(50, 4), GaussianStatistics(4, limit=limit)
    for start in range(0, 50, 13):
        state.update(x[start : start + 13], start)
    assert state.compute().n == min(limit, 50)
    if limit > 1:
        torch.testing.assert_close(state.compute().mean, x[:limit].double().mean(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limit", [0, 30, 39, 50])
def test_rows_are_ordered_by_position_and_end_at_their_limit(limit):
    x, rows = features(50, 4), Rows(limit)
    for start in (26, 0, 39, 13):  # as ranks or streams may finish
        rows.update(x[start : start + 13], start)
    assert torch.equal(rows.compute(), x[:limit])
    assert torch.equal(rows.compute(), x[:limit])  # again: nothing was used up


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_rows_keep_the_dtype(dtype):
    rows = Rows(3)
    rows.update(torch.tensor([[1], [2], [3], [4]], dtype=dtype), 0)
    assert rows.compute().dtype == dtype and rows.compute().flatten().tolist() == [1, 2, 3]


def test_images_of_several_sizes_are_refused():
    rows = Rows(4)
    rows.update(torch.zeros(2, 3, 8, 10, dtype=torch.uint8), 0)
    with pytest.raises(UserError, match="of several sizes, 10 x 8 and 9 x 7"):
        rows.update(torch.zeros(2, 3, 7, 9, dtype=torch.uint8), 2)


def test_the_counter_of_host_reads_counts_them():
    with HostReads() as reads:
        x = torch.arange(4)
        x[x > 1], int(x[0]), bool((x > 0).all()), torch.bincount(x), x.unique()
        x[x > 1] = torch.tensor([0, 1])  # of one number, torch 2.15 makes a masked fill, which waits for nothing
    assert len(reads.found) >= 6


def test_a_batch_is_added_without_reading_from_the_device():
    limits = {"gaussian": 20, "features": 20, "pairs": 9, "images": 9, "logits": 40, "labels": 40}
    batches = [
        {"features": features(10, 5), "logits": features(10, 3), "labels": torch.arange(10),
         "images": torch.zeros(10, 3, 4, 4, dtype=torch.uint8)}
        for _ in range(4)
    ]  # fmt: skip
    accumulators = Accumulators(limits, 5, torch.device("cpu"))
    with HostReads() as reads:
        for i, batch in enumerate(batches):
            accumulators.update(10 * i, batch)
    assert reads.found == []
    found = accumulators.compute()
    assert found["gaussian"].n == 20 and {k: len(v) for k, v in found.items() if k != "gaussian"} == {
        k: v for k, v in limits.items() if k != "gaussian"
    }
    assert torch.equal(found["logits"], torch.cat([b["logits"] for b in batches]))


SCRIPT = Path(__file__).with_name("gloo_ranks.py")


def run_two_ranks(samples: list[int], folder: Path) -> list[dict]:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), "2", str(folder / "store"), *map(str, samples)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment | {"PYTHONHASHSEED": str(rank)},  # sets have an order of their own in each process
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
    elif isinstance(a, str):
        assert a == b
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
        assert expected["accumulated"]["count"] == samples
        assert expected["evaluator"]["brightness"] > 100 and "3 of" in expected["diverged"]
        for rank in together:
            assert_close(rank[str(samples)], expected)
