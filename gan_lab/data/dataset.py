"""The dataset that training and metrics read: uint8 images at a resolution that nets support, and their batches."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.data import sampler
from gan_lab.data.store import PackedStore


def supported_resolution(resolution: int) -> int:
    """The smallest {4, 6, 8} * 2^k at or above `resolution`: 28 -> 32, 33 -> 48."""
    if resolution < 1:
        raise ValueError(f"A resolution must be at least 1 pixel, not {resolution}.")
    four, six = 4, 6  # 8 is the next 4
    while four < resolution:
        four *= 2
    while six < resolution:
        six *= 2
    return min(four, six)


class Dataset:
    """A packed store whose images are padded with black, centred, to the next resolution that nets support.

    `resolution` is the padded side in pixels, `source_resolution` the stored one. `hflip` lets training
    mirror images at random. labels=False leaves the classes out: all images are of one, "image". `multi_label` says
    whether an image has several labels, a vector of num_classes numbers 0 and 1.
    """

    def __init__(self, store: PackedStore, hflip: bool = False, labels: bool = True) -> None:
        self.store = store
        self.name = store.name
        self.source_resolution = store.resolution
        self.resolution = supported_resolution(store.resolution)
        self.channels = store.channels
        self.labelled = labels
        self.num_classes = store.num_classes if labels else 1
        self.multi_label = labels and store.labels.ndim == 2
        self.class_names = store.class_names if labels else ("image",)
        self.num_train = store.train
        self.num_test = store.test
        self.sha256 = store.sha256
        self.hflip = hflip

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {self.resolution}x{self.resolution}x{self.channels}, "
            f"{self.num_train} train, {self.num_test} test, {self.num_classes} classes)"
        )

    def _rows(self, split: str) -> tuple[int, int]:
        if split not in ("train", "test"):
            raise ValueError(f"The split must be 'train' or 'test', not {split!r}.")
        return (0, self.num_train) if split == "train" else (self.num_train, self.num_train + self.num_test)

    def images(self, split: str, indices: Tensor | np.ndarray | list[int] | range) -> Tensor:
        """Return the images of a split at `indices`, which count from 0 within the split: uint8 n c h w, on the CPU.

        Raises:
            IndexError: an index is negative or past the end of the split.
        """
        first, last = self._rows(split)
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and (chosen.min() < 0 or chosen.max() >= last - first):
            raise IndexError(
                f"{self.name} has {last - first} {split} images; asked for {int(chosen.min())}..{int(chosen.max())}."
            )
        gathered = self.store.images[chosen + first]  # n h w c, a copy in memory
        images = torch.from_numpy(np.ascontiguousarray(gathered.transpose(0, 3, 1, 2)))  # n c h w
        missing = self.resolution - self.source_resolution
        if missing == 0:
            return images
        before, after = missing // 2, missing - missing // 2
        return F.pad(images, (before, after, before, after))

    def evenly_spaced(self, split: str, count: int) -> Tensor:
        """Return the indices of images evenly spaced over a split, as it may be sorted by class: int64 n.

        n is `count`, or what the split has if that is less.
        """
        first, last = self._rows(split)
        n = min(count, last - first)
        return torch.arange(n) * (last - first) // max(1, n)

    def labels(self, split: str) -> Tensor:
        """Return all labels of a split: int64 n; with several labels an image float32 n num_classes, of 0 and 1."""
        first, last = self._rows(split)
        if not self.labelled:
            return torch.zeros(last - first, dtype=torch.int64)
        found = torch.from_numpy(self.store.labels[first:last].copy())
        return found.float() if self.multi_label else found


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 pixels (any shape) to float32 in [-1, 1], x / 127.5 - 1, with the same bits on every device.

    The divisor is a tensor: CUDA multiplies by the reciprocal of a Python number, which rounds differently.
    """
    return images.float().div_(torch.full((), 127.5, device=images.device)).sub_(1.0)


def to_pixels(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] (any shape) to uint8: (x + 1) * 127.5, clamped to [0, 255] and rounded.

    The only place where generated images become pixels. uint8 images are returned as they are. NaN becomes an
    arbitrary colour. ValueError for other whole numbers, or bools, whose range is not known.
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"images must be uint8, or floating-point numbers in [-1, 1], not {images.dtype}")
    return ((images.float() + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


class TrainingImages:
    """Batches of training images, a pure function of (seed, draw).

    Draw d holds positions d*batch_size .. (d+1)*batch_size of the sampler's endless sequence. If all images take at
    most `resident_limit_bytes` (and, on CUDA, half of the free memory), they are kept on `device` as uint8. Otherwise
    each batch is gathered from the memory-mapped file. Both give the same bits.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device | str,
        seed: int,
        batch_size: int,
        resident_limit_bytes: int = 2 * 2**30,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % ranks:
            raise ValueError(f"batch_size must be a positive multiple of the {ranks} ranks, not {batch_size}.")
        self.dataset, self.device = dataset, torch.device(device)
        self.seed, self.batch_size = seed, batch_size
        self.share = slice(rank, None, ranks)  # sample i of rank r is sample i * ranks + r of the batch
        self.resident = self._fits(resident_limit_bytes)
        self._all = self._load_all() if self.resident else None
        self._labels = dataset.labels("train").to(device) if dataset.num_classes > 1 else None
        self._epochs: dict[str, dict[int, Tensor]] = {}  # order and flips of the current epochs, on the device

    def _fits(self, limit_bytes: int) -> bool:
        d = self.dataset
        needed = d.num_train * d.channels * d.resolution**2
        if self.device.type == "cuda":
            limit_bytes = min(limit_bytes, torch.cuda.mem_get_info(self.device)[0] // 2)
        return needed <= limit_bytes

    def _load_all(self) -> Tensor:
        d, block = self.dataset, 4096
        images = torch.empty(d.num_train, d.channels, d.resolution, d.resolution, dtype=torch.uint8, device=self.device)
        for start in range(0, d.num_train, block):
            stop = min(start + block, d.num_train)
            images[start:stop] = d.images("train", range(start, stop))
        return images

    def _gather(self, start: int) -> Tensor:
        n = self.dataset.num_train
        if self._all is not None:
            return self._all.index_select(0, self._on_device("order", start))
        order = sampler.indices(self.seed, start, self.batch_size, n)[self.share]
        images = self.dataset.images("train", order)
        if self.device.type == "cuda":
            return images.pin_memory().to(self.device, non_blocking=True)
        return images.to(self.device)

    def _on_device(self, kind: str, start: int) -> Tensor:
        """Return this batch's "order" or "flips". Whole epochs are cached on the device, one transfer each."""
        n = self.dataset.num_train
        function = sampler.indices if kind == "order" else sampler.flips
        parts, held = sampler.pieces(start, self.batch_size, n), self._epochs.get(kind, {})
        self._epochs[kind] = {
            epoch: held[epoch] if epoch in held else function(self.seed, epoch * n, n, n).to(self.device)
            for epoch, _ in parts
        }
        return torch.cat([self._epochs[kind][epoch][part] for epoch, part in parts])[self.share]

    def batch(self, draw: int) -> tuple[Tensor, Tensor | None]:
        """Return this rank's share of batch `draw`: images and their classes.

        Images are float32 b c h w in [-1, 1], mirrored at random if `hflip` is set. Classes are as in `Dataset.labels`,
        or None if the data has only one class.
        """
        start = draw * self.batch_size
        images = self._gather(start)  # uint8 b c h w
        if self.dataset.hflip:
            mirrored = self._on_device("flips", start)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        y = None if self._labels is None else self._labels.index_select(0, self._on_device("order", start))
        return to_float(images), y
