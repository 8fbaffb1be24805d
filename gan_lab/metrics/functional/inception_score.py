"""Inception score, exp(E KL(p(y|x) | p(y)))."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.functional.checks import ArrayLike, need_matrix

_ROWS = 4096  # logits in float64 at a time


def _score(logits: Tensor) -> Tensor:
    """Return exp(mean KL(p | q)) of logits (n k) as exp(mean sum p log p - sum q log q), where q is the mean of p."""
    sum_p = logits.new_zeros(logits.shape[1], dtype=torch.float64)
    sum_plogp = logits.new_zeros((), dtype=torch.float64)
    for part in logits.split(_ROWS):
        log_p = part.to(torch.float64).log_softmax(dim=1)
        p = log_p.exp()
        sum_p += p.sum(dim=0)
        # -inf logits (a class that is impossible) give 0 * -inf; the limit of p log p is 0
        sum_plogp += torch.where(p > 0, p * log_p, torch.zeros_like(p)).sum()
    q = sum_p / len(logits)
    return torch.exp(sum_plogp / len(logits) - torch.xlogy(q, q).sum())


def inception_score(logits: ArrayLike, splits: int = 10, seed: int | None = None) -> tuple[float, float]:
    """Return mean and population standard deviation of the score over `splits` contiguous parts (arXiv:1606.03498).

    logits: (n k). seed: shuffle them first, with NumPy's legacy permutation, as torch-fidelity does (its default seed
    is 2020). Images sorted by class need that.
    """
    logits = torch.as_tensor(logits).detach()
    need_matrix("inception_score", logits, 1)
    n = len(logits)
    if not 1 <= splits <= n:
        raise ValueError(f"splits must lie between 1 and the number of samples {n}, not {splits}")
    if seed is not None:
        logits = logits[torch.from_numpy(np.random.RandomState(seed).permutation(n)).to(logits.device)]
    bounds = pairwise(i * n // splits for i in range(splits + 1))
    scores = torch.stack([_score(logits[start:stop]) for start, stop in bounds])
    if not torch.isfinite(scores).all():
        raise ValueError("the logits are not finite: some image or some weight of the backbone is NaN or inf")
    return float(scores.mean()), float(scores.std(correction=0))
