"""Decompositions are LAPACK's, and a solver that reports success with NaN is not believed."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gan_lab import linalg
from gan_lab.metrics import functional
from gan_lab.metrics.accumulators import GaussianStatistics
from gan_lab.training.log_sums import add_scalars


def spd(d, seed=0):
    x = np.random.default_rng(seed).normal(size=(2 * d, d))
    return torch.from_numpy(x.T @ x / (2 * d))


def test_decompositions_are_those_of_scipy():
    matrix = spd(12)
    torch.testing.assert_close(linalg.cholesky(matrix), torch.from_numpy(np.linalg.cholesky(matrix.numpy())))
    values, vectors = linalg.eigh(matrix)
    wanted = torch.from_numpy(scipy.linalg.eigvalsh(matrix.numpy()))
    torch.testing.assert_close(values, wanted)
    torch.testing.assert_close(linalg.eigvalsh(matrix), wanted)
    torch.testing.assert_close(vectors @ values.diag() @ vectors.T, matrix)
    tall = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(linalg.svdvals(tall), torch.from_numpy(scipy.linalg.svdvals(tall.numpy())))


def test_they_work_in_float64_and_give_no_graph():
    matrix = spd(4).float().requires_grad_()
    for found in (linalg.cholesky(matrix), *linalg.eigh(matrix), linalg.eigvalsh(matrix), linalg.svdvals(matrix)):
        assert found.dtype == torch.float64 and not found.requires_grad


def test_a_matrix_that_is_not_positive_definite_has_no_cholesky_factor():
    assert linalg.cholesky(torch.diag(torch.tensor([1.0, -1e-3]))) is None
    assert linalg.cholesky(torch.ones(2, 2)) is None or bool(torch.isfinite(linalg.cholesky(torch.ones(2, 2))).all())


def nan_like(matrix):
    return torch.full_like(matrix, torch.nan)


@pytest.fixture
def cusolver(monkeypatch):
    """What an H200 answered for a matrix that is singular to rounding: info = 0, and NaN."""
    true = torch.linalg.cholesky_ex

    def cholesky_ex(matrix, **how):
        factor, info = true(matrix, **how)
        return (nan_like(factor), torch.zeros_like(info)) if int(info) or factor.diag().min() < 1e-7 else (factor, info)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", cholesky_ex)


def test_success_with_nan_is_not_believed(cusolver):
    singular = torch.diag(torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64))
    assert torch.linalg.cholesky_ex(singular)[1] == 0 and torch.linalg.cholesky_ex(singular)[0].isnan().all()
    assert linalg.cholesky(singular) is None
    root = functional.covariance_root(singular)
    torch.testing.assert_close(root @ root.T, singular)


@pytest.mark.parametrize("name", ["eigh", "eigvalsh", "svdvals"])
def test_a_decomposition_that_is_not_finite_is_an_error(monkeypatch, name):
    true = getattr(torch.linalg, name)
    broken = (lambda m: tuple(map(nan_like, true(m)))) if name == "eigh" else lambda m: nan_like(true(m))
    monkeypatch.setattr(torch.linalg, name, broken)
    with pytest.raises(ArithmeticError, match="not finite"):
        getattr(linalg, name)(spd(4))


def statistics_of(features):
    gaussian = GaussianStatistics(features.shape[1])
    gaussian.update(features)
    return gaussian.compute()[:2]


def frechet_in_numpy(a, b):
    """|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), roots by eigenvalues."""
    a, b = a.double().numpy(), b.double().numpy()
    A, B = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    values, vectors = np.linalg.eigh(A)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ B @ root).clip(0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * cross


KINDS = {
    "fewer images than features": lambda g: torch.randn(20, 64, generator=g),
    "dependent features": lambda g: torch.randn(200, 16, generator=g) @ torch.randn(16, 64, generator=g),
    "constant features": lambda g: torch.cat([torch.randn(200, 40, generator=g), torch.full((200, 24), 3.0)], dim=1),
    "after a ReLU": lambda g: (torch.randn(50, 8, generator=g) @ torch.randn(8, 64, generator=g) - 2.0).relu(),
    "all of them one point": lambda g: torch.full((30, 64), 0.7),
    "well conditioned": lambda g: torch.randn(500, 64, generator=g),
}


@pytest.mark.parametrize("solver", ["lapack", "cusolver"])
@pytest.mark.parametrize("kind", KINDS)
def test_singular_features_have_one_distance_on_every_path(request, kind, solver):
    if solver == "cusolver":
        request.getfixturevalue("cusolver")
    a, b = (KINDS[kind](torch.Generator().manual_seed(seed)) for seed in (1, 2))
    b = b + 0.1
    wanted = frechet_in_numpy(a, b)
    means = [*statistics_of(a), *statistics_of(b)]
    assert functional.frechet_distance(*means) == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    root = functional.covariance_root(means[3])
    assert functional.frechet_distance(*means, root) == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert functional.frechet_distance_of_features(a, b) == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("kind", "home"), [("mps", "cpu"), ("xpu", "xpu"), ("cpu", "cpu")])
def test_float64_lives_on_the_cpu_where_the_device_has_none(kind, home):
    """On torch's fake tensors, which know devices but compute nothing."""
    with FakeTensorMode():
        numbers = torch.empty(6, 3, device=kind)
        exact = linalg.as_float64(numbers.requires_grad_())
        assert (exact.device.type, exact.dtype, exact.requires_grad) == (home, torch.float64, False)
        state = GaussianStatistics(3, numbers.device)
        state.update(numbers)
        assert state.total.device.type == state.outer.device.type == home
        sums: dict[str, torch.Tensor] = {}
        add_scalars(sums, {"a": torch.empty((), device=kind), "b": torch.empty((), device=kind)})
        assert sums["a,b"].device.type == home and sums["a,b"].dtype == torch.float64
