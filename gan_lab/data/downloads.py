"""Public datasets that torchvision downloads, as blocks for the packed store, training split first.

Files are downloaded to `data_dir/downloads`. A file already there, copied from a mirror or another machine, is checked
against torchvision's MD5, or CelebA's known contents, and used, so that no internet is needed.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from gan_lab.data.decode import Unreadable, decode, resize
from gan_lab.errors import UserError
from gan_lab.files import reason

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
    """The files that a user without internet has to copy for the dataset `name`, and their folder below `downloads`.

    kind: torchvision's class, whose MD5s say whether a file in place is what it must be.
    """

    name: str
    kind: str
    folder: str
    source: str
    names: tuple[str, ...]

    def advice(self, downloads: Path) -> str:
        return (
            f"fetch {', '.join(self.names)} from {self.source} into {downloads / self.folder} and run this "
            f"again, or run `gan-lab prepare-data {self.name}` on a machine with internet and copy what "
            f"it packed to {downloads.parent / self.name}."
        )


_IDX = tuple(
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CIFAR10 = Files("cifar10", "CIFAR10", "", _TORONTO, ("cifar-10-python.tar.gz",))
CIFAR100 = Files("cifar100", "CIFAR100", "", _TORONTO, ("cifar-100-python.tar.gz",))
MNIST = Files("mnist", "MNIST", "MNIST/raw", "https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX)
FASHION_MNIST = Files("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", _ZALANDO, _IDX)
STL10 = Files("stl10", "STL10", "", "http://ai.stanford.edu/~acoates/stl10/", ("stl10_binary.tar.gz",))
CELEBA = Files(
    "celeba",
    "CelebA",
    "celeba",
    "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Align&Cropped Images, Train/Val/Test Partitions)",
    ("img_align_celeba.zip", "list_eval_partition.txt"),
)


def _torchvision(kind: str) -> Any:
    """Return torchvision's class of a dataset. torchvision is not needed, nor imported, for what is packed."""
    from torchvision import datasets

    return getattr(datasets, kind)


def run_fetch(files: Files, downloads: Path, fetch: Callable[[], Any]) -> Any:
    """Call `fetch` and return its result. Any failure becomes a UserError that says which files to copy where."""
    try:
        (downloads / files.folder).mkdir(parents=True, exist_ok=True)
        return fetch()
    except Exception as error:  # URLError, RuntimeError, a reset connection, a damaged archive, a full disk, ...
        why = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip(".")
        faults = "; ".join(_faults_in_place(files.kind, downloads))
        in_place = f", and a file in place is no help: {faults}; remove it" if faults else ""
        raise UserError(
            f"dataset={files.name} could not be downloaded ({why}){in_place}: {files.advice(downloads)}"
        ) from error


def _faults_in_place(kind: str, downloads: Path) -> Iterator[str]:
    """Yield a sentence for each file of a dataset that is there but is not what it must be."""
    known = _torchvision(kind)
    if hasattr(known, "resources"):  # MNIST
        expected = {f"{kind}/raw/{file}": md5 for file, md5 in known.resources}
    else:
        members = (*getattr(known, "train_list", ()), *getattr(known, "test_list", ()))
        expected = {f"{known.base_folder}/{file}": md5 for file, md5 in members}
        expected = {known.filename: known.tgz_md5, **expected} if hasattr(known, "filename") else expected
    for file, md5 in expected.items():
        path = downloads / file
        if path.is_file() and (fault := _other_md5(path, md5)):
            yield fault
        if path.suffix == ".gz" and _is_cut_off(path.with_suffix("")):
            yield f"{path.with_suffix('')} is cut off ({path.with_suffix('').stat().st_size:,} bytes)"


def _other_md5(path: Path, expected: str) -> str:
    """Say how a file differs from the one that has this MD5; "" if it does not."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        return f"{path} cannot be read ({reason(error)})"
    size = f"{path.stat().st_size:,} bytes"
    return "" if found == expected else f"{path} is damaged or another file ({size}, MD5 {found} instead of {expected})"


def _is_cut_off(path: Path) -> bool:
    """Whether an unpacked file of MNIST's format (idx) is shorter or longer than its header says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(4)
        sides = np.frombuffer(file.read(4 * header[3] if len(header) == 4 else 0), ">u4")
    return len(header) < 4 or path.stat().st_size != 4 + 4 * header[3] + int(np.prod(sides, dtype=np.int64))


def arrays(files: Files, data_dir: Path, resolution: int) -> Splits:
    """Read a dataset class of torchvision that holds one array per split (CIFAR, MNIST); pixels are unchanged."""
    downloads = data_dir / "downloads"

    def fetch() -> list[Any]:
        return [_torchvision(files.kind)(downloads, train=train, download=True) for train in (True, False)]

    splits = run_fetch(files, downloads, fetch)
    images = [np.asarray(split.data) for split in splits]  # n h w, or n h w c
    images = [block[..., None] if block.ndim == 3 else block for block in images]
    labels = [np.asarray(split.targets) for split in splits]
    names = [str(c).partition(" - ")[0] for c in splits[0].classes]  # MNIST's are "0 - zero"
    return Splits(iter(list(zip(images, labels, strict=True))), names, test=len(images[1]))


def stl10(data_dir: Path, resolution: int) -> Splits:
    """STL-10 as GANs use it: all 105,000 labeled and unlabeled training images, resized from 96 px to `resolution`.

    The unlabeled images are an eleventh class. The 8,000 test images are the test split. The filter is the one used for
    folders of images.
    """
    downloads = data_dir / "downloads"

    def read(split: str) -> Any:
        return run_fetch(STL10, downloads, lambda: _torchvision("STL10")(downloads, split=split, download=True))

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


CELEBA_COUNTS = (162_770, 19_867, 19_962)  # images of the official train, validation and test partitions
_CELEBA_HELP = "fetch the original again, or take Kaggle's ZIP of img_align_celeba with list_eval_partition.csv"


def _not_celeba(path: Path, fault: str) -> UserError:
    md5 = next((md5 for _, md5, file in _torchvision("CelebA").file_list if file == path.name), None)
    differs = f": {_other_md5(path, md5)}" if md5 else ""
    return UserError(f"dataset=celeba: {path} {fault}{differs}; {_CELEBA_HELP}")


def _celeba_partition(path: Path) -> tuple[list[str], int]:
    """Read the file names, training (partitions 0 and 1) before test (2), and the number of test images.

    path: the official list, `000001.jpg 0` a line, or Kaggle's table of the same with commas and a heading.
    """
    rows = [re.split(r"[,\s]+", line.strip()) for line in path.read_text(errors="replace").splitlines() if line.strip()]
    rows = rows[1:] if rows and rows[0][0] == "image_id" else rows
    parts: dict[str, list[str]] = {"0": [], "1": [], "2": []}
    for row in rows:
        if len(row) != 2 or row[1] not in parts:
            raise _not_celeba(path, f"has a line that is no file name and 0, 1 or 2 ({' '.join(row)[:40]})")
        parts[row[1]].append(row[0])
    counts, names = tuple(map(len, parts.values())), [*parts["0"], *parts["1"], *parts["2"]]
    if counts != CELEBA_COUNTS or sorted(names) != [f"{i:06d}.jpg" for i in range(1, sum(CELEBA_COUNTS) + 1)]:
        raise _not_celeba(path, f"lists {len(names):,} images in parts of {counts}, CelebA has "
                                f"{sum(CELEBA_COUNTS):,} in parts of {CELEBA_COUNTS}")  # fmt: skip
    return names, len(parts["2"])


def _celeba_images(path: Path, names: list[str]) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """Open the ZIP and find the member of every name, in whatever folder of the ZIP it lies."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise _not_celeba(path, f"cannot be opened as a ZIP ({error})") from None
    members = {PurePosixPath(member).name: member for member in archive.namelist() if member.endswith(".jpg")}
    members = {name: member for name, member in members.items() if not name.startswith("._")}
    missing = next((name for name in names if name not in members), None)
    if missing is not None or len(members) != len(names):
        archive.close()
        lacks = f" and lacks {missing}" if missing else ""
        raise _not_celeba(path, f"holds {len(members):,} images{lacks}, CelebA has {len(names):,}")
    return archive, members


def celeba(data_dir: Path, resolution: int) -> Splits:
    """Aligned CelebA: the centred 178 px square of each 178 x 218 image, resized to `resolution`; one class.

    The official train and validation partitions (182,637 images) are the training split, the test partition
    (19,962) the test split. Only the two files that this needs are downloaded. The ZIP is read in place.
    """
    downloads = data_dir / "downloads"
    folder = downloads / CELEBA.folder
    zip_path, partition_path = (folder / file for file in CELEBA.names)
    kaggle = partition_path.with_suffix(".csv")
    partition_path = kaggle if kaggle.is_file() and not partition_path.is_file() else partition_path

    def fetch() -> None:
        from torchvision.datasets.utils import download_file_from_google_drive

        places = dict(zip(CELEBA.names, (zip_path, partition_path), strict=True))
        for file_id, md5, file in _torchvision("CelebA").file_list:
            if file in places and not places[file].is_file():
                download_file_from_google_drive(file_id, folder, file, md5)

    run_fetch(CELEBA, downloads, fetch)
    names, test = _celeba_partition(partition_path)
    archive, members = _celeba_images(zip_path, names)

    def read(name: str) -> np.ndarray:
        try:
            return decode(archive.read(members[name]), resolution)
        except (Unreadable, KeyError, zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{zip_path}: {name} cannot be read ({error}); fetch the file again.") from None

    def blocks() -> Blocks:
        with archive, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(names), _BLOCK):
                images = np.stack(list(pool.map(read, names[start : start + _BLOCK])))
                yield images, np.zeros(len(images), np.int64)

    return Splits(blocks(), ["face"], test, note="train: the official train and validation partitions")
