"""How the classes of two sets differ."""

from __future__ import annotations

import torch

from gan_lab.metrics.functional.checks import ArrayLike, as_float64


def label_divergence(counts: ArrayLike, reference: ArrayLike) -> float:
    """KL(counts | reference) in nats of two histograms over the same classes.

    A class without reference weight is given half a count, so that the figure stays finite where it is hit.
    """
    p, q = as_float64(counts), as_float64(reference)
    if p.shape != q.shape or p.ndim != 1:
        raise ValueError(f"the histograms have the shapes {tuple(p.shape)} and {tuple(q.shape)}")
    if p.sum() <= 0 or q.sum() <= 0:
        raise ValueError("a histogram is empty")
    q = torch.where((q == 0) & (p > 0), torch.full_like(q, 0.5), q)
    p, q = p / p.sum(), q / q.sum()
    hit = p > 0
    return float((p[hit] * (p[hit] / q[hit]).log()).sum())
