"""The Frechet distance against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.metrics import functional as fn


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + shift


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
