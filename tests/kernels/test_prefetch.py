"""Batches are made in order, one ahead of the caller, and read only when they are ready."""

from contextlib import contextmanager

import pytest
import torch

from gan_lab.kernels.prefetch import prefetch


class Made:
    def __init__(self, item):
        self.item, self.read_by = item, []

    def record_stream(self, stream):
        self.read_by.append(stream.name)


@pytest.fixture
def log(monkeypatch):
    """Streams that write down what they are asked for, on a device that says it is a GPU."""
    log, on = [], ["caller"]

    class Stream:
        def __init__(self, name="own"):
            self.name, self.device = name, object()

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

        def wait_event(self, event):
            log.append(f"{self.name} waits for {event.what}")

    class Event:
        def record(self, stream):
            self.what = f"{stream.name} up to {log[-1]}"

    @contextmanager
    def stream(which):
        on.append(which.name)
        yield
        on.pop()

    caller = Stream("caller")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: caller)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    return log, on


class Gpu:
    type = "cuda"


def test_on_a_gpu_the_next_batch_is_under_way_while_one_is_read(log):
    log, on = log

    def make(item):
        log.append(f"make {item} on {on[-1]}")
        return Made(item)

    for item, made in prefetch(range(3), make, Gpu()):
        assert made.item == item and made.read_by == ["caller"]
        log.append(f"read {item} on {on[-1]}")
    assert log == [
        "own waits for caller",
        "make 0 on own",
        "make 1 on own", "caller waits for own up to make 0 on own", "read 0 on caller",
        "make 2 on own", "caller waits for own up to make 1 on own", "read 1 on caller",
        "caller waits for own up to make 2 on own", "read 2 on caller",
    ]  # fmt: skip


def test_on_a_cpu_they_take_turns():
    log = []

    def make(item):
        log.append(f"make {item}")
        return torch.tensor(item)

    for item, made in prefetch([4, 5], make, torch.device("cpu")):
        log.append(f"read {item} {int(made)}")
    assert log == ["make 4", "read 4 4", "make 5", "read 5 5"]


def test_several_tensors_of_an_item_are_each_kept_until_they_are_read(log):
    for item, made in prefetch(range(2), lambda item: (Made(item), Made(-item)), Gpu()):
        assert [part.item for part in made] == [item, -item] and all(part.read_by == ["caller"] for part in made)


def test_nothing_is_made_of_nothing(log):
    assert list(prefetch([], Made, Gpu())) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
def test_the_tensors_are_right_on_a_gpu():
    weight = torch.randn(512, 512, device="cuda")

    def make(item):
        x = torch.full((2048, 512), float(item), device="cuda")
        for _ in range(20):
            x = (x @ weight).sign()
        return x + item

    wanted = [make(i).sum().item() for i in range(8)]
    found = [(made @ weight).mul(0).add(made).sum().item() for _, made in prefetch(range(8), make, weight.device)]
    assert found == wanted
