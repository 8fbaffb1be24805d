"""Small stand-ins for what metrics are given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gan_lab.data.shapes import CLASS_NAMES, render


class ToyDataset:
    """Rendered shapes in memory, with the attributes of a gan_lab dataset."""

    def __init__(self, train: int = 240, test: int = 60, labels: Tensor | None = None, channels: int = 3) -> None:
        pixels, classes = render(train + test, seed=11)
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2)[:, :channels].contiguous()
        self.classes = torch.from_numpy(classes) if labels is None else labels
        self.name, self.resolution, self.channels = "shapes", 32, channels
        self.num_classes, self.class_names, self.hflip, self.multi_label = 16, CLASS_NAMES, True, False
        self.num_train, self.num_test = train, test
        self.sha256 = hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()
        self.reads = 0

    def _rows(self, split: str) -> slice:
        return slice(0, self.num_train) if split == "train" else slice(self.num_train, None)

    def images(self, split: str, indices: Tensor) -> Tensor:
        self.reads += len(indices)
        return self.pixels[self._rows(split)][indices]

    def labels(self, split: str) -> Tensor:
        return self.classes[self._rows(split)]


@pytest.fixture
def toy() -> ToyDataset:
    return ToyDataset()


@pytest.fixture
def make_toy() -> Callable[..., ToyDataset]:
    return ToyDataset


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
