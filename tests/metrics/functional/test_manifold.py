"""Precision, recall, density and coverage against torch-fidelity and their definitions."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from gan_lab.metrics import functional as fn


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + shift


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_equal_torch_fidelity(dtype, k):
    real, fake = gaussian(300, 8).to(dtype), gaussian(250, 8, 0.4, 0.8, seed=1).to(dtype)
    expected = prc_features_to_metric(fake, real, prc_neighborhood=k, prc_batch_size=10_000, verbose=False)
    precision, recall = fn.precision_recall(real, fake, k)
    assert precision == pytest.approx(expected["precision"], rel=1e-6)
    assert recall == pytest.approx(expected["recall"], rel=1e-6)
    assert precision != recall


def test_density_coverage_against_the_definition():
    real, fake, k = gaussian(60, 5), gaussian(45, 5, 0.5, seed=1), 4
    among = torch.cdist(real, real, compute_mode="donot_use_mm_for_euclid_dist")
    radius = among.sort(dim=1).values[:, k]
    inside = torch.cdist(real, fake, compute_mode="donot_use_mm_for_euclid_dist") < radius[:, None]
    density, coverage = fn.density_coverage(real, fake, k)
    assert density == pytest.approx(float(inside.sum()) / (k * 45), rel=1e-12)
    assert coverage == pytest.approx(float(inside.any(dim=1).double().mean()), rel=1e-12)
    assert 0 < coverage < 1


def test_manifold_figures_of_a_set_with_itself_and_with_a_distant_one():
    real = gaussian(80, 4)
    same = fn.manifold_figures(real, real.clone())
    assert same == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}
    assert set(fn.manifold_figures(real, real + 100).values()) == {0.0}


def test_blocks_do_not_change_the_figures(monkeypatch):
    real, fake = gaussian(130, 6), gaussian(90, 6, 0.3, seed=1)
    whole = fn.manifold_figures(real, fake)
    near = fn.neighbour_distances(real, 5)
    monkeypatch.setattr("gan_lab.metrics.functional.manifold.ROWS", 17)
    monkeypatch.setattr("gan_lab.metrics.functional.manifold.COLUMNS", 23)
    assert fn.manifold_figures(real, fake) == whole
    assert fn.manifold_figures(real, fake, real_neighbours=near) == whole
    torch.testing.assert_close(fn.neighbour_distances(real, 5)[:, 1:], near[:, 1:])


def test_manifold_refuses_what_has_no_neighbours():
    with pytest.raises(ValueError, match="fake features need the shape .* n > k = 5"):
        fn.manifold_figures(gaussian(20, 3), gaussian(5, 3))
    with pytest.raises(ValueError, match="not finite"):
        fn.manifold_figures(gaussian(20, 3), torch.full((20, 3), math.nan))
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        fn.manifold_figures(gaussian(20, 3), gaussian(20, 4))


_PEAK = """
import resource, sys, torch
from gan_lab.metrics import functional as fn
torch.set_num_threads(1)
real, fake = torch.randn(2, 12_000, 16).unbind()
fn.manifold_figures(real[:2000], fake[:2000]), fn.kernel_distance(real[:2000], fake[:2000], 2, 1000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fn.manifold_figures(real, fake), fn.kernel_distance(real, fake, 5, 1000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is in kilobytes on Linux only")
def test_memory_is_a_few_blocks_whatever_the_number_of_samples():
    grown = int(subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True).stdout)
    assert grown * 1024 < 250e6  # one matrix of all distances would be 576 MB
