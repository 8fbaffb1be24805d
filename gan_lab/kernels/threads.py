"""Batches that share the cores of a CPU, while each is computed by as many threads as torch may use."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from gan_lab.distributed import collectives

T = TypeVar("T")
Result = TypeVar("Result")
_MOST = 4  # batches at a time, each of which takes memory


def cores() -> int:
    """Return how many of the CPU's cores this process may use; of all if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_cores(device: torch.device) -> int:
    """Return how many batches the CPU's cores can compute at a time, at most 4; 1 on a GPU or if torch uses all."""
    if device.type != "cpu":
        return 1
    return max(1, min(_MOST, cores() // (torch.get_num_threads() * collectives.size())))


def compute_ahead(items: Iterable[T], compute: Callable[[T], Result], threads: int) -> Iterator[tuple[T, Result]]:
    """Yield (item, compute(item)) in order, while `threads` threads compute the next ones.

    `items` advance in the caller's thread. With one thread each item is computed when it is asked for. The results are
    the same numbers for any `threads`, as every thread computes whole items. Gradients are not recorded.
    """

    def alone(item: T) -> Result:
        with torch.no_grad():  # which holds for one thread
            return compute(item)

    if threads == 1:
        for item in items:
            yield item, alone(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[T, Future[Result]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(alone, item)))
            if len(waiting) > threads:
                item, future = waiting.popleft()
                yield item, future.result()
        for item, future in waiting:
            yield item, future.result()
