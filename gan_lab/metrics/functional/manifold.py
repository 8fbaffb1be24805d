"""Precision, recall, density and coverage, from nearest-neighbour balls in feature space.

Distances are computed in blocks, so memory does not grow with the square of the number of samples.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gan_lab.distributed.device import exact_fp32
from gan_lab.metrics.functional.checks import all_finite

ROWS, COLUMNS = 1024, 8192  # 32 MiB of float32 distances at a time


def blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield Euclidean distances of blocks of rows of a (n d) to blocks of rows of b (m d)."""
    for i in range(0, len(a), ROWS):
        rows = slice(i, min(i + ROWS, len(a)))
        for j in range(0, len(b), COLUMNS):
            columns = slice(j, min(j + COLUMNS, len(b)))
            with exact_fp32(a.device):  # cdist is a matrix product; TF32 would change it by 0.1 %
                distances = torch.cdist(a[rows], b[columns])
            yield rows, columns, distances


def neighbour_distances(features: Tensor, k: int) -> Tensor:
    """Return the distances to the k nearest neighbours, ascending (n k+1); column 0 is the point itself."""
    nearest = features.new_full((len(features), k + 1), torch.inf)
    for rows, _, distances in blocks(features, features):
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
    """Return precision, recall (arXiv:1904.06991), density and coverage (arXiv:2002.09797).

    The ball of a point has the radius of its distance to the k-th nearest other point of its own set.
    - precision: share of fakes inside some real ball (boundary included).
    - recall: share of reals inside some fake ball (boundary included).
    - density: mean number of real balls that contain a fake, divided by k (boundary excluded, as in the authors' code).
    - coverage: share of real balls that contain a fake (boundary excluded).

    real: (n d), fake: (m d), float32 or float64. real_neighbours: `neighbour_distances(real, max(k_precision,
    k_density))`, if known. Raises ValueError if a set has at most k points or is not finite.
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
    for rows, columns, distances in blocks(real, fake):
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
    """Return improved precision and recall (arXiv:1904.06991, equation 1); see `manifold_figures`."""
    figures = manifold_figures(real, fake, k_precision=k, k_density=k)
    return figures["precision"], figures["recall"]


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Return density and coverage (arXiv:2002.09797, equations 3 and 4); see `manifold_figures`."""
    figures = manifold_figures(real, fake, k_precision=k, k_density=k)
    return figures["density"], figures["coverage"]
