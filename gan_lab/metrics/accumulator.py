"""States that accumulate batch by batch and add up over ranks.

The part of torchmetrics.Metric that an evaluation needs, under the same names. torchmetrics itself imports
torchvision, matplotlib and scipy.signal, which takes longer than importing torch does; `modules` has the states on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, distributed, nn

from gan_lab.distributed import collectives


class Accumulator(nn.Module):
    """Base of the metrics' states: `add_state` in `__init__`, then `update` and `compute`, and `reset`.

    In a process group, `compute` sees the states of all ranks (sums added, lists concatenated in the order of ranks)
    unless `sync_on_compute` is false; afterwards each rank has its own again.
    """

    def __init__(self, sync_on_compute: bool = True) -> None:
        super().__init__()
        self.sync_on_compute = sync_on_compute
        self._defaults: dict[str, Tensor | None] = {}
        self._inside = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if hasattr(cls, "compute"):
            cls.compute = _on_all_ranks(cls.compute)

    def add_state(self, name: str, default: Tensor | list[Tensor], dist_reduce_fx: str) -> None:
        """A tensor that is summed ("sum") over ranks, or a list of blocks that is concatenated ("cat")."""
        if isinstance(default, Tensor) != (dist_reduce_fx == "sum"):
            raise ValueError(f"{name}: a tensor is reduced by sum, a list by cat, not {dist_reduce_fx}")
        if isinstance(default, Tensor):
            self.register_buffer(name, default.clone(), persistent=False)
        self._defaults[name] = default.clone() if isinstance(default, Tensor) else None
        if not isinstance(default, Tensor):
            setattr(self, name, [])

    def reset(self) -> None:
        """Everything as before the first update."""
        for name, default in self._defaults.items():
            if default is None:
                setattr(self, name, [])
            else:
                state = getattr(self, name)
                setattr(self, name, default.to(state.device, copy=True))

    @contextmanager
    def _of_all_ranks(self) -> Iterator[None]:
        if self._inside or not (self.sync_on_compute and collectives.active()):
            yield
            return
        own = {name: getattr(self, name) for name in self._defaults}
        self._inside = True
        try:
            for name, state in own.items():
                setattr(self, name, _sum(state) if isinstance(state, Tensor) else _concatenated(state))
            yield
        finally:
            self._inside = False
            for name, state in own.items():
                setattr(self, name, state)


def _on_all_ranks(compute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(compute)
    def computed(self: Accumulator) -> Any:
        with self._of_all_ranks():
            return compute(self)

    return computed


def _sum(state: Tensor) -> Tensor:
    total = state.clone()
    distributed.all_reduce(total)
    return total


def _concatenated(blocks: list[Tensor]) -> Tensor:
    """All ranks' blocks along the first dimension; every rank has at least one block, which may be empty."""
    mine = torch.cat(blocks)
    counts = [torch.zeros((), dtype=torch.int64, device=mine.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, torch.tensor(len(mine), device=mine.device))
    longest = max(int(count) for count in counts)
    padded = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
    found = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(found, padded)
    return torch.cat([part[: int(count)] for part, count in zip(found, counts, strict=True)])
