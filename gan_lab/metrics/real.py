"""Statistics of the real images, computed once and kept on disk."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gan_lab.metrics import functional
from gan_lab.metrics.manifold import neighbour_distances
from gan_lab.metrics.states import FeatureBank, GaussianStatistics, ModeCounts

CHOICE_SEED = 0


@dataclass
class RealStatistics:
    """Mean (d), covariance (d d), features of the first m (m d), counts of predicted classes (k or 0)."""

    mean: Tensor
    cov: Tensor
    features: Tensor
    counts: Tensor
    _neighbours: dict[int, Tensor] = field(default_factory=dict)
    _root: Tensor | None = None

    @property
    def root(self) -> Tensor:
        """A factor of the covariance, made on first use."""
        if self._root is None:
            self._root = functional.covariance_root(self.cov)
        return self._root

    def neighbours(self, k: int) -> Tensor:
        """Distances of each feature to its k nearest others, made on first use."""
        if k not in self._neighbours:
            self._neighbours[k] = neighbour_distances(self.features, k)
        return self._neighbours[k]

    def tensors(self) -> dict[str, Tensor]:
        """What is stored."""
        return {"mean": self.mean, "cov": self.cov, "features": self.features, "counts": self.counts}


def chosen_indices(available: int, wanted: int) -> Tensor:
    """`wanted` distinct indices below `available` in random order, the same on every machine."""
    order = np.random.RandomState(CHOICE_SEED).permutation(available)
    return torch.from_numpy(order[:wanted].astype(np.int64))


@torch.no_grad()
def measure(
    extractor: Callable[[Tensor], dict[str, Tensor]],
    get_images: Callable[[Tensor], Tensor],
    indices: Tensor,
    *,
    keep: int,
    batch_size: int,
    num_features: int,
    num_logits: int,
    device: torch.device,
) -> RealStatistics:
    """One pass over the images at `indices`; the features of the first `keep` of them are kept."""
    quiet: dict[str, Any] = {"sync_on_compute": False}
    gaussian = GaussianStatistics(num_features, **quiet).to(device)
    bank = FeatureBank(keep, **quiet)
    modes = ModeCounts(num_logits, **quiet).to(device)
    for start in range(0, len(indices), batch_size):
        part = indices[start : start + batch_size]
        taps = extractor(get_images(part))
        gaussian.update(taps["features"])
        bank.update(taps["features"], torch.arange(start, start + len(part)))
        if num_logits:
            modes.update(taps["logits"])
    mean, cov, _ = gaussian.compute()
    features = bank.compute() if keep else torch.empty(0, num_features, device=device)
    return RealStatistics(mean, cov, features, modes.compute() if num_logits else torch.empty(0))


def _read(path: Path, device: torch.device) -> RealStatistics | None:
    """The stored statistics, or None where there are none or the file is damaged."""
    if not path.is_file():
        return None
    try:
        stored = load_file(path)
        mean, cov, features, counts = (stored[k].to(device) for k in ("mean", "cov", "features", "counts"))
        return RealStatistics(mean, cov, features, counts)
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        warnings.warn(f"{path} is damaged ({error}); the statistics are computed again", stacklevel=2)
        return None


def _write(path: Path, statistics: RealStatistics) -> None:
    """Stores atomically; a disk that refuses costs the cache, not the evaluation."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(save({k: v.cpu().contiguous() for k, v in statistics.tensors().items()}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        warnings.warn(f"{path}: the real statistics could not be kept ({error}); going on without", stacklevel=2)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def cached(path: Path, device: torch.device, compute: Callable[[], RealStatistics]) -> RealStatistics:
    """The statistics at `path`, computed and stored where they are not there yet.

    Two processes may compute the same ones at once: each writes a file of its own and renames it, so a reader
    sees a whole file or none.
    """
    found = _read(path, device)
    if found is None:
        found = compute()
        _write(path, found)
    return found
