"""The arithmetic against torch-fidelity, scipy, and closed forms."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from gan_lab.metrics import functional as fn
from gan_lab.metrics.manifold import neighbour_distances


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + shift


# -- Frechet distance --


def test_frechet_of_axis_aligned_gaussians_is_the_closed_form():
    mean_a, mean_b = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    sd_a, sd_b = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 0.5, 3.0])
    expected = float((mean_a - mean_b).square().sum() + (sd_a - sd_b).square().sum())  # 10 + 3.25
    found = fn.frechet_distance(mean_a, torch.diag(sd_a**2), mean_b, torch.diag(sd_b**2))
    assert found == pytest.approx(expected, rel=1e-12) == pytest.approx(13.25)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_frechet_equals_scipys_root_of_the_product(seed, d):
    a, b = gaussian(40, d, seed=seed) @ gaussian(d, d, seed=seed + 1), gaussian(40, d, 0.3, seed=seed + 2)
    (mean_a, cov_a), (mean_b, cov_b) = fn.mean_and_covariance(a), fn.mean_and_covariance(b)
    root = scipy.linalg.sqrtm(cov_a.numpy() @ cov_b.numpy()).real
    expected = float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace()) - 2 * np.trace(root)
    scale = float(cov_a.trace() + cov_b.trace())
    assert fn.frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, abs=1e-7 * scale)
    assert fn.frechet_distance_of_features(a, b) == pytest.approx(expected, abs=1e-7 * scale)


def test_frechet_is_symmetric_zero_on_itself_and_takes_numpy():
    (mean_a, cov_a), (mean_b, cov_b) = (fn.mean_and_covariance(gaussian(50, 6, s, seed=s)) for s in (0, 2))
    forth = fn.frechet_distance(mean_a, cov_a, mean_b, cov_b)
    assert forth == pytest.approx(fn.frechet_distance(mean_b.numpy(), cov_b.numpy(), mean_a.numpy(), cov_a.numpy()))
    assert forth > 20
    assert fn.frechet_distance(mean_a, cov_a, mean_a, cov_a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_singular_covariances_is_exact():
    a, b = gaussian(9, 30, seed=1), gaussian(14, 30, 0.5, seed=2)  # fewer samples than dimensions
    (mean_a, cov_a), (mean_b, cov_b) = fn.mean_and_covariance(a), fn.mean_and_covariance(b)
    exact = fn.frechet_distance_of_features(a, b)
    assert fn.frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(exact, rel=1e-6)
    assert fn.covariance_root(cov_a).shape == (30, 8)  # eight directions carry all of it
    constant = torch.zeros(30, 30)
    expected = float((mean_a - mean_b).square().sum() + cov_a.trace())
    assert fn.frechet_distance(mean_a, cov_a, mean_b, constant) == pytest.approx(expected, rel=1e-12)
    assert fn.frechet_distance(mean_b, constant, mean_a, cov_a) == pytest.approx(expected, rel=1e-12)


def test_the_root_may_be_given_and_is_a_root():
    (mean_a, cov_a), (mean_b, cov_b) = (fn.mean_and_covariance(gaussian(50, 6, seed=s)) for s in (0, 1))
    root = fn.covariance_root(cov_b)
    torch.testing.assert_close(root @ root.T, cov_b, rtol=1e-12, atol=1e-12)
    with_root = fn.frechet_distance(mean_a, cov_a, mean_b, cov_b, root)
    assert with_root == pytest.approx(fn.frechet_distance(mean_a, cov_a, mean_b, cov_b), rel=1e-12)


def test_many_dimensions_take_another_way_to_the_same_figure():
    a, b = gaussian(700, 300, seed=1) @ gaussian(300, 300, seed=3), gaussian(800, 300, 0.1, seed=2)
    (mean_a, cov_a), (mean_b, cov_b) = fn.mean_and_covariance(a), fn.mean_and_covariance(b)
    values, vectors = torch.linalg.eigh(cov_b)
    symmetric = vectors * values.sqrt() @ vectors.T  # a root that is not triangular
    exact = fn.frechet_distance_of_features(a, b)
    assert fn.frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(exact, rel=1e-10)
    assert fn.frechet_distance(mean_a, cov_a, mean_b, cov_b, symmetric) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_frechet_refuses_what_is_not_finite(bad):
    good, broken = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, bad]])
    with pytest.raises(ValueError, match="second covariance is not finite"):
        fn.frechet_distance(torch.zeros(2), good, torch.zeros(2), broken)
    with pytest.raises(ValueError, match="first mean is not finite"):
        fn.frechet_distance(torch.tensor([0.0, bad]), good, torch.zeros(2), good)
    with pytest.raises(ValueError, match="not finite"):
        fn.frechet_distance_of_features(torch.tensor([[0.0], [bad]]), torch.zeros(2, 1))


def test_frechet_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="features of 2 and 3 dimensions"):
        fn.frechet_distance(torch.zeros(2), torch.eye(2), torch.zeros(3), torch.eye(3))
    with pytest.raises(ValueError, match="need a mean"):
        fn.frechet_distance(torch.zeros(2), torch.eye(3), torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match="n >= 2"):
        fn.mean_and_covariance(torch.zeros(1, 4))


# -- inception score --


@pytest.mark.parametrize(("n", "splits"), [(1000, 10), (103, 10), (7, 7), (50, 1)])
@pytest.mark.parametrize("seed", [None, 2020, 3])
def test_inception_score_equals_torch_fidelity(n, splits, seed):
    logits = gaussian(n, 20, scale=3.0)
    expected = isc_features_to_metric(logits, splits, shuffle=seed is not None, rng_seed=seed)
    mean, sd = fn.inception_score(logits, splits, seed)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-10)
    assert sd == pytest.approx(expected["inception_score_std"], rel=1e-8, abs=1e-12)


def test_inception_score_at_its_bounds():
    sure = torch.full((40, 4), -1e4)
    sure[torch.arange(40), torch.arange(40) % 4] = 1e4
    assert fn.inception_score(sure, 2) == pytest.approx((4.0, 0.0))  # sure and even: the number of classes
    assert fn.inception_score(torch.zeros(40, 4), 2) == pytest.approx((1.0, 0.0))  # nothing known
    assert fn.inception_score(torch.tensor([[3.0, 1.0]]), 1) == pytest.approx((1.0, 0.0))  # one sample


@pytest.mark.parametrize("splits", [0, 6])
def test_inception_score_refuses_impossible_splits(splits):
    with pytest.raises(ValueError, match="between 1 and the number of samples 5"):
        fn.inception_score(torch.zeros(5, 3), splits)


def test_inception_score_refuses_nan():
    with pytest.raises(ValueError, match="not finite"):
        fn.inception_score(torch.full((5, 3), math.nan), 1)


# -- kernel distance --


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


# -- precision, recall, density, coverage --


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
    near = neighbour_distances(real, 5)
    monkeypatch.setattr("gan_lab.metrics.manifold.ROWS", 17)
    monkeypatch.setattr("gan_lab.metrics.manifold.COLUMNS", 23)
    assert fn.manifold_figures(real, fake) == whole
    assert fn.manifold_figures(real, fake, real_neighbours=near) == whole
    torch.testing.assert_close(neighbour_distances(real, 5)[:, 1:], near[:, 1:])


def test_manifold_refuses_what_has_no_neighbours():
    with pytest.raises(ValueError, match="fake features need the shape .* n > k = 5"):
        fn.manifold_figures(gaussian(20, 3), gaussian(5, 3))
    with pytest.raises(ValueError, match="not finite"):
        fn.manifold_figures(gaussian(20, 3), torch.full((20, 3), math.nan))
    with pytest.raises(ValueError, match="3 and 4 dimensions"):
        fn.manifold_figures(gaussian(20, 3), gaussian(20, 4))


# -- labels --


def test_label_divergence_is_kl():
    found = fn.label_divergence(torch.tensor([3, 1, 0]), torch.tensor([10, 10, 20]))
    assert found == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1), rel=1e-12)
    assert fn.label_divergence([5, 0], [10, 10]) == pytest.approx(math.log(2))
    assert fn.label_divergence([2, 2], [7, 7]) == 0
    assert 0 < fn.label_divergence([1, 1], [10, 0]) < math.inf  # a class that the reference lacks
    with pytest.raises(ValueError, match="empty"):
        fn.label_divergence([0, 0], [1, 1])


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
