"""Counting the kernels that a piece of work launches, by the profiler."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from scripts.benchmarks.harness import Work

# Operators that compute nothing: they allocate, look at a tensor in another shape, or ask for its properties.
_FREE = """
alias as_strided broadcast_tensors can_cast chunk detach empty empty_like empty_strided expand expand_as flatten
is_nonzero item lift_fresh _local_scalar_dense matrix_H movedim mT narrow new_empty new_empty_strided numpy_T permute
promote_types ravel _reshape_alias reshape resize_ resolve_conj resolve_neg result_type select set_ slice split
split_with_sizes squeeze swapaxes t to transpose unbind unflatten unsafe_split_with_sizes _unsafe_view unsqueeze view
view_as
"""
FREE = frozenset(_FREE.split())
DOT = ("dot", "vdot")  # one kernel, although on a CPU it clears its result by an operator of its own


def kernel_names(work: Work, device: torch.device, again: bool = True) -> Counter[str]:
    """Kernel -> launches, in a second run of the work, which has nothing left to prepare, or unless `again` the first.

    On a GPU these are its kernels. On a CPU they are the operators that compute and call no other that does, which
    is what a GPU would launch: a dot product is one, a fused list operator (`_foreach_*`) as many as it runs.
    """
    if again:
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
            work()
            torch.cuda.synchronize(device)
        return Counter(e.name for e in found.events() if e.device_type == DeviceType.CUDA and "Mem" not in e.name[:3])
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    names: Counter[str] = Counter()
    for event in found.events():
        _count(event, names)
    return names


def _computes(event: Any) -> str | None:
    name = event.name.removeprefix("aten::")
    return name if name != event.name and name not in FREE else None


def _count(event: Any, names: Counter[str]) -> None:
    name = _computes(event)
    if name is None:
        return
    parent = event.cpu_parent
    if parent is not None and parent.name.removeprefix("aten::") in DOT:
        return
    if name in DOT or not any(_computes(inner) for inner in event.cpu_children):
        names[name] += 1


def count_kernels(work: Work, device: torch.device) -> int:
    """How many kernels one call of `work` launches, after a first one that is not counted."""
    return sum(kernel_names(work, device).values())
