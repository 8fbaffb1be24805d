"""Kernel inception distance: maximum mean discrepancy between subsets of features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.functional.checks import ArrayLike, all_finite, need_matrix


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
    need_matrix("kernel_distance", a, max(2, subset_size))
    need_matrix("kernel_distance", b, max(2, subset_size))
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
