"""Kernel inception distance: squared maximum mean discrepancy between subsets of features."""

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.functional.checks import ArrayLike, need_features


def _polynomial(x: Tensor, y: Tensor) -> Tensor:
    """Return the kernel matrix (x.y / d + 1)^3."""
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def _kernel_sums(a: Tensor, b: Tensor, member_a: Tensor, member_b: Tensor, without_diagonal: bool) -> Tensor:
    """Sum the kernel over the pairs of each subset. member_a, member_b: 0/1 (s n). Returns (s)."""
    total = member_a.new_zeros(len(member_a))
    for start in range(0, len(a), 1024):
        kernel = _polynomial(a[start : start + 1024].to(torch.float64), b.to(torch.float64))
        if without_diagonal:
            kernel.diagonal(offset=start).zero_()
        rows = member_a[:, start : start + 1024]
        total += ((rows @ kernel) * member_b).sum(dim=1)
    return total


def _subset_sums_shared(a: Tensor, b: Tensor, draws: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, ...]:
    """Compute the kernel sums of all subsets from one kernel matrix: fewer operations if subsets overlap a lot."""
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
    """Compute the kernel sums subset by subset: fewer operations if the sets are much larger than a subset."""
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
    """Return the kernel inception distance: mean and population standard deviation over subsets (arXiv:1801.01401).

    For each subset: unbiased MMD^2 with the kernel (x.y/d + 1)^3 between `subset_size` rows of a (n_a d) and of b
    (n_b d), in float64, with the random draws of torch-fidelity. Raises ValueError if a set is smaller than a subset,
    or holds non-finite features.
    """
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    if subset_size < 2 or subsets < 1:
        raise ValueError(f"needs subsets >= 1 of at least 2 features, not {subsets} of {subset_size}")
    need_features("kernel_distance", a, subset_size)
    need_features("kernel_distance", b, subset_size)
    rng, m = np.random.RandomState(seed), subset_size  # one legacy generator, `a` before `b`, as in torch-fidelity
    draws = [(rng.choice(len(a), m, replace=False), rng.choice(len(b), m, replace=False)) for _ in range(subsets)]
    shared = max(len(a), len(b)) ** 2 <= subsets * subset_size**2 and max(len(a), len(b)) <= 10_000
    sums_aa, sums_bb, sums_ab = (_subset_sums_shared if shared else _subset_sums_separate)(a, b, draws)
    values = (sums_aa + sums_bb) / (m * (m - 1)) - 2 * sums_ab / (m * m)
    return float(values.mean()), float(values.std(correction=0))
