"""torch's fused Adam on a CPU, without its copies of channels_last tensors, and right whatever order they lie in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _as_it_lies(tensor: Tensor, p: Tensor) -> Tensor:
    """`tensor`, or a copy of it, with its entries in memory in the order of those of `p`."""
    sizes = zip(p.shape, tensor.stride(), p.stride(), strict=True)
    return tensor if all(n == 1 or a == b for n, a, b in sizes) else torch.empty_like(p).copy_(tensor)


class _Flat:
    """Mixed into Adam or AdamW: the fused kernel sees channels_last tensors as the flat memory that they are.

    The kernel (torch 2.15) copies what is not contiguous, which doubles its time, and takes gradients and moments for
    laid out as the parameter is. The update is elementwise: any order will do that is the same for all.
    """

    state: Any

    def _init_group(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], *rest: Any) -> Any:
        for p in group["params"] if group["fused"] else ():
            moments = self.state.get(p, {})
            for name, moment in moments.items():
                if moment.shape == p.shape and p.is_cpu:
                    moments[name] = _as_it_lies(moment, p)
        found = super()._init_group(group, params, grads, *rest)  # type: ignore[misc]
        for i, p in enumerate(params) if group["fused"] else ():
            if not p.is_cpu:
                continue
            grads[i] = _as_it_lies(grads[i], p)
            if p.dim() == 4 and not p.is_contiguous() and p.is_contiguous(memory_format=torch.channels_last):
                for tensors in filter(None, (params, grads, *rest[:-1])):  # the last are the steps' numbers
                    tensors[i] = tensors[i].as_strided((p.numel(),), (1,))
        return found


def with_flat_tensors(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let a fused Adam or AdamW of torch's work as `_Flat` does; others stay as they are. Same object, same state."""
    kind = type(optimizer)
    if kind in (torch.optim.Adam, torch.optim.AdamW) and optimizer.defaults.get("fused"):
        optimizer.__class__ = type(kind.__name__, (_Flat, kind), {})
    return optimizer
