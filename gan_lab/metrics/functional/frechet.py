"""Frechet distance between Gaussians fitted to features."""

import math

import torch
from torch import Tensor

from gan_lab import linalg
from gan_lab.metrics.functional.checks import ArrayLike, as_float64, need_features, need_matrix


def mean_and_covariance(features: ArrayLike) -> tuple[Tensor, Tensor]:
    """Return mean (d) and unbiased covariance (d d) of features (n d), n >= 2, in float64."""
    values = as_float64(features)
    need_matrix("mean_and_covariance", values, 2)
    mean = values.mean(dim=0)
    centered = values - mean
    return mean, centered.T @ centered / (len(values) - 1)


def _check_statistics(which: str, mean: Tensor, cov: Tensor) -> None:
    d = mean.numel()
    if mean.ndim != 1 or cov.shape != (d, d):
        raise ValueError(
            f"the {which} statistics need a mean (d) and a covariance (d, d), not "
            f"{tuple(mean.shape)} and {tuple(cov.shape)}"
        )
    if not torch.isfinite(mean).all():
        raise ValueError(f"the {which} mean is not finite: some image or some weight of the backbone is NaN or inf")
    if not torch.isfinite(cov).all():
        raise ValueError(
            f"the {which} covariance is not finite: it needs at least two images, all with finite features"
        )


def covariance_root(cov: ArrayLike) -> Tensor:
    """Factor a covariance (d d) as F F^T with F (d r), by Cholesky or, if that fails, by an eigendecomposition.

    Cholesky takes a tenth of the time, but fails for a singular covariance. Eigenvalues that are zero up to rounding
    are dropped, so r may be smaller than d. `frechet_distance` gives the same result for any such factor.
    """
    cov = as_float64(cov)
    factor = linalg.cholesky(cov)
    if factor is not None:
        return factor
    values, vectors = linalg.eigh((cov + cov.T) / 2)
    keep = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
    return vectors[:, keep] * values[keep].sqrt()


def _congruence(cov: Tensor, root: Tensor) -> Tensor:
    """Compute root^T cov root (r r). For a triangular root only the lower triangle, in a third of the operations."""
    if not root.shape[0] == root.shape[1] > 256 or root.triu(1).any():
        return root.T @ cov @ root
    out = torch.zeros_like(cov)
    for j in range(0, len(cov), 256):
        out[j:, j : j + 256] = root[j:, j:].T @ (cov[j:, j:] @ root[j:, j : j + 256])
    return out


def frechet_distance(
    mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike, root_b: Tensor | None = None
) -> float:
    """Return |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)), the Frechet distance of two Gaussians (arXiv:1706.08500).

    Means (d), covariances (d d), of any float dtype; computed in float64. The eigenvalues of A B are those of the
    symmetric matrix F^T A F with F F^T = B, so no root of a non-symmetric matrix is needed. root_b: F, if known
    (`covariance_root(cov_b)`). Raises ValueError if a mean or covariance is not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (as_float64(x) for x in (mean_a, cov_a, mean_b, cov_b))
    _check_statistics("first", mean_a, cov_a)
    _check_statistics("second", mean_b, cov_b)
    if mean_a.shape != mean_b.shape:
        raise ValueError(f"the two sets have features of {mean_a.numel()} and {mean_b.numel()} dimensions")
    root = covariance_root(cov_b) if root_b is None else root_b.to(cov_a)
    eigenvalues = linalg.eigvalsh(_congruence(cov_a, root)) if root.shape[1] else root.new_zeros(1)
    cross = eigenvalues.clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(0.0, float(distance))


def frechet_distance_of_features(a: ArrayLike, b: ArrayLike) -> float:
    """Return the same distance from features (n_a d), (n_b d), without a d x d matrix.

    tr (A B)^(1/2) is the nuclear norm of X_a X_b^T / sqrt((n_a - 1)(n_b - 1)) for centred features X. This is exact,
    and faster than `frechet_distance` if n_a or n_b is smaller than d (then a covariance is singular, too).
    """
    a, b = as_float64(a), as_float64(b)
    need_features("frechet_distance_of_features", a, 2)
    need_features("frechet_distance_of_features", b, 2)
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    x_a, x_b = (a - mean_a) / math.sqrt(len(a) - 1), (b - mean_b) / math.sqrt(len(b) - 1)
    cross = linalg.svdvals(x_a @ x_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + x_a.square().sum() + x_b.square().sum() - 2 * cross
    return max(0.0, float(distance))
