"""Random numbers as a function of (seed, rank, step, update), so that a checkpoint holds no generator states.

Training draws with `normal`, `uniform` and `integers`. With several ranks, each one draws for the whole batch and keeps
its own samples, so that N ranks draw what one process would.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gan_lab.distributed import collectives


def mix(seed: int, *parts: int | str) -> int:
    """Derive a 63-bit seed from a run's seed and `parts`, which identify the use. Stable across versions."""
    text = ":".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators for a block, and restore the caller's afterwards."""
    global _shared
    devices, before = [] if device.type == "cpu" else [device], _shared
    _shared = None
    try:
        with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
            _seed(seed, device)
            yield
    finally:
        _shared = before


_shared: torch.Generator | None = None  # in the same state on all ranks


def _seed(number: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of `device`. torch.manual_seed goes through every kind of device."""
    generators = torch.cuda.default_generators if device.type == "cuda" else ()  # empty before CUDA's first use
    if device.type != "cpu" and not generators:
        torch.manual_seed(number)
        return
    torch.default_generator.manual_seed(number)
    if generators:
        generators[torch.cuda.current_device() if device.index is None else device.index].manual_seed(number)


@contextmanager
def step_randomness(seed: int, step: int, update: int, device: torch.device) -> Iterator[None]:
    """Seed the random numbers of one update: shared draws are equal on every rank, others differ by rank."""
    global _shared
    _seed(mix(seed, collectives.rank(), step, update), device)
    if collectives.active():
        _shared = torch.Generator(device).manual_seed(mix(seed, 0, step, update))
    try:
        yield
    finally:
        _shared = None


def _draw(function: Callable[..., Tensor], shape: Sequence[int], batch_dim: int | None, **kind: Any) -> Tensor:
    if _shared is None:
        return function(size=tuple(shape), **kind)
    whole, size = list(shape), collectives.size()
    if batch_dim is not None:
        whole[batch_dim] *= size
    drawn = function(size=tuple(whole), generator=_shared, **kind)
    if batch_dim is None:
        return drawn
    # Sample i of rank r is sample i * size + r of the whole batch, as in TrainingImages.
    return drawn[(slice(None),) * batch_dim + (slice(collectives.rank(), None, size),)]


def normal(shape: Sequence[int], *, batch_dim: int | None = 0, **kind: Any) -> Tensor:
    """Draw standard normal numbers. Dimension `batch_dim` counts samples; None draws equal numbers on every rank."""
    return _draw(torch.randn, shape, batch_dim, **kind)


def uniform(shape: Sequence[int], *, batch_dim: int | None = 0, **kind: Any) -> Tensor:
    """Draw uniform numbers in [0, 1). `batch_dim` as in `normal`."""
    return _draw(torch.rand, shape, batch_dim, **kind)


def integers(low: int, high: int, shape: Sequence[int], *, batch_dim: int | None = 0, **kind: Any) -> Tensor:
    """Draw uniform integers in [low, high). `batch_dim` as in `normal`."""
    return _draw(partial(torch.randint, low, high), shape, batch_dim, **kind)
