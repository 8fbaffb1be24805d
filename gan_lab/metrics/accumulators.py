"""Collect what metrics need, batch by batch, and sum it over ranks.

Every sample has a position 0 .. n-1 in the evaluation, and a batch covers consecutive positions. Results depend on
positions, not on the order of arrival, so they are the same however the batches are divided over ranks. No update
reads a value from the device, so none of them waits for a GPU.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.linalg import as_float64, float64_device
from gan_lab.metrics.base import OF_FEATURES, Gaussian


class GaussianStatistics:
    """Sums in float64 for the mean and covariance of the features of the first `limit` samples (None: all)."""

    def __init__(self, num_features: int, device: torch.device | str = "cpu", limit: int | None = None) -> None:
        device = float64_device(device)
        self.total = torch.zeros(num_features, dtype=torch.float64, device=device)
        self.outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.limit = limit

    def update(self, features: Tensor, start: int = 0) -> None:
        """Add features (b d) whose first row has position `start`."""
        if self.limit is not None:
            features = features[: max(0, self.limit - start)]
        x = as_float64(features)
        self.total += x.sum(dim=0)
        self.outer.addmm_(x.T, x)
        self.count += len(x)

    def add_ranks(self) -> None:
        """Sum over all ranks."""
        for state in (self.total, self.outer, self.count):
            collectives.sum_(state)

    def compute(self) -> Gaussian:
        """Return mean, unbiased covariance and count. The covariance of fewer than two samples is NaN."""
        n = int(self.count)
        mean = self.total / n
        if n < 2:
            return Gaussian(mean, torch.full_like(self.outer, torch.nan), n)
        return Gaussian(mean, (self.outer - n * torch.outer(mean, mean)) / (n - 1), n)


class Rows:
    """Keep one row of values (features, logits, labels or images) for each of the first `limit` samples."""

    def __init__(self, limit: int, device: torch.device | str = "cpu") -> None:
        self.limit, self.device = limit, float64_device(device)  # where metrics can compute
        self.values: Tensor | None = None  # limit ...

    def update(self, values: Tensor, start: int) -> None:
        """Store values (b ...) whose first row has position `start`."""
        values = values[: max(0, self.limit - start)]
        if self.values is None:
            self.values = self._zeros(values.shape[1:], values.dtype)
        if values.shape[1:] != self.values.shape[1:]:
            sizes = " and ".join(f"{images.shape[-1]} x {images.shape[-2]}" for images in (self.values, values))
            raise UserError(f"the images are of several sizes, {sizes}, and a metric that reads them needs one")
        self.values[start : start + len(values)] = values

    def add_ranks(self) -> None:
        """Sum over all ranks: each row was written by one rank and is zero on the others."""
        row = None if self.values is None else (self.values.shape[1:], self.values.dtype)
        row = collectives.from_first(row)  # rank 0 has the first batch; other ranks may have none
        values = self._zeros(*row) if self.values is None else self.values  # type: ignore[misc]
        collectives.sum_(values)
        self.values = values

    def _zeros(self, shape: Iterable[int], dtype: torch.dtype) -> Tensor:
        return torch.zeros(self.limit, *shape, dtype=dtype, device=self.device)

    def compute(self) -> Tensor:
        """Return all rows (limit ...)."""
        assert self.values is not None, "nothing was accumulated"
        return self.values


class Accumulators:
    """The accumulators of one side. limits: attribute of `Statistics` -> how many of the first samples it covers."""

    def __init__(self, limits: Mapping[str, int], num_features: int, device: torch.device) -> None:
        self.parts: dict[str, GaussianStatistics | Rows] = {
            need: GaussianStatistics(num_features, device, limit) if need == "gaussian" else Rows(limit, device)
            for need, limit in limits.items()
        }

    def update(self, start: int, batch: Mapping[str, Tensor]) -> None:
        """Add a batch whose first sample has position `start`: "features", "logits", ... -> values."""
        for need, part in self.parts.items():
            part.update(batch["features" if need in OF_FEATURES else need], start)

    def add_ranks(self) -> None:
        """Sum over all ranks, in an order that is the same on each of them."""
        for need in sorted(self.parts):
            self.parts[need].add_ranks()

    def compute(self) -> dict[str, Any]:
        """Return attribute of `Statistics` -> value."""
        return {need: part.compute() for need, part in self.parts.items()}
