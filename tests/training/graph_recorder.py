"""CUDA graphs without a GPU: records the operators of an update and runs them again on the same tensors.

Like the real thing it freezes every number that Python computes, repeats addresses, leaves the state alone while it
captures, refuses what would wait for the device or copy from the host, and leaves the process in capture when it fails.
"""

from contextlib import contextmanager
from itertools import count
from numbers import Number

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_lab.training import accelerate, optimize

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "_unique2", "masked_select")  # read numbers on the host
FROM_HOST = ("lift_fresh",)  # torch.tensor(...)
DRAWS = ("randn", "rand", "randint", "randperm")


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
    def __init__(self, graph, permitted):
        super().__init__()
        self.graph, self.refused = graph, [name for name in WAITS + FROM_HOST if name not in permitted]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in self.refused:
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


class Stream:
    def wait_stream(self, other):
        pass


class Device:
    """What a GPU's process holds besides tensors: its stream, the generator's flag, and the pool being recorded to."""

    def __init__(self):
        self.stream, self.capturing, self.generator_captures, self.recording = Stream(), False, False, set()

    def graphsafe_set_state(self, state):
        assert isinstance(state, torch.Generator)
        self.generator_captures = False

    def end_allocate(self, index, pool):
        if pool not in self.recording:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.recording.remove(pool)

    def set_stream(self, stream):
        self.stream = stream

    @contextmanager
    def on(self, stream):
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before


class Graphs(list):
    """The graphs captured so far, and the `device` that they were captured on."""

    device: Device


def install(monkeypatch, x, graph_class=Graph, permitted=()):
    """Let `accelerate` believe that `x` is on a GPU; returns the graphs as they are captured.

    A capture that fails does what torch 2.11 does: `capture_end` raises an error of its own, and stream, generator and
    pool stay as they were in it.
    """
    graphs, device, handles = Graphs(), Device(), count(1)

    def make():
        graphs.append(graph_class())
        return graphs[-1]

    @contextmanager
    def capture(graph, *, pool, stream, **_):
        state = [t for part in accelerate.changing(x) for t in part]
        before, outside = [t.clone() for t in state], device.stream
        device.capturing = device.generator_captures = True
        device.stream = stream
        device.recording.add(pool)
        graph.pool = pool
        try:
            with _NumbersOnDevice(), _Recording(graph, permitted):
                yield
        except Exception:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")  # noqa: B904
        else:
            device.generator_captures, device.stream = False, outside
            device.recording.remove(pool)
        finally:
            device.capturing = False
            optimize.copy_all_(state, before)

    def drawing(draw):
        def drawn(*args, **kwargs):
            if device.generator_captures and not device.capturing:
                raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
            return draw(*args, **kwargs)

        return drawn

    fakes = {
        "CUDAGraph": make, "graph": capture, "graph_pool_handle": lambda: (0, next(handles)),
        "Stream": lambda device: Stream(),
        "stream": device.on, "current_stream": lambda _=None: device.stream, "set_stream": device.set_stream,
        "is_current_stream_capturing": lambda: device.capturing, "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state), "current_device": lambda: 0,
        "default_generators": (device,),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in DRAWS:
        monkeypatch.setattr(torch, name, drawing(getattr(torch, name)))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", device.end_allocate, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda index, pool: None, raising=False)
    monkeypatch.setattr(accelerate, "no_graph", lambda x, trusting: None)
    monkeypatch.setattr(optimize, "reading_waits", lambda flag: True)
    graphs.device = device
    return graphs
