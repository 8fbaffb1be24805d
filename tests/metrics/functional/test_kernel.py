"""The kernel distance against torch-fidelity."""

from __future__ import annotations

import math

import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from gan_lab.metrics import functional as fn


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + shift


@pytest.mark.parametrize(("n_a", "n_b"), [(220, 300), (5000, 120)])  # one kernel for all subsets, and one for each
def test_kernel_distance_equals_torch_fidelity(n_a, n_b):
    a, b = gaussian(n_a, 16), gaussian(n_b, 16, 0.2, seed=1)
    for seed in (0, 5):
        expected = kid_features_to_metric(a, b, kid_subsets=20, kid_subset_size=100, rng_seed=seed, verbose=False)
        mean, sd = fn.kernel_distance(a, b, 20, 100, seed)
        assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-9)
        assert sd == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-9)
    assert mean > 0


def test_kernel_distance_in_float32_equals_torch_fidelity():
    a, b = gaussian(300, 64).float(), gaussian(300, 64, 0.5, seed=1).float()
    expected = kid_features_to_metric(a, b, kid_subsets=10, kid_subset_size=200, rng_seed=0, verbose=False)
    mean, _ = fn.kernel_distance(a, b, 10, 200)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-5)  # theirs is in float32


def test_kernel_distance_is_unbiased_where_the_sets_agree():
    mean, sd = fn.kernel_distance(gaussian(400, 8), gaussian(400, 8, seed=1), 50, 100)
    assert -0.01 < mean < 0.01 and 0 < sd < 0.1


def test_kernel_distance_refuses_small_or_broken_sets():
    with pytest.raises(ValueError, match="n >= 100"):
        fn.kernel_distance(gaussian(99, 4), gaussian(200, 4), 1, 100)
    with pytest.raises(ValueError, match="not finite"):
        fn.kernel_distance(torch.full((10, 2), math.nan), gaussian(10, 2), 1, 10)
    with pytest.raises(ValueError, match="at least 2"):
        fn.kernel_distance(gaussian(10, 2), gaussian(10, 2), 1, 1)
