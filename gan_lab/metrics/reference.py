"""Statistics of the reals: which of them are compared with, and what was measured of these, kept on disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gan_lab.files import write_atomically

CHOICE_SEED = 0


def chosen_indices(available: int, wanted: int) -> Tensor:
    """`wanted` distinct indices below `available` in random order, the same on every machine."""
    order = np.random.RandomState(CHOICE_SEED).permutation(available)
    return torch.from_numpy(order[:wanted].astype(np.int64))


def read_tensors(path: Path, names: Collection[str], device: torch.device) -> dict[str, Tensor] | None:
    """The named tensors of a file, or None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        stored = load_file(path)
        return {name: stored[name].to(device) for name in names}
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        warnings.warn(f"{path} is damaged ({error}); the statistics are computed again", stacklevel=2)
        return None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Store the tensors atomically. If the disk fails, only warn: that costs the cache, not the evaluation."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}))
    except OSError as error:
        warnings.warn(f"{path}: the real statistics could not be stored ({error}); continuing without", stacklevel=2)


def cached(
    path: Path, names: Collection[str], device: torch.device, compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The named tensors at `path`, computed and stored where they are not there yet.

    Two processes may compute the same ones at once: each writes a file of its own and renames it, so a reader
    sees a whole file or none.
    """
    found = read_tensors(path, names, device)
    if found is None:
        found = compute()
        write_tensors(path, found)
    return found
