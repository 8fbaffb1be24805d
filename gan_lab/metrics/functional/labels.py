"""Distance between class histograms."""

import torch

from gan_lab.metrics.functional.checks import ArrayLike, as_float64


def label_divergence(counts: ArrayLike, reference: ArrayLike) -> float:
    """Return KL(counts | reference) in nats of two histograms over the same classes.

    Classes with counts but without reference get half a reference count, so that the result is finite.
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
