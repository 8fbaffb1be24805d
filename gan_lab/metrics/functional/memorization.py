"""Nearest neighbours in feature space, and the share of samples that copy training images."""

import torch
from torch import Tensor

from gan_lab.metrics.functional.manifold import blocks

_SPARE = 8  # candidates beyond k: matrix products order near ties wrongly


def nearest_neighbours(a: Tensor, b: Tensor, k: int, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distances (n k, ascending) and indices (n k) of the k rows of b (m d) nearest to each of a.

    Candidates come from matrix products, their distances from differences: those of equal rows are 0. skip (n): the
    index of a row of b that each row of a may not choose. ValueError unless k rows of b can be chosen.
    """
    if not 1 <= k <= len(b) - (skip is not None):
        raise ValueError(f"k = {k} neighbours cannot be chosen among {len(b)}")
    count = min(k + _SPARE, len(b))
    best = a.new_full((len(a), count), torch.inf)
    index = torch.zeros(len(a), count, dtype=torch.int64, device=a.device)
    for rows, columns, distances in blocks(a, b):
        if skip is not None:
            own = skip[rows, None] == torch.arange(columns.start, columns.stop, device=a.device)
            distances = distances.masked_fill(own, torch.inf)
        near = distances.topk(min(count, distances.shape[1]), largest=False)
        merged = torch.cat([best[rows], near.values], dim=1).topk(count, largest=False)
        best[rows] = merged.values
        index[rows] = torch.cat([index[rows], near.indices + columns.start], dim=1).gather(1, merged.indices)
    exact = torch.stack([(x - b[i]).double().norm(dim=1) for x, i in zip(a, index, strict=True)])
    exact = exact.masked_fill(best.isinf(), torch.inf)  # places that no row filled
    order = exact.argsort(dim=1)[:, :k]
    return exact.gather(1, order), index.gather(1, order)


def copies(samples: Tensor, train: Tensor) -> Tensor:
    """Return which samples (n d) are nearer to a training image than that image is to every other one (m d): n, bool.

    A sample x with nearest training image t counts if |x - t| < min over t' != t of |t - t'|. This is one minus the
    authenticity of arXiv:2102.08921, section 2. Held-out images count at a rate of their own: only a higher share of
    the samples is a sign of memorization. ValueError for fewer than two training images.
    """
    distance, nearest = nearest_neighbours(samples, train, 1)
    own, place = nearest[:, 0].unique(return_inverse=True)
    between, _ = nearest_neighbours(train[own], train, 1, skip=own)
    return distance[:, 0] < between[place, 0]
