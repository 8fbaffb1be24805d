"""Precision, recall, density and coverage: how two clouds of features lie in each other's neighbourhoods.

Distances are made block by block, so the memory is a few blocks whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gan_lab.distributed.device import exact_fp32
from gan_lab.metrics.functional.checks import all_finite

ROWS, COLUMNS = 1024, 8192  # 32 MiB of float32 distances at a time


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Euclidean distances of every block of rows of a (n d) to every block of rows of b (m d)."""
    for i in range(0, len(a), ROWS):
        rows = slice(i, min(i + ROWS, len(a)))
        for j in range(0, len(b), COLUMNS):
            columns = slice(j, min(j + COLUMNS, len(b)))
            with exact_fp32(a.device):  # cdist is a matrix product, which TF32 would move by a thousandth
                distances = torch.cdist(a[rows], b[columns])
            yield rows, columns, distances


def neighbour_distances(features: Tensor, k: int) -> Tensor:
    """Distances to the k nearest others, ascending (n k+1); column 0 is the point itself."""
    nearest = features.new_full((len(features), k + 1), torch.inf)
    for rows, _, distances in _blocks(features, features):
        smallest = distances.topk(min(k + 1, distances.shape[1]), largest=False).values
        merged = torch.cat([nearest[rows], smallest], dim=1)
        nearest[rows] = merged.topk(k + 1, largest=False, sorted=True).values
    return nearest


def _check(real: Tensor, fake: Tensor, k: int) -> None:
    for name, x in (("real", real), ("fake", fake)):
        if x.ndim != 2 or len(x) <= k:
            raise ValueError(f"the {name} features need the shape (n, d) with n > k = {k}, not {tuple(x.shape)}")
        if not all_finite(x):
            raise ValueError(f"the {name} features are not finite")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"real and fake features have {real.shape[1]} and {fake.shape[1]} dimensions")


def manifold_figures(
    real: Tensor,
    fake: Tensor,
    k_precision: int = 3,
    k_density: int = 5,
    real_neighbours: Tensor | None = None,
) -> dict[str, float]:
    """Precision, recall (arXiv:1904.06991), density, coverage (arXiv:2002.09797) from one set of distances.

    real (n d), fake (m d), float32 or float64. A ball around a point reaches to its k-th nearest neighbour in
    its own set, the point itself not counted. Precision: the share of fakes in some real ball (border
    included); recall: the share of reals in some fake ball; density: the mean number of real balls around a
    fake, over k; coverage: the share of real balls that hold a fake (border excluded in the last two, as
    their authors' code does). `real_neighbours` is `neighbour_distances(real, max(k_precision, k_density))`
    where it is already known. Raises ValueError where a set has no k-th neighbour or is not finite.
    """
    real, fake = torch.as_tensor(real).detach(), torch.as_tensor(fake).detach()
    k = max(k_precision, k_density)
    _check(real, fake, k)
    fake = fake.to(real)
    near_real = neighbour_distances(real, k) if real_neighbours is None else real_neighbours
    radius_real, radius_density = near_real[:, k_precision], near_real[:, k_density]
    radius_fake = neighbour_distances(fake, k_precision)[:, k_precision]
    precise = torch.zeros(len(fake), dtype=torch.bool, device=real.device)
    recalled, covered = (torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    balls = 0
    for rows, columns, distances in _blocks(real, fake):
        precise[columns] |= (distances <= radius_real[rows, None]).any(dim=0)
        recalled[rows] |= (distances <= radius_fake[None, columns]).any(dim=1)
        inside = distances < radius_density[rows, None]
        covered[rows] |= inside.any(dim=1)
        balls += int(inside.sum())
    return {
        "precision": float(precise.double().mean()),
        "recall": float(recalled.double().mean()),
        "density": balls / (k_density * len(fake)),
        "coverage": float(covered.double().mean()),
    }


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (arXiv:1904.06991, equation 1); see `manifold_figures`."""
    figures = manifold_figures(real, fake, k_precision=k, k_density=k)
    return figures["precision"], figures["recall"]


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density and coverage (arXiv:2002.09797, equations 3 and 4); see `manifold_figures`."""
    figures = manifold_figures(real, fake, k_precision=k, k_density=k)
    return figures["density"], figures["coverage"]
