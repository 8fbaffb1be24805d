"""The arithmetic of the metrics: features or logits in, figures out; no state, no network, no files.

Everything is computed in float64 except distances between features, which keep the dtype of the features.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gan_lab import linalg
from gan_lab.metrics.manifold import all_finite, density_coverage, manifold_figures, precision_recall

__all__ = [
    "covariance_root",
    "density_coverage",
    "frechet_distance",
    "frechet_distance_of_features",
    "inception_score",
    "inception_score_of_sums",
    "kernel_distance",
    "label_divergence",
    "manifold_figures",
    "mean_and_covariance",
    "precision_recall",
]

ArrayLike = Tensor | np.ndarray


def _float64(values: ArrayLike) -> Tensor:
    return torch.as_tensor(values).detach().to(torch.float64)


def _need_matrix(name: str, values: Tensor, rows: int) -> None:
    if values.ndim != 2 or values.shape[0] < rows:
        raise ValueError(f"{name} needs the shape (n, d) with n >= {rows}, not {tuple(values.shape)}")


def mean_and_covariance(features: ArrayLike) -> tuple[Tensor, Tensor]:
    """Mean (d) and unbiased covariance (d d) of features (n d), n >= 2, in float64."""
    values = _float64(features)
    _need_matrix("mean_and_covariance", values, 2)
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
    """A factor F (d r) of a covariance (d d), F F^T = cov: Cholesky, or scaled eigenvectors where that fails.

    Any such factor serves the Frechet distance, and Cholesky costs a tenth of an eigendecomposition; it fails
    on a singular covariance, where eigenvalues that are zero to rounding are dropped, which makes F narrow.
    """
    cov = _float64(cov)
    factor = linalg.cholesky(cov)
    if factor is not None:
        return factor
    values, vectors = linalg.eigh((cov + cov.T) / 2)
    keep = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
    return vectors[:, keep] * values[keep].sqrt()


def _congruence(cov: Tensor, root: Tensor) -> Tensor:
    """root^T cov root, (r r); of a triangular root only the lower triangle, at a third of the operations."""
    if not root.shape[0] == root.shape[1] > 256 or root.triu(1).any():
        return root.T @ cov @ root
    out = torch.zeros_like(cov)
    for j in range(0, len(cov), 256):
        out[j:, j : j + 256] = root[j:, j:].T @ (cov[j:, j:] @ root[j:, j : j + 256])
    return out


def frechet_distance(
    mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike, root_b: Tensor | None = None
) -> float:
    """Frechet distance of two Gaussians, |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2))   (arXiv:1706.08500).

    Means (d), covariances (d d); any float dtype, computed in float64. The eigenvalues of A B are those of
    the symmetric F^T A F with F F^T = B, so no root of a non-symmetric matrix is taken; `root_b` is F where
    it is already known (`covariance_root(cov_b)`). Raises ValueError where the statistics are not finite.
    """
    mean_a, cov_a, mean_b, cov_b = (_float64(x) for x in (mean_a, cov_a, mean_b, cov_b))
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
    """The same distance straight from features (n_a d), (n_b d), without any d x d matrix.

    tr (A B)^(1/2) is the nuclear norm of X_a X_b^T / sqrt((n_a - 1)(n_b - 1)) with centred X: exact, and
    cheaper than `frechet_distance` where a set is smaller than d, which is also where the covariances are
    singular.
    """
    a, b = _float64(a), _float64(b)
    _need_matrix("frechet_distance_of_features", a, 2)
    _need_matrix("frechet_distance_of_features", b, 2)
    if not (all_finite(a) and all_finite(b)):
        raise ValueError("the features are not finite: some image or some weight of the backbone is NaN or inf")
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    x_a, x_b = (a - mean_a) / math.sqrt(len(a) - 1), (b - mean_b) / math.sqrt(len(b) - 1)
    cross = linalg.svdvals(x_a @ x_b.T).sum()
    distance = (mean_a - mean_b).square().sum() + x_a.square().sum() + x_b.square().sum() - 2 * cross
    return max(0.0, float(distance))


def split_of_positions(positions: Tensor, total: int, splits: int) -> Tensor:
    """Which of the contiguous parts [i*total//splits, (i+1)*total//splits) each position falls in."""
    bounds = torch.tensor([(i + 1) * total // splits for i in range(splits)], device=positions.device)
    return torch.bucketize(positions, bounds, right=True)


def inception_score_of_sums(sum_p: Tensor, sum_plogp: Tensor, counts: Tensor) -> tuple[float, float]:
    """Inception score from sums per split: sum_p (s k) of p, sum_plogp (s) of sum_k p log p, counts (s).

    exp(mean KL(p | q)) = exp(mean sum p log p - sum q log q) with q the mean p of the split; returns the mean
    and the population standard deviation over the splits that hold samples.
    """
    used = counts > 0
    if not used.any():
        raise ValueError("the inception score needs at least one sample")
    n = counts[used].to(torch.float64)
    q = sum_p[used] / n[:, None]
    scores = torch.exp(sum_plogp[used] / n - torch.xlogy(q, q).sum(dim=1))
    if not torch.isfinite(scores).all():
        raise ValueError("the logits are not finite: some image or some weight of the backbone is NaN or inf")
    return float(scores.mean()), float(scores.std(correction=0))


def inception_score(logits: ArrayLike, splits: int = 10, seed: int | None = None) -> tuple[float, float]:
    """Inception score: mean, population standard deviation over contiguous parts   (arXiv:1606.03498).

    logits (n k). Splits are taken in the given order; with a `seed` after NumPy's legacy permutation of it,
    which is what torch-fidelity does (its default seed is 2020) and what images sorted by class need.
    """
    logits = _float64(logits)
    _need_matrix("inception_score", logits, 1)
    if not 1 <= splits <= len(logits):
        raise ValueError(f"splits must lie between 1 and the number of samples {len(logits)}, not {splits}")
    if seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(seed).permutation(len(logits))).to(logits.device)]
    log_p = logits.log_softmax(dim=1)
    p = log_p.exp()
    part = split_of_positions(torch.arange(len(p), device=p.device), len(p), splits)
    sum_p = p.new_zeros(splits, p.shape[1]).index_add_(0, part, p)
    # -inf logits (a class that is impossible) give 0 * -inf; the limit of p log p is 0
    plogp = torch.where(p > 0, p * log_p, torch.zeros_like(p)).sum(dim=1)
    sum_plogp = p.new_zeros(splits).index_add_(0, part, plogp)
    return inception_score_of_sums(sum_p, sum_plogp, torch.bincount(part, minlength=splits))


def _subset_indices(n_a: int, n_b: int, subsets: int, size: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The draws of torch-fidelity: one legacy generator, `a` before `b` in a subset, without replacement."""
    rng = np.random.RandomState(seed)
    return [(rng.choice(n_a, size, replace=False), rng.choice(n_b, size, replace=False)) for _ in range(subsets)]


def _polynomial(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / d + 1)^3, in place where possible."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def _kernel_sums(a: Tensor, b: Tensor, member_a: Tensor, member_b: Tensor, without_diagonal: bool) -> Tensor:
    """Sum of the kernel over every subset's pairs: members (s n) are 0/1, the result is (s)."""
    total = member_a.new_zeros(len(member_a))
    for start in range(0, len(a), 1024):
        kernel = _polynomial(a[start : start + 1024].to(torch.float64), b.to(torch.float64))
        if without_diagonal:
            kernel.diagonal(offset=start).zero_()
        rows = member_a[:, start : start + 1024]
        total += ((rows @ kernel) * member_b).sum(dim=1)
    return total


def _subset_sums_shared(a: Tensor, b: Tensor, draws: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, ...]:
    """Kernel sums of all subsets from one full kernel: fewer operations where subsets overlap a lot."""
    member_a = torch.zeros(len(draws), len(a), dtype=torch.float64)
    member_b = torch.zeros(len(draws), len(b), dtype=torch.float64)
    for i, (in_a, in_b) in enumerate(draws):
        member_a[i, in_a] = 1
        member_b[i, in_b] = 1
    member_a, member_b = member_a.to(a.device), member_b.to(b.device)
    return (
        _kernel_sums(a, a, member_a, member_a, True),
        _kernel_sums(b, b, member_b, member_b, True),
        _kernel_sums(a, b, member_a, member_b, False),
    )


def _subset_sums_separate(a: Tensor, b: Tensor, draws: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, ...]:
    """Kernel sums of every subset by itself: fewer operations where the sets are much larger."""
    rows = []
    for in_a, in_b in draws:
        x = a[torch.from_numpy(in_a).to(a.device)].to(torch.float64)
        y = b[torch.from_numpy(in_b).to(b.device)].to(torch.float64)
        k_xx, k_yy = _polynomial(x, x), _polynomial(y, y)
        rows.append(torch.stack([k_xx.sum() - k_xx.trace(), k_yy.sum() - k_yy.trace(), _polynomial(x, y).sum()]))
    return torch.stack(rows).unbind(dim=1)


def kernel_distance(
    a: ArrayLike, b: ArrayLike, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Kernel inception distance, (mean, population standard deviation) over subsets   (arXiv:1801.01401).

    Unbiased MMD^2 under (x.y/d + 1)^3 of `subset_size` of the features a (n_a d) against as many of b (n_b
    d), in float64, with torch-fidelity's draws. Small sets share one kernel matrix between all subsets; the
    result is the same. Raises ValueError where a set is smaller than a subset, or has non-finite features.
    """
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    _need_matrix("kernel_distance", a, max(2, subset_size))
    _need_matrix("kernel_distance", b, max(2, subset_size))
    if subset_size < 2 or subsets < 1:
        raise ValueError(f"needs subsets >= 1 of at least 2 features, not {subsets} of {subset_size}")
    if not (all_finite(a) and all_finite(b)):
        raise ValueError("the features are not finite: some image or some weight of the backbone is NaN or inf")
    draws = _subset_indices(len(a), len(b), subsets, subset_size, seed)
    shared = max(len(a), len(b)) ** 2 <= subsets * subset_size**2 and max(len(a), len(b)) <= 10_000
    sums_aa, sums_bb, sums_ab = (_subset_sums_shared if shared else _subset_sums_separate)(a, b, draws)
    m = subset_size
    values = (sums_aa + sums_bb) / (m * (m - 1)) - 2 * sums_ab / (m * m)
    return float(values.mean()), float(values.std(correction=0))


def label_divergence(counts: ArrayLike, reference: ArrayLike) -> float:
    """KL(counts | reference) in nats of two histograms over the same classes.

    A class without reference weight is given half a count, so that the figure stays finite where it is hit.
    """
    p, q = _float64(counts), _float64(reference)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(f"the histograms have the shapes {tuple(p.shape)} and {tuple(q.shape)}")
    if p.sum() <= 0 or q.sum() <= 0:
        raise ValueError("a histogram is empty")
    q = torch.where((q == 0) & (p > 0), torch.full_like(q, 0.5), q)
    p, q = p / p.sum(), q / q.sum()
    hit = p > 0
    return float((p[hit] * (p[hit] / q[hit]).log()).sum())
