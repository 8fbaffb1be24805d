"""Datasets from torchvision: how its arrays are packed, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from gan_lab.data import downloads, load
from gan_lab.errors import UserError


def _offline(*args: Any, **kwargs: Any) -> None:
    raise URLError("no route to host")


@pytest.mark.parametrize(
    ("name", "file", "folder"),
    [
        ("cifar10", "cifar-10-python.tar.gz", "downloads"),
        ("cifar100", "cifar-100-python.tar.gz", "downloads"),
        ("stl10", "stl10_binary.tar.gz", "downloads"),
        ("mnist", "t10k-labels-idx1-ubyte.gz", "downloads/MNIST/raw"),
        ("fashion_mnist", "train-images-idx3-ubyte.gz", "downloads/FashionMNIST/raw"),
        ("celeba", "img_align_celeba.zip", "downloads/celeba"),
        ("stacked_mnist", "train-images-idx3-ubyte.gz", "downloads/MNIST/raw"),
    ],
)
def test_offline_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, folder: str
) -> None:
    for module in ("utils", "mnist", "cifar", "stl10", "celeba"):
        for function in ("download_url", "download_and_extract_archive", "download_file_from_google_drive"):
            target = f"torchvision.datasets.{module}.{function}"
            monkeypatch.setattr(target, _offline, raising=False)
    with pytest.raises(UserError) as caught:
        load(name, tmp_path / "data")
    said = str(caught.value)
    packed = name.removeprefix("stacked_")
    assert f"dataset={packed} could not be downloaded (" in said and "no route to host" in said
    assert file in said and str(tmp_path / "data" / folder) in said and "http" in said
    assert f"gan-lab prepare-data {packed}" in said and str(tmp_path / "data" / packed) in said
    assert "\n" not in said and not (tmp_path / "data" / name).exists()


@pytest.mark.parametrize(
    ("name", "file", "folder"),
    [("cifar10", "cifar-10-python.tar.gz", "."), ("mnist", "train-images-idx3-ubyte.gz", "MNIST/raw")],
)
def test_our_advice_names_the_file_and_folder_that_torchvision_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, folder: str
) -> None:
    """A file put where the advice says is checked there instead of being downloaded."""
    (tmp_path / "downloads" / folder).mkdir(parents=True)
    (tmp_path / "downloads" / folder / file).write_bytes(b"by hand")
    seen = []

    def check(path: str, md5: str | None = None) -> bool:
        seen.append(Path(path).resolve())
        return False

    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", check)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", _offline)
    with pytest.raises(UserError, match="could not be downloaded"):
        load(name, tmp_path)
    assert (tmp_path / "downloads" / folder / file).resolve() in seen


def _fake(kind: str, n: int, shape: tuple[int, ...], classes: list[str]) -> Any:
    def make(root: Path, train: bool = True, download: bool = False) -> Any:
        assert download
        count = n if train else 3
        data = np.full((count, *shape), 10 if train else 20, np.uint8)
        if "MNIST" in kind:  # these hold tensors, CIFAR arrays and lists
            return SimpleNamespace(data=torch.tensor(data), targets=torch.arange(count) % 10, classes=classes)
        return SimpleNamespace(data=data, targets=[i % 10 for i in range(count)], classes=classes)

    return make


@pytest.mark.parametrize(
    ("name", "kind", "shape", "classes"),
    [
        ("cifar10", "CIFAR10", (32, 32, 3), [f"c{i}" for i in range(10)]),
        ("cifar100", "CIFAR100", (32, 32, 3), [f"c{i}" for i in range(100)]),
        ("mnist", "MNIST", (28, 28), [f"{i} - name" for i in range(10)]),
        ("fashion_mnist", "FashionMNIST", (28, 28), ["T-shirt/top"] + [f"c{i}" for i in range(9)]),
    ],
)
def test_arrays_are_packed_unchanged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    shape: tuple[int, ...],
    classes: list[str],
) -> None:
    monkeypatch.setattr(torchvision.datasets, kind, _fake(kind, 12, shape, classes))
    data = load(name, tmp_path)
    assert (data.num_train, data.num_test, data.resolution) == (12, 3, 32)
    assert data.channels == (shape[2] if len(shape) == 3 else 1) and data.source_resolution == shape[0]
    assert (data.store.images[:12] == 10).all() and (data.store.images[12:] == 20).all()
    assert data.labels("train").tolist() == [*range(10), 0, 1] and data.labels("test").tolist() == [0, 1, 2]
    assert data.class_names[0] == ("0" if name == "mnist" else classes[0])
    monkeypatch.setattr(torchvision.datasets, kind, _offline)
    assert load(name, tmp_path).sha256 == data.sha256  # packed: nothing is fetched


def test_stl10_joins_labeled_and_unlabeled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(root: Path, split: str, download: bool) -> Any:
        count, level = {"train": (5, 10), "unlabeled": (7, 20), "test": (2, 30)}[split]
        data = np.full((count, 3, 96, 96), level, np.uint8)
        data[:, 0] = 200  # n c h w: red
        labels = np.full(count, -1) if split == "unlabeled" else np.arange(count)
        return SimpleNamespace(data=data, labels=labels, classes=[f"c{i}" for i in range(10)])

    monkeypatch.setattr(torchvision.datasets, "STL10", make)
    data = load("stl10", tmp_path)
    assert (data.num_train, data.num_test, data.resolution, data.num_classes) == (12, 2, 48, 11)
    assert data.labels("train").tolist() == [0, 1, 2, 3, 4] + [10] * 7 and data.class_names[10] == "unlabeled"
    assert data.images("train", range(12))[:, 1, 5, 5].tolist() == [10] * 5 + [20] * 7
    assert (data.images("test", [0, 1])[:, 0] == 200).all()
    assert load("stl10", tmp_path, resolution=24).resolution == 24
    assert (tmp_path / "stl10-24").is_dir() and (tmp_path / "stl10").is_dir()


@pytest.fixture
def celeba_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where CelebA's files are put by hand, for a CelebA of four images."""
    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", _offline)
    monkeypatch.setattr(downloads, "CELEBA_COUNTS", (2, 1, 1))
    folder = tmp_path / "downloads/celeba"
    folder.mkdir(parents=True)
    return folder


ROWS = [("000001.jpg", 0), ("000002.jpg", 2), ("000003.jpg", 1), ("000004.jpg", 0)]


def _partition(folder: Path, rows: list[tuple[str, int]] = ROWS, separator: str = " ", file: str = "txt") -> None:
    head = "image_id,partition\n" if separator == "," else ""
    lines = [f"{name}{separator}{part}\n" for name, part in rows]
    (folder / f"list_eval_partition.{file}").write_text(head + "".join(lines))


def _zip(folder: Path, prefix: str = "img_align_celeba/", numbers: tuple[int, ...] = (1, 2, 3, 4)) -> None:
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for number in numbers:
            image = Image.new("RGB", (178, 218), "white")  # white bars above and below the square
            image.paste((number * 50, 0, 0), (0, 20, 178, 198))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=100, subsampling=0)
            archive.writestr(f"{prefix}{number:06d}.jpg", file.getvalue())
            archive.writestr(f"__MACOSX/{prefix}._{number:06d}.jpg", b"no image")


@pytest.mark.parametrize(
    ("prefix", "separator", "file"),
    [
        ("img_align_celeba/", " ", "txt"),
        ("img_align_celeba/img_align_celeba/", ",", "csv"),
        ("", ",", "txt"),
        ("a/", "\t", "txt"),
    ],
)
def test_celeba_from_files_put_there_by_hand(
    tmp_path: Path, celeba_folder: Path, prefix: str, separator: str, file: str
) -> None:
    """As the authors give it, and as Kaggle does."""
    _partition(celeba_folder, separator=separator, file=file)
    _zip(celeba_folder, prefix)
    data = load("celeba", tmp_path)
    assert (data.num_train, data.num_test, data.resolution, data.class_names) == (3, 1, 64, ("face",))
    images = torch.cat([data.images("train", range(3)), data.images("test", [0])]).int()
    assert (images[:, 0, 32, 32] - torch.tensor([50, 200, 150, 100])).abs().max() <= 2  # 1, 4; 3; then 2
    assert images[:, 1:, 2:-2].max() < 20  # no white bar is left
    assert len(list(celeba_folder.iterdir())) == 2  # the ZIP is read in place


def _broken(what: str, folder: Path) -> None:
    _partition(folder)
    _zip(folder)
    zip_path, list_path = folder / "img_align_celeba.zip", folder / "list_eval_partition.txt"
    if what == "no zip":
        zip_path.write_bytes(b"<html>quota exceeded</html>")
    elif what == "cut off":
        zip_path.write_bytes(zip_path.read_bytes()[:-30])
    elif what == "fewer images":
        _zip(folder, numbers=(1, 2, 4))
    elif what == "more images":
        _zip(folder, numbers=(1, 2, 3, 4, 5))
    elif what == "other counts":
        _partition(folder, [(name, 0) for name, _ in ROWS])
    elif what == "other names":
        _partition(folder, [(f"1{name}", part) for name, part in ROWS])
    elif what == "fewer rows":
        _partition(folder, ROWS[:3])
    elif what == "one column":
        list_path.write_text("000001.jpg\n")
    elif what == "empty":
        list_path.write_text("")
    else:
        list_path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize(
    ("what", "file", "said"),
    [
        ("no zip", "img_align_celeba.zip", "27 bytes, MD5 "),
        ("cut off", "img_align_celeba.zip", "cannot be opened as a ZIP"),
        ("fewer images", "img_align_celeba.zip", "holds 3 images and lacks 000003.jpg, CelebA has 4"),
        ("more images", "img_align_celeba.zip", "holds 5 images, CelebA has 4"),
        ("other counts", "list_eval_partition.txt", "in parts of (4, 0, 0), CelebA has 4 in parts of (2, 1, 1)"),
        ("other names", "list_eval_partition.txt", "lists 4 images"),
        ("fewer rows", "list_eval_partition.txt", "lists 3 images"),
        ("one column", "list_eval_partition.txt", "no file name and 0, 1 or 2 (000001.jpg)"),
        ("empty", "list_eval_partition.txt", "lists 0 images"),
        ("binary", "list_eval_partition.txt", "no file name and 0, 1 or 2"),
    ],
)
def test_what_is_not_celeba_is_named(tmp_path: Path, celeba_folder: Path, what: str, file: str, said: str) -> None:
    _broken(what, celeba_folder)
    with pytest.raises(UserError) as caught:
        load("celeba", tmp_path)
    text = str(caught.value)
    assert str(celeba_folder / file) in text and said in text and "instead of" in text and "downloaded" not in text
    assert not (tmp_path / "celeba").exists()


def test_a_damaged_image_of_celeba_is_named(tmp_path: Path, celeba_folder: Path) -> None:
    _partition(celeba_folder)
    _zip(celeba_folder, numbers=(1, 2, 4))
    with zipfile.ZipFile(celeba_folder / "img_align_celeba.zip", "a") as archive:
        archive.writestr("img_align_celeba/000003.jpg", b"no image")
    with pytest.raises(UserError, match=r"000003\.jpg cannot be read"):
        load("celeba", tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("stl10", "stl10_binary.tar.gz"),
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte.gz"),
        ("fashion_mnist", "FashionMNIST/raw/train-labels-idx1-ubyte.gz"),
    ],
)
def test_a_damaged_file_in_place_is_named_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", _offline)
    monkeypatch.setattr("urllib.request.urlopen", _offline)
    path = tmp_path / "downloads" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError) as caught:
        load(name, tmp_path)
    said = str(caught.value)
    md5 = hashlib.md5(b"damaged").hexdigest()
    assert f"{path} is damaged or another file (7 bytes, MD5 {md5} instead of " in said
    assert "\n" not in said and not (tmp_path / name).exists()


def test_an_unpacked_file_of_mnist_that_is_cut_off_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision asks for nothing but that the unpacked files exist."""
    monkeypatch.setattr("urllib.request.urlopen", _offline)
    folder = tmp_path / "downloads/MNIST/raw"
    folder.mkdir(parents=True)
    for part, shape in (("train-images-idx3", (3, 28, 28)), ("train-labels-idx1", (3,)),
                        ("t10k-images-idx3", (2, 28, 28)), ("t10k-labels-idx1", (2,))):  # fmt: skip
        header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
        (folder / f"{part}-ubyte").write_bytes(header + bytes(int(np.prod(shape))))
    whole = load("mnist", tmp_path)
    assert (whole.num_train, whole.num_test) == (3, 2)
    cut = folder / "t10k-images-idx3-ubyte"
    cut.write_bytes(cut.read_bytes()[:-5])
    shutil.rmtree(tmp_path / "mnist")
    with pytest.raises(UserError) as caught:
        load("mnist", tmp_path)
    assert f"{cut} is cut off (1,579 bytes)" in str(caught.value)
    assert str(caught.value).count("cut off") == 1
