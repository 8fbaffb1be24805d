"""CUDA graphs without a GPU: records the operators of an update and runs them again on the same tensors.

Like the real thing it freezes every number that Python computes, repeats addresses, leaves the state alone while it
captures, and refuses what would wait for the device or copy from the host.
"""

from contextlib import contextmanager, nullcontext
from numbers import Number

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_lab.training import accelerate, step

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "_unique2", "masked_select")  # read numbers on the host
FROM_HOST = ("lift_fresh",)  # torch.tensor(...)


class Graph:
    def __init__(self):
        self.calls, self.replays = [], 0

    def replay(self):
        self.replays += 1
        with torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, recorded in self.calls:
                found = [t for t in tree_leaves(func(*args, **kwargs)) if isinstance(t, torch.Tensor)]
                for old, new in zip(recorded, found, strict=True):
                    if old.data_ptr() != new.data_ptr():  # else a view, or done in place
                        old.copy_(new)


class _Recording(TorchDispatchMode):
    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS + FROM_HOST:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        found = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(found) if isinstance(t, torch.Tensor)]
        self.graph.calls.append((func, args, kwargs or {}, tensors))
        return found


class _NumbersOnDevice(TorchFunctionMode):
    """Make the number of `x[...] = number` where x is, as a GPU does: torch 2.14 takes it from the host for a CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__setitem__ and isinstance(args[2], Number):
            args = (*args[:2], args[0].new_full((), args[2]))
        return func(*args, **(kwargs or {}))


class _Stream:
    def wait_stream(self, other):
        pass


def install(monkeypatch, x, graph_class=Graph):
    """Let `accelerate` believe that `x` is on a GPU; returns the list of graphs as they are captured."""
    graphs, capturing = [], [False]

    def make():
        graphs.append(graph_class())
        return graphs[-1]

    @contextmanager
    def capture(graph, **_):
        state = [t for part in accelerate.changing(x) for t in part]
        before = [t.clone() for t in state]
        capturing[0] = True
        try:
            with _Recording(graph), _NumbersOnDevice():
                yield
        finally:
            capturing[0] = False
            torch._foreach_copy_(state, before)

    fakes = {
        "CUDAGraph": make, "graph": capture, "graph_pool_handle": lambda: None, "Stream": lambda device: _Stream(),
        "stream": lambda stream: nullcontext(), "current_stream": lambda device: _Stream(),
        "is_current_stream_capturing": lambda: capturing[0], "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(accelerate, "no_graph", lambda x, trusting: None)
    monkeypatch.setattr(step, "reading_waits", lambda flag: True)
    return graphs
