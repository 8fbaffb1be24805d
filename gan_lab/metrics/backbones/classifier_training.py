"""Train the classifier that serves as a backbone of metrics, on any labelled dataset."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lab.data.dataset import Dataset, to_float
from gan_lab.errors import UserError
from gan_lab.metrics.backbones.classifier import Architecture, Classifier


def _shifted(images: Tensor, generator: torch.Generator, pixels: int, flip: bool) -> Tensor:
    """Shift every image by up to `pixels` in each direction, repeating borders, and mirror half: uint8 n c h w."""
    n, c, h, w = images.shape
    dy, dx = (torch.randint(-pixels, pixels + 1, (2, n), generator=generator)).unbind()
    rows = (torch.arange(h) + dy[:, None]).clamp(0, h - 1)
    columns = (torch.arange(w) + dx[:, None]).clamp(0, w - 1)
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    sample, channel = torch.arange(n)[:, None, None, None], torch.arange(c)[None, :, None, None]
    return images[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _to_input(images: Tensor, device: torch.device) -> Tensor:
    return to_float(images.to(device)).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(net: Classifier, dataset: Dataset, split: str, indices: Tensor, device: torch.device) -> float:
    """Return the share of the images whose most likely class is their label."""
    net.eval()
    labels, right = dataset.labels(split), 0
    for part in indices.split(500):
        logits = net(_to_input(dataset.images(split, part), device))[1]
        right += int((logits.argmax(dim=1).cpu() == labels[part]).sum())
    return right / len(indices)


def _held_out(dataset: Dataset, seed: int) -> tuple[Tensor, str, Tensor]:
    """Return training indices, and the split and indices held out: the test split, else a tenth of train."""
    if dataset.num_test > 0:
        return torch.arange(dataset.num_train), "test", torch.arange(dataset.num_test)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(dataset.num_train))
    cut = max(1, dataset.num_train // 10)
    return order[cut:], "train", order[:cut]


def train_classifier(
    dataset: Dataset,
    *,
    epochs: float = 4.0,
    width: int = 16,
    batch_size: int = 128,
    lr: float = 0.1,
    max_minutes: float = math.inf,
    seed: int = 0,
    device: torch.device | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Classifier, dict[str, Any]]:
    """Train a classifier. Returns it and the information to store with it, such as its held-out accuracy.

    SGD with Nesterov momentum 0.9, weight decay 5e-4, one-cycle learning rate, random shifts by up to an eighth of the
    side, and flips if the dataset allows them. `max_minutes` shortens the schedule. Raises UserError if the dataset has
    fewer than two classes.
    """
    device = device or torch.device("cpu")
    if dataset.multi_label:
        raise UserError(f"dataset={dataset.name} has several labels an image: a classifier needs one class each")
    if dataset.num_classes < 2 or len(torch.unique(dataset.labels("train"))) < 2:
        raise UserError(f"dataset={dataset.name} has fewer than two classes: a classifier needs labels to learn")
    if epochs <= 0 or batch_size < 2:
        raise ValueError(f"epochs must be positive and batch_size at least 2, not {epochs} and {batch_size}")
    torch.manual_seed(seed)
    architecture = Architecture(dataset.resolution, dataset.channels, dataset.num_classes, width)
    net = Classifier(architecture).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, held_split, held = _held_out(dataset, seed)
    started = time.perf_counter()
    batches = _batches(dataset, train, batch_size, seed)
    wanted = max(2, round(epochs * len(train) / min(batch_size, len(train))))  # the rate of the first step is 0
    steps = _fit(net, batches, wanted, lr, max_minutes, say)
    share = accuracy(net, dataset, held_split, held, device)
    say(f"held-out accuracy {share:.4f} on {len(held)} images of split {held_split}")
    info = {
        "name": dataset.name,
        "classes": list(dataset.class_names or []),
        "accuracy": round(share, 6),
        "held_out": f"{len(held)} images of {held_split}",
        "dataset_sha256": dataset.sha256,
        "steps": steps,
        "batch_size": batch_size,
        "seed": seed,
        "minutes": round((time.perf_counter() - started) / 60, 2),
    }
    return net, info


def _batches(dataset: Dataset, indices: Tensor, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of augmented training images (uint8 b c h w) and their labels, endlessly."""
    generator = torch.Generator().manual_seed(seed)
    labels, order = dataset.labels("train"), torch.empty(0, dtype=torch.int64)
    while True:
        if len(order) < batch_size:
            order = torch.cat([order, indices[torch.randperm(len(indices), generator=generator)]])
        batch, order = order[:batch_size], order[batch_size:]
        images = dataset.images("train", batch)
        yield _shifted(images, generator, dataset.resolution // 8, dataset.hflip), labels[batch]


def _fit(
    net: Classifier,
    batches: Iterator[tuple[Tensor, Tensor]],
    steps: int,
    lr: float,
    max_minutes: float,
    say: Callable[[str], None],
) -> int:
    """Train for at most `steps` steps and `max_minutes` minutes. Returns the number of steps taken."""
    device = next(net.parameters()).device
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    net.train()
    started = time.perf_counter()
    for step in range(steps):
        # One cycle: linear warm-up for a fifth, then a cosine to 0. Counted in steps, or in time if that is further.
        done = max(step / steps, (time.perf_counter() - started) / 60 / max_minutes)
        if done >= 1:
            return step
        factor = done / 0.2 if done < 0.2 else (1 + math.cos((done - 0.2) / 0.8 * math.pi)) / 2
        optimizer.param_groups[0]["lr"] = lr * factor
        images, labels = next(batches)
        loss = F.cross_entropy(net(_to_input(images, device))[1], labels.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            say(f"step {step + 1} of {steps}, loss {float(loss.detach()):.4f}")
    return steps
