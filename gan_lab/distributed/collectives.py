"""Collective operations, with which N ranks train what one process would.

In a single process every function here is the identity. The ranks are torch.distributed's default group. Only rank 0
writes files. Losses are means over the batch and every rank holds an equal share of it, so an average over ranks is the
average over the whole batch.
"""

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from gan_lab import errors
from gan_lab.errors import GanLabError, LostRankError, useful_line

T = TypeVar("T")


def active() -> bool:
    """Whether a process group of more than one rank is initialized."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """Return the rank of this process, 0 for a single one."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """Return the number of ranks that train together."""
    return distributed.get_world_size() if active() else 1


def local_rank() -> int:
    """Return the rank of this process on its machine, which is also the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK") or 0)


@contextmanager
def _lost_rank_errors() -> Iterator[None]:
    """Raise torch's error for a rank that ended as LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(
            f"rank {rank()} lost another rank ({useful_line(error)[:120]}); the same command resumes from the "
            "last checkpoint"
        ) from error


def mean(value: Tensor) -> Tensor:
    """Average `value` over ranks, without a graph."""
    return _all_reduce_mean(value.detach().clone()) if active() else value


def _all_reduce_mean(value: Tensor) -> Tensor:
    with _lost_rank_errors():
        distributed.all_reduce(value)
    return value / size()


class _Mean(torch.autograd.Function):
    """Average over ranks. Autograd differentiates the sum of all ranks' losses, so the adjoint is the average again."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return mean(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Mean.apply(grad)  # type: ignore[no-any-return]


def differentiable_mean(value: Tensor) -> Tensor:
    """Average `value` over ranks, differentiable any number of times."""
    return _Mean.apply(value) if active() else value  # type: ignore[no-any-return]


def differentiable_gather(value: Tensor) -> Tensor:
    """Concatenate the shares of all ranks (b ... -> ranks*b ...), differentiable any number of times.

    For a loss that every rank computes of the whole batch: averaging the ranks' gradients then gives that loss's.
    """
    if not active():
        return value
    others = torch.zeros_like(value)
    mine = torch.stack([value if r == rank() else others for r in range(size())])
    return (differentiable_mean(mine) * size()).flatten(0, 1)


def average_(tensors: Iterable[Tensor]) -> None:
    """Average each tensor over ranks in place: one flat all-reduce for each dtype."""
    if active():
        _update_flat(tensors, _all_reduce_mean)


def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Copy each tensor of rank 0 to all ranks, in place: one flat broadcast for each dtype."""

    def broadcast(flat: Tensor) -> Tensor:
        with _lost_rank_errors():
            distributed.broadcast(flat, 0)
        return flat

    if active():
        _update_flat(tensors, broadcast)


@torch.no_grad()
def _update_flat(tensors: Iterable[Tensor], function: Callable[[Tensor], Tensor]) -> None:
    """Replace the content of the tensors by `function` of one flat tensor for each dtype."""
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(tensor)
    for group in by_dtype.values():
        flat = function(torch.cat([t.reshape(-1) for t in group]))
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def sum_(tensor: Tensor) -> None:
    """Add up the tensor over ranks, in place."""
    if active():
        with _lost_rank_errors():
            distributed.all_reduce(tensor)


def highest(number: int) -> int:
    """Return the largest `number` of all ranks. It is sent from the CPU, so that no device is synchronized."""
    if not active():
        return number
    value = torch.tensor(number)
    with _lost_rank_errors():
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return int(value)


def from_first(thing: T, group: distributed.ProcessGroup | None = None) -> T:
    """Broadcast rank 0's object and return it on every rank."""
    if not active():
        return thing
    box: list[Any] = [thing]
    with _lost_rank_errors():
        distributed.broadcast_object_list(box, 0, group=group)
    return box[0]  # type: ignore[no-any-return]


def decided_by_first(decide: Callable[[], T], group: distributed.ProcessGroup | None = None) -> T:
    """Call `decide()` on rank 0 and return its result on every rank. A GanLabError is raised on all of them."""
    if not active():
        return decide()
    answer: Any = None
    if rank() == 0:
        try:
            answer = ("value", decide())
        except GanLabError as error:
            from_first((type(error).__name__, str(error)), group)
            raise
    kind, content = from_first(answer, group)
    if kind != "value":
        raise getattr(errors, kind)(content)
    return content  # type: ignore[no-any-return]


def first_before_others(make: Callable[[], T]) -> T:
    """Call `make()` on rank 0 and then on all others in parallel. They wait for it however long it takes.

    A group of its own has that patience: the run's group gives up a rank that packs a large folder of images.
    """
    if not active():
        return make()
    patient = distributed.new_group(backend="gloo", timeout=timedelta(days=30))
    assert isinstance(patient, distributed.ProcessGroup)  # it is a number for processes outside the group
    made: list[T] = []
    decided_by_first(lambda: made.append(make()), patient)
    return made[0] if made else make()


def processes() -> list[tuple[str, int]]:
    """Return host and process id of every rank."""
    me = (socket.gethostname(), os.getpid())
    if not active():
        return [me]
    everyone: list[Any] = [None] * size()
    with _lost_rank_errors():
        distributed.all_gather_object(everyone, me)
    return everyone


def is_first_alive(everyone: list[tuple[str, int]]) -> bool:
    """Whether this process is the first one alive on rank 0's machine, so that it may write rank 0's files."""
    host, pid = socket.gethostname(), os.getpid()
    if everyone[0][0] != host:
        return False
    for _ in range(50):  # a killed process closes its connections shortly before it ends
        first = next((p for h, p in everyone if h == host and _is_alive(p)), pid)
        if first == pid:
            return True
        time.sleep(0.1)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
