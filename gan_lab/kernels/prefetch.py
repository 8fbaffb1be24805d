"""Making the next batch on a GPU while this one is looked at."""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
Made = TypeVar("Made", Tensor, tuple[Tensor, ...])


@lru_cache
def _own_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the one stream of this module: freed memory is reused on the stream that it was taken for alone."""
    return torch.cuda.Stream(device)


def prefetch(items: Iterable[T], make: Callable[[T], Made], device: torch.device) -> Iterator[tuple[T, Made]]:
    """(item, make(item)) for every item, in order; `make` gives a tensor or a tuple of them.

    On a GPU each is made on a stream of its own, one item ahead of what the caller has, so that the kernels of
    `make` and the caller's run side by side. `make` is called in the order of items, and may wait for its own kernels.
    """
    if device.type != "cuda":
        for item in items:
            yield item, make(item)
        return
    stream = torch.cuda.current_stream(device)
    own = _own_stream(stream.device)
    own.wait_stream(stream)  # for what `make` reads, such as weights, once; later work of the caller is not waited for

    def start(item: T) -> tuple[T, Made, torch.cuda.Event]:
        with torch.cuda.stream(own):
            made = make(item)
        for tensor in made if isinstance(made, tuple) else (made,):
            tensor.record_stream(stream)  # its memory is not reused before the caller's kernels have read it
        ready = torch.cuda.Event()
        ready.record(own)
        return item, made, ready

    waiting: tuple[T, Made, torch.cuda.Event] | None = None
    for item in items:
        started = start(item)
        if waiting is not None:
            stream.wait_event(waiting[2])
            yield waiting[:2]
        waiting = started
    if waiting is not None:
        stream.wait_event(waiting[2])
        yield waiting[:2]
