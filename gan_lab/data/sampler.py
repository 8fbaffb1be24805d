"""The order of training images as a pure function of the seed: there is no state to save.

Epoch e is a permutation of all n images that depends only on (seed, e). Training reads the endless concatenation of
epochs from position 0. A batch may continue into the next epoch, so no batch is short and no image is left out.
"""

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
    """Split the positions start..start+count into (epoch, slice within that epoch), in order."""
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
    """Return the images at positions start..start+count of the endless shuffled sequence: int64 count."""
    return torch.cat([_permutation(seed, epoch, n)[part] for epoch, part in pieces(start, count, n)])


def flips(seed: int, start: int, count: int, n: int) -> Tensor:
    """Return whether the image at each position is mirrored: bool count, a fair coin independent of the order."""
    return torch.cat([_flips(seed, epoch, n)[part] for epoch, part in pieces(start, count, n)])
