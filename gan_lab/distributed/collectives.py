"""Several processes as one: what they share, so that N ranks train what one process would.

Everything here is the identity in a single process. The processes are torch.distributed's default group; only
rank 0 writes files. Losses are means over the batch and every rank holds an equal share of it, so averages over
ranks are averages over the whole batch.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from gan_lab import errors
from gan_lab.errors import GanLabError, LostRankError

T = TypeVar("T")


def active() -> bool:
    """Whether a process group of more than one rank is up."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 for a single one."""
    return distributed.get_rank() if active() else 0


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if active() else 1


def local_rank() -> int:
    """This process's number on its machine, which is that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def _together() -> Iterator[None]:
    """What torch raises when a rank has gone, as a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(
            f"rank {rank()} lost another rank ({str(error).splitlines()[0][:120]}); the same command goes on from the "
            "last checkpoint"
        ) from error


def mean(value: Tensor) -> Tensor:
    """The average of every rank's `value`, without a graph."""
    if not active():
        return value
    total = value.detach().clone()
    with _together():
        distributed.all_reduce(total)
    return total / size()


class _Mean(torch.autograd.Function):
    """The average over ranks; what all ranks' losses add up to is differentiated, so its adjoint is itself."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return mean(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Mean.apply(grad)  # type: ignore[no-any-return]


def differentiable_mean(value: Tensor) -> Tensor:
    """`mean` with a graph, of any order."""
    return _Mean.apply(value) if active() else value  # type: ignore[no-any-return]


@torch.no_grad()
def average_(tensors: Iterable[Tensor]) -> None:
    """Put the average over ranks into each tensor: one flat all-reduce for each dtype."""
    if not active():
        return
    for group in _by_dtype(tensors):
        flat = torch.cat([t.reshape(-1) for t in group])
        with _together():
            distributed.all_reduce(flat)
        _unpack(flat / size(), group)


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Put rank 0's content into each tensor."""
    if not active():
        return
    for group in _by_dtype(tensors):
        flat = torch.cat([t.reshape(-1) for t in group])
        with _together():
            distributed.broadcast(flat, 0)
        _unpack(flat, group)


def _by_dtype(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _unpack(flat: Tensor, tensors: list[Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view(tensor.shape))
        start += tensor.numel()


def highest(number: int) -> int:
    """The largest of every rank's `number`; travels on the CPU, so that no device has to wait."""
    if not active():
        return number
    value = torch.tensor(number)
    with _together():
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
    return int(value)


def from_first(thing: T) -> T:
    """Rank 0's object on every rank."""
    if not active():
        return thing
    box: list[Any] = [thing]
    with _together():
        distributed.broadcast_object_list(box, 0)
    return box[0]  # type: ignore[no-any-return]


def decided_by_first(decide: Callable[[], T]) -> T:
    """What `decide()` returns on rank 0, on every rank; its error is raised on all of them."""
    if not active():
        return decide()
    answer: Any = None
    if rank() == 0:
        try:
            answer = ("value", decide())
        except GanLabError as error:
            from_first((type(error).__name__, str(error)))
            raise
    kind, content = from_first(answer)
    if kind != "value":
        raise getattr(errors, kind)(content)
    return content  # type: ignore[no-any-return]


def processes() -> list[tuple[str, int]]:
    """Host and process id of every rank."""
    me = (socket.gethostname(), os.getpid())
    if not active():
        return [me]
    everyone: list[Any] = [None] * size()
    with _together():
        distributed.all_gather_object(everyone, me)
    return everyone


def is_first_alive(everyone: list[tuple[str, int]]) -> bool:
    """Whether this process is the first of those still alive, and on rank 0's machine, whose files it may write."""
    host, pid = socket.gethostname(), os.getpid()
    if everyone[0][0] != host:
        return False
    for _ in range(50):  # a killed process closes its connections a moment before it is gone
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
