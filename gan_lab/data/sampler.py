"""The order of training images, as a pure function: no state to save, and any draw computable on its own.

Epoch e is a permutation of all n images that depends on (seed, e) alone; training reads the endless
concatenation of epochs from position 0. A batch may reach over the end of an epoch, so none of them is short
and no image is left out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_ORDER, _FLIPS = 0, 1  # separate streams of one epoch


def _rng(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed % 2**64, epoch, stream])


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    return torch.from_numpy(_rng(seed, epoch, _ORDER).permutation(n))


@lru_cache(maxsize=2)
def _flips(seed: int, epoch: int, n: int) -> Tensor:
    return torch.from_numpy(_rng(seed, epoch, _FLIPS).integers(0, 2, size=n, dtype=np.uint8).astype(bool))


def pieces(start: int, count: int, n: int) -> list[tuple[int, slice]]:
    """Positions start..start+count as (epoch, slice within that epoch), in order."""
    if start < 0 or count < 1 or n < 1:
        raise ValueError(f"start must be >= 0, count and n >= 1; got start={start}, count={count}, n={n}.")
    found, position, end = [], start, start + count
    while position < end:
        epoch, first = divmod(position, n)
        last = min(n, first + end - position)
        found.append((epoch, slice(first, last)))
        position += last - first
    return found


def indices(seed: int, start: int, count: int, n: int) -> Tensor:
    """The images at positions start..start+count of the endless shuffled sequence: int64 count."""
    return torch.cat([_permutation(seed, epoch, n)[part] for epoch, part in pieces(start, count, n)])


def flips(seed: int, start: int, count: int, n: int) -> Tensor:
    """Whether the image at each position is mirrored, bool count: a fair coin, independent of the order."""
    return torch.cat([_flips(seed, epoch, n)[part] for epoch, part in pieces(start, count, n)])
