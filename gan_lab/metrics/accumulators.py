"""Accumulators of what metrics need, fed batch by batch and added up over ranks.

Every sample has a position 0 .. n-1 in the evaluation, and a batch is a run of them. Positions, not the order of
arrival, decide what a sample counts for, so any division of the batches over ranks gives the same figures. Nothing here
reads a number from a device, so that a GPU is never waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.metrics.base import OF_FEATURES, Gaussian


class GaussianStatistics:
    """Running sums in float64 of the features of the first `limit` samples (None: of all)."""

    def __init__(self, num_features: int, device: torch.device | str = "cpu", limit: int | None = None) -> None:
        self.total = torch.zeros(num_features, dtype=torch.float64, device=device)
        self.outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.limit = limit

    def update(self, features: Tensor, start: int = 0) -> None:
        """Add features (b d) of the samples from position `start` on."""
        if self.limit is not None:
            features = features[: max(0, self.limit - start)]
        x = features.to(torch.float64)
        self.total += x.sum(dim=0)
        self.outer.addmm_(x.T, x)
        self.count += len(x)

    def add_ranks(self) -> None:
        """Add what all ranks accumulated."""
        for state in (self.total, self.outer, self.count):
            distributed.all_reduce(state)

    def compute(self) -> Gaussian:
        """Mean, unbiased covariance and count; the covariance of fewer than two samples is NaN."""
        n = int(self.count)
        mean = self.total / n
        if n < 2:
            return Gaussian(mean, torch.full_like(self.outer, torch.nan), n)
        return Gaussian(mean, (self.outer - n * torch.outer(mean, mean)) / (n - 1), n)


class Rows:
    """One row of values for each of the first `limit` samples, by position: features, logits, labels or images."""

    def __init__(self, limit: int, device: torch.device | str = "cpu") -> None:
        self.limit, self.device = limit, device
        self.values: Tensor | None = None  # limit ...

    def update(self, values: Tensor, start: int) -> None:
        """Keep values (b ...) of the samples from position `start` on."""
        values = values[: max(0, self.limit - start)]
        if self.values is None:
            self.values = self._zeros(values.shape[1:], values.dtype)
        if values.shape[1:] != self.values.shape[1:]:
            raise UserError(f"the images are of several sizes, {_size(self.values)} and {_size(values)}, and a metric "
                            "that reads them needs one")  # fmt: skip
        self.values[start : start + len(values)] = values

    def add_ranks(self) -> None:
        """Take in the rows of all ranks. One rank wrote each row, and it is zero elsewhere, so their sum is it."""
        row = None if self.values is None else (self.values.shape[1:], self.values.dtype)
        row = collectives.from_first(row)  # rank 0 has the first batch; others may have none
        values = self._zeros(*row) if self.values is None else self.values  # type: ignore[misc]
        distributed.all_reduce(values)
        self.values = values

    def _zeros(self, shape: Iterable[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(self.limit, *shape, dtype=dtype, device=self.device)

    def compute(self) -> Tensor:
        """All rows (limit ...)."""
        assert self.values is not None, "nothing was accumulated"
        return self.values


def _size(images: Tensor) -> str:
    return f"{images.shape[-1]} x {images.shape[-2]}"


class Accumulators:
    """Accumulators of one side; `limits` says of how many of the first samples each attribute of `Statistics` is."""

    def __init__(self, limits: Mapping[str, int], num_features: int, device: torch.device) -> None:
        self.parts: dict[str, GaussianStatistics | Rows] = {
            need: GaussianStatistics(num_features, device, limit) if need == "gaussian" else Rows(limit, device)
            for need, limit in limits.items()
        }

    def update(self, start: int, batch: Mapping[str, Tensor]) -> None:
        """Add a batch from position `start` on; it has what is accumulated, by its name."""
        for need, part in self.parts.items():
            part.update(batch["features" if need in OF_FEATURES else need], start)

    def add_ranks(self) -> None:
        """Make every rank hold what all of them accumulated."""
        for part in self.parts.values():
            part.add_ranks()

    def compute(self) -> dict[str, Any]:
        """What was accumulated, by its name in `Statistics`."""
        return {need: part.compute() for need, part in self.parts.items()}
