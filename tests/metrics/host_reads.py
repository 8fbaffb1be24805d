"""What would make a CPU wait for a GPU, counted on a CPU."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class HostReads(TorchDispatchMode):
    """Counts the operations that would make a CPU wait for a GPU: reading a number, and results of unknown size."""

    WAITING = ("_local_scalar_dense", "item", "nonzero", "masked_select", "bincount", "unique", "equal", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        masked = any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)
        if masked or any(word in name for word in self.WAITING):
            self.found.append(name)
        return func(*args, **(kwargs or {}))
