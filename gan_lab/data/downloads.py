"""Public datasets that torchvision downloads, as blocks for the packed store, training split first.

Files are downloaded to `data_dir/downloads`. A file already there, copied from a mirror or another machine, is checked
against torchvision's MD5 and used, so that no internet is needed.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_lab.data.decode import Unreadable, decode, resize
from gan_lab.errors import UserError

Blocks = Iterator[tuple[Any, Any]]  # uint8 n h w c, n labels
_BLOCK = 1024


@dataclass(frozen=True)
class Splits:
    """A dataset to pack. The last `test` images of `blocks` are the test split."""

    blocks: Blocks
    class_names: list[str]
    test: int
    note: str = ""


@dataclass(frozen=True)
class Files:
    """The files that a user without internet has to copy, and their folder below `downloads`."""

    folder: str
    source: str
    names: tuple[str, ...]

    def advice(self, name: str, downloads: Path) -> str:
        return (
            f"fetch {', '.join(self.names)} from {self.source} into {downloads / self.folder} and run this "
            f"again, or run `gan-lab prepare-data {name}` on a machine with internet and copy what "
            f"it packed to {downloads.parent / name}."
        )


_IDX = tuple(
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
CIFAR10 = Files("", _TORONTO, ("cifar-10-python.tar.gz",))
CIFAR100 = Files("", _TORONTO, ("cifar-100-python.tar.gz",))
MNIST = Files("MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX)
FASHION_MNIST = Files("FashionMNIST/raw", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _IDX)
STL10 = Files("", "http://ai.stanford.edu/~acoates/stl10/", ("stl10_binary.tar.gz",))
CELEBA = Files(
    "celeba",
    "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Align&Cropped Images, Train/Val/Test Partitions)",
    ("img_align_celeba.zip", "list_eval_partition.txt"),
)


def run_fetch(name: str, files: Files, downloads: Path, fetch: Callable[[], Any]) -> Any:
    """Call `fetch` and return its result. Any failure becomes a UserError that says which files to copy where."""
    try:
        (downloads / files.folder).mkdir(parents=True, exist_ok=True)
        return fetch()
    except Exception as error:  # URLError, RuntimeError, a reset connection, a damaged archive, a full disk, ...
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
        raise UserError(
            f"dataset={name} could not be downloaded ({reason}): {files.advice(name, downloads)}"
        ) from error


def arrays(name: str, kind: str, files: Files, downloads: Path) -> Splits:
    """Read a torchvision dataset class `kind` that holds one array per split (CIFAR, MNIST); pixels are unchanged."""

    def fetch() -> list[Any]:
        from torchvision import datasets

        return [getattr(datasets, kind)(downloads, train=train, download=True) for train in (True, False)]

    splits = run_fetch(name, files, downloads, fetch)
    images = [np.asarray(split.data) for split in splits]  # n h w, or n h w c
    images = [block[..., None] if block.ndim == 3 else block for block in images]
    labels = [np.asarray(split.targets) for split in splits]
    names = [str(c).partition(" - ")[0] for c in splits[0].classes]  # MNIST's are "0 - zero"
    return Splits(iter(list(zip(images, labels, strict=True))), names, test=len(images[1]))


def stl10(downloads: Path, resolution: int) -> Splits:
    """STL-10 as GANs use it: all 105,000 labeled and unlabeled training images, resized from 96 px to `resolution`.

    The unlabeled images are an eleventh class. The 8,000 test images are the test split. The filter is the one used for
    folders of images.
    """

    def read(split: str) -> Any:
        def fetch() -> Any:
            from torchvision.datasets import STL10 as STL10Images

            return STL10Images(downloads, split=split, download=True)

        return run_fetch("stl10", STL10, downloads, fetch)

    splits = {split: read(split) for split in ("train", "test")}
    names = [*map(str, splits["train"].classes), "unlabeled"]

    def blocks() -> Blocks:
        for split in ("train", "unlabeled", "test"):
            data = splits.get(split) or read(split)  # "unlabeled" takes 2.8 GB: read only while it is packed
            for start in range(0, len(data.data), _BLOCK):
                chosen = data.data[start : start + _BLOCK].transpose(0, 2, 3, 1)  # n c h w -> n h w c
                images = [np.asarray(resize(Image.fromarray(np.ascontiguousarray(x)), resolution)) for x in chosen]
                labels = np.asarray(data.labels[start : start + _BLOCK], np.int64)
                yield np.stack(images), np.where(labels < 0, len(names) - 1, labels)

    return Splits(blocks(), names, test=len(splits["test"].data), note="train: labeled, then unlabeled images")


def _celeba_partition(path: Path) -> tuple[list[str], int]:
    """Read the file names, training (partitions 0 and 1) before test (2), and the number of test images."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    train, test = [row[0] for row in rows if row[1] in "01"], [row[0] for row in rows if row[1] == "2"]
    return train + test, len(test)


def celeba(downloads: Path, resolution: int) -> Splits:
    """Aligned CelebA: the centred 178 px square of each 178 x 218 image, resized to `resolution`; one class.

    The official train and validation partitions (182,637 images) are the training split, the test partition
    (19,962) the test split. Only the two files that this needs are downloaded. The ZIP is read in place.
    """
    folder = downloads / CELEBA.folder
    zip_path, partition_path = (folder / file for file in CELEBA.names)

    def fetch() -> tuple[zipfile.ZipFile, list[str], int]:
        from torchvision.datasets import CelebA
        from torchvision.datasets.utils import download_file_from_google_drive

        for file_id, md5, file in CelebA.file_list:
            if file in CELEBA.names and not (folder / file).is_file():
                download_file_from_google_drive(file_id, folder, file, md5)
        archive = zipfile.ZipFile(zip_path)
        names, test = _celeba_partition(partition_path)
        archive.getinfo(f"img_align_celeba/{names[-1]}")
        return archive, names, test

    archive, names, test = run_fetch("celeba", CELEBA, downloads, fetch)

    def read(name: str) -> np.ndarray:
        try:
            return decode(archive.read(f"img_align_celeba/{name}"), resolution)
        except (Unreadable, KeyError, zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{zip_path}: {name} cannot be read ({error}); fetch the file again.") from None

    def blocks() -> Blocks:
        with archive, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(names), _BLOCK):
                images = np.stack(list(pool.map(read, names[start : start + _BLOCK])))
                yield images, np.zeros(len(images), np.int64)

    return Splits(blocks(), ["face"], test, note="train: the official train and validation partitions")
