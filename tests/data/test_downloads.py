"""Datasets from torchvision: how its arrays are packed, and what is said when they cannot be had."""

from __future__ import annotations

import io
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

from gan_lab.data import load
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


def _celeba_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = [("1.jpg", 0), ("2.jpg", 2), ("3.jpg", 1), ("4.jpg", 0)]
    (folder / "list_eval_partition.txt").write_text("".join(f"{name} {part}\n" for name, part in rows))
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for name, _ in rows:
            image = Image.new("RGB", (178, 218), "white")  # white bars above and below the square
            image.paste((int(name[0]) * 50, 0, 0), (0, 20, 178, 198))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=100, subsampling=0)
            archive.writestr(f"img_align_celeba/{name}", file.getvalue())


def test_celeba_from_files_put_there_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", _offline)
    _celeba_files(tmp_path / "downloads/celeba")
    data = load("celeba", tmp_path)
    assert (data.num_train, data.num_test, data.resolution, data.class_names) == (3, 1, 64, ("face",))
    images = torch.cat([data.images("train", range(3)), data.images("test", [0])]).int()
    assert (images[:, 0, 32, 32] - torch.tensor([50, 150, 200, 100])).abs().max() <= 2  # 1, 3, 4, then 2
    assert images[:, 1:, 2:-2].max() < 20  # no white bar is left
    assert sorted(p.name for p in (tmp_path / "downloads/celeba").iterdir()) == [
        "img_align_celeba.zip",
        "list_eval_partition.txt",
    ]


def test_celeba_with_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "downloads/celeba"
    _celeba_files(folder)
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "a") as archive:
        archive.writestr("img_align_celeba/5.jpg", b"no image")
    with (folder / "list_eval_partition.txt").open("a") as file:
        file.write("5.jpg 0\n")
    with pytest.raises(UserError, match=r"5\.jpg cannot be read"):
        load("celeba", tmp_path)
    (folder / "img_align_celeba.zip").write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(UserError, match="File is not a zip file"):
        load("celeba", tmp_path)
