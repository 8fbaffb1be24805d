"""Choose the reals of an evaluation, and cache their statistics on disk."""

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
    """Return `wanted` distinct indices below `available` in a random order that is the same on every machine."""
    order = np.random.RandomState(CHOICE_SEED).permutation(available)
    return torch.from_numpy(order[:wanted].astype(np.int64))


def read_tensors(path: Path, names: Collection[str], device: torch.device) -> dict[str, Tensor] | None:
    """Read the named tensors of a file. Returns None if it is missing or damaged."""
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
    """Return the named tensors at `path`; compute and store them if the file is missing or damaged.

    Two processes may do so at once: each writes its own temporary file and renames it, so no reader sees a partial
    file.
    """
    found = read_tensors(path, names, device)
    if found is None:
        found = compute()
        write_tensors(path, found)
    return found
