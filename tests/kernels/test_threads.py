"""Batches computed by several threads: in order, without gradients, and no more at a time than there are cores."""

import os
import threading

import pytest
import torch

from gan_lab.distributed import collectives
from gan_lab.kernels import threads
from gan_lab.kernels.threads import compute_ahead, idle_cores

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order_and_without_gradients(count):
    weight = torch.tensor(2.0, requires_grad=True)
    found = list(compute_ahead(range(7), lambda i: weight * i, count))
    assert [(item, float(result)) for item, result in found] == [(i, 2.0 * i) for i in range(7)]
    assert not any(result.requires_grad for _, result in found)
    assert list(compute_ahead([], float, count)) == []


def test_with_one_thread_an_item_is_computed_when_it_is_asked_for():
    log = []
    for item, _ in compute_ahead([4, 5], lambda item: log.append(("compute", item, threading.current_thread())), 1):
        log.append(("read", item))
    here = threading.current_thread()
    assert log == [("compute", 4, here), ("read", 4), ("compute", 5, here), ("read", 5)]


def test_several_threads_compute_at_the_same_time_while_items_are_made_by_the_caller():
    meeting, makers = threading.Barrier(2, timeout=60), set()

    def items():
        for i in range(4):
            makers.add(threading.current_thread())
            yield i

    def meet(item):
        meeting.wait()  # raises if a second one never comes
        return threading.current_thread()

    found = {thread for _, thread in compute_ahead(items(), meet, 2)}
    assert len(found) == 2 and makers == {threading.current_thread()} and not found & makers


def test_few_items_wait_for_a_slow_reader():
    made = []
    results = compute_ahead((made.append(i) or i for i in range(100)), lambda i: i, 2)
    next(results)
    assert len(made) == 3
    results.close()


def test_an_error_reaches_the_caller():
    with pytest.raises(ValueError, match="three"):
        list(compute_ahead(range(9), lambda i: int("three") if i == 3 else i, 2))


@pytest.mark.parametrize(
    ("cores", "per_batch", "ranks", "batches"),
    [(1, 1, 1, 1), (2, 1, 1, 2), (2, 2, 1, 1), (8, 2, 1, 4), (8, 3, 1, 2), (64, 1, 1, 4), (8, 2, 2, 2), (4, 1, 8, 1)],
)
def test_cores_are_shared_by_threads_and_processes(monkeypatch, cores, per_batch, ranks, batches):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: per_batch)
    monkeypatch.setattr(collectives, "size", lambda: ranks)
    assert idle_cores(CPU) == batches
    assert idle_cores(torch.device("cuda")) == 1


def test_systems_that_cannot_say_which_cores_a_process_may_use(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads.torch, "get_num_threads", lambda: 1)
    for count, batches in ((3, 3), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert idle_cores(CPU) == batches
