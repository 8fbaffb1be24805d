"""The metrics' states: sums and features that accumulate batch by batch and add up over ranks.

Every sample has a position 0 .. total-1 in the evaluation, given with its features. Positions, not the order
of arrival, decide which split or subset a sample is in, so any division of the samples over ranks gives the
same figures. Each state is written once, without saying what it accumulates in: `Accumulator` below, which training
uses, or torchmetrics in `modules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_lab.metrics import functional
from gan_lab.metrics.accumulator import Accumulator


class State(nn.Module):
    """What the states ask of their other base."""

    add_state: Callable[..., None]


class GaussianStatisticsState(State):
    """Running sums of features in float64; `compute` gives mean (d), covariance (d d) and count."""

    total: Tensor
    outer: Tensor
    count: Tensor

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(num_features, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("outer", torch.zeros(num_features, num_features, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, features: Tensor) -> None:
        """Adds features (b d)."""
        x = features.to(torch.float64)
        self.total += x.sum(dim=0)
        self.outer.addmm_(x.T, x)
        self.count += len(x)

    def compute(self) -> tuple[Tensor, Tensor, int]:
        """Mean and unbiased covariance; the covariance of fewer than two samples is NaN."""
        n = int(self.count)
        mean = self.total / n
        if n < 2:
            return mean, torch.full_like(self.outer, torch.nan), n
        return mean, (self.outer - n * torch.outer(mean, mean)) / (n - 1), n


class FrechetDistanceState(GaussianStatisticsState):
    """Frechet distance of what is accumulated to fixed reference statistics (mean d, covariance d d)."""

    def __init__(self, mean: Tensor, cov: Tensor, root: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(len(mean), **kwargs)
        self.register_buffer("real_mean", mean.to(torch.float64), persistent=False)
        self.register_buffer("real_cov", cov.to(torch.float64), persistent=False)
        self.register_buffer("real_root", functional.covariance_root(cov) if root is None else root, persistent=False)

    def compute(self) -> float:  # type: ignore[override]
        """The distance; ValueError from fewer than two samples."""
        mean, cov, _ = super().compute()
        real: Any = (self.real_mean, self.real_cov, self.real_root)
        return functional.frechet_distance(mean, cov, *real)


class InceptionScoreState(State):
    """Inception score from sums per split, without keeping logits.

    `total` samples are expected; `splits` contiguous ranges of positions. With a `seed`, positions are first
    permuted as in `functional.inception_score`.
    """

    sum_p: Tensor
    sum_plogp: Tensor
    counts: Tensor

    def __init__(self, num_logits: int, total: int, splits: int = 10, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 1 <= splits <= total:
            raise ValueError(f"splits must lie between 1 and the number of samples {total}, not {splits}")
        place = torch.arange(total)
        if seed is not None:
            order = torch.from_numpy(np.random.RandomState(seed).permutation(total))
            place[order] = torch.arange(total)
        self.register_buffer("split_of", functional.split_of_positions(place, total, splits), persistent=False)
        self.add_state("sum_p", torch.zeros(splits, num_logits, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("sum_plogp", torch.zeros(splits, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(splits, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, positions: Tensor) -> None:
        """Adds logits (b k) of the samples at `positions` (b)."""
        part = self.split_of[positions.to(self.split_of.device)]  # type: ignore[index,arg-type]
        log_p = logits.to(torch.float64).log_softmax(dim=1)
        p = log_p.exp()
        self.sum_p.index_add_(0, part, p)
        plogp = torch.where(p > 0, p * log_p, torch.zeros_like(p)).sum(dim=1)
        self.sum_plogp.index_add_(0, part, plogp)
        self.counts += torch.bincount(part, minlength=len(self.counts))

    def compute(self) -> tuple[float, float]:
        """Mean and population standard deviation over the splits."""
        return functional.inception_score_of_sums(self.sum_p, self.sum_plogp, self.counts)


class FeatureBankState(State):
    """Keeps float32 features for the figures of pairs of samples; `compute` orders them by position.

    Only positions below `limit` are kept. The blocks are freed while they are put in order, so that the peak
    is the features once, not twice.
    """

    features: list[Tensor]
    positions: list[Tensor]

    def __init__(self, limit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("positions", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, positions: Tensor) -> None:
        """Adds features (b d) of the samples at `positions` (b)."""
        keep = positions < self.limit
        if keep.any() or not self.features:  # a rank without samples still takes part in the gathering
            self.features.append(features[keep.to(features.device)].float())
            self.positions.append(positions[keep].to(features.device))

    def compute(self) -> Tensor:
        """Features (n d) by position."""
        if isinstance(self.features, Tensor):  # gathered from all ranks
            return self.features[self.positions.argsort()]  # type: ignore[attr-defined]
        if not self.features:
            raise ValueError("no features were accumulated")
        place = torch.cat(self.positions).argsort().argsort()  # position -> row, also with gaps
        out = torch.empty(len(place), self.features[0].shape[1], device=place.device)
        start, blocks = 0, self.features
        while blocks:
            block = blocks.pop(0)
            out[place[start : start + len(block)]] = block
            start += len(block)
        order = torch.cat(self.positions).sort().values
        self.features, self.positions = [out], [order]
        return out


class ModeCountsState(State):
    """How often each class is the most likely one; `compute` gives the histogram (k)."""

    counts: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor) -> None:
        """Adds logits (b k)."""
        self.counts += torch.bincount(logits.argmax(dim=1), minlength=len(self.counts))

    def compute(self) -> Tensor:
        """Samples per class."""
        return self.counts


class GaussianStatistics(GaussianStatisticsState, Accumulator):
    __doc__ = GaussianStatisticsState.__doc__


class FrechetDistance(FrechetDistanceState, Accumulator):
    __doc__ = FrechetDistanceState.__doc__


class InceptionScore(InceptionScoreState, Accumulator):
    __doc__ = InceptionScoreState.__doc__


class FeatureBank(FeatureBankState, Accumulator):
    __doc__ = FeatureBankState.__doc__


class ModeCounts(ModeCountsState, Accumulator):
    __doc__ = ModeCountsState.__doc__
