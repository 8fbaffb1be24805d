"""`load`: every name, setting and place, and the sentences for wrong ones."""

from __future__ import annotations

import errno
import fcntl
import logging
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gan_lab.data import faces, load, shapes, sources
from gan_lab.errors import UserError

Packed = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def _keep_logging() -> Iterator[None]:
    """`main` configures the root logger; the other tests must not see that."""
    before = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = before


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "NUM_TRAIN", 40)
    monkeypatch.setattr(shapes, "NUM_TEST", 8)


@pytest.mark.usefixtures("few_shapes")
def test_shapes_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("shapes", tmp_path / "new" / "place")
    assert (data.num_train, data.num_test, data.resolution, data.num_classes) == (40, 8, 32, 16)
    images, labels = shapes.render(40, shapes.TRAIN_SEED)
    assert np.array_equal(data.images("train", range(40)).permute(0, 2, 3, 1).numpy(), images)
    assert data.labels("train").tolist() == labels.tolist()
    assert data.labels("test").tolist() == shapes.render(8, shapes.TEST_SEED)[1].tolist()
    monkeypatch.setattr(shapes, "render", lambda *a: pytest.fail("rendered again"))
    assert load("shapes", tmp_path / "new" / "place", hflip=False).sha256 == data.sha256


def test_faces_are_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "NUM_TRAIN", 12)
    monkeypatch.setattr(faces, "NUM_TEST", 4)
    data = load("faces", tmp_path)
    assert (data.num_train, data.num_test, data.resolution, data.num_classes) == (12, 4, 64, 8)
    for split, n, seed in (("train", 12, faces.TRAIN_SEED), ("test", 4, faces.TEST_SEED)):
        ((images, labels),) = faces.render(n, seed)
        assert np.array_equal(data.images(split, range(n)).permute(0, 2, 3, 1).numpy(), images)
        assert data.labels(split).tolist() == labels.tolist()
    monkeypatch.setattr(faces, "render", lambda *a: pytest.fail("rendered again"))
    assert load("faces", tmp_path).sha256 == data.sha256


def test_a_named_dataset_that_is_packed_downloads_nothing(tmp_path: Path, packed: Packed) -> None:
    raw = packed(tmp_path / "cifar10", side=32)
    data = load("cifar10", str(tmp_path))
    assert np.array_equal(data.store.images, raw) and not data.hflip
    assert [p.name for p in tmp_path.iterdir()] == ["cifar10"]  # a read-only place will do


def test_path_opens_any_packed_directory(tmp_path: Path, packed: Packed) -> None:
    raw = packed(tmp_path / "elsewhere")
    for name in ("packed", "cifar10", "shapes"):
        data = load(name, tmp_path / "data", path=tmp_path / "elsewhere", hflip=False)
        assert np.array_equal(data.store.images, raw) and not data.hflip
    assert not (tmp_path / "data").exists()
    with pytest.raises(UserError, match="does not exist"):
        load("packed", tmp_path, path=tmp_path / "nowhere")
    test = data.num_test
    assert load("folder", tmp_path, path=tmp_path / "elsewhere", held_out=test).num_test == test
    with pytest.raises(UserError, match=f"is packed with {test} test images, not {test + 1}"):
        load("folder", tmp_path, path=tmp_path / "elsewhere", held_out=test + 1)


def test_stacked_mnist(tmp_path: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = packed(tmp_path / "mnist", train=50, test=20, side=28, channels=1, classes=10)
    monkeypatch.setattr(sources, "STACKED_TRAIN", 3000)
    monkeypatch.setattr(sources, "STACKED_TEST", 500)
    data = load("stacked_mnist", tmp_path)
    assert (data.num_train, data.num_test, data.resolution, data.channels) == (3000, 500, 32, 3)
    assert data.num_classes == 1000 and data.class_names[7] == "007"
    where = {image.tobytes(): i for i, image in enumerate(raw)}
    digits = np.array([[where[channel.tobytes()] for channel in x.transpose(2, 0, 1)] for x in data.store.images])
    assert (digits[:3000] < 50).all() and (digits[3000:] >= 50).all()  # the splits do not mix
    assert np.array_equal(data.store.labels, (digits % 10) @ [100, 10, 1])  # conftest labels image i with i % 10
    assert np.abs(np.corrcoef(digits[:3000].T) - np.eye(3)).max() < 4 / 3000**0.5
    assert len(np.unique(data.labels("train"))) > 900
    assert load("stacked_mnist", tmp_path).sha256 == data.sha256


def test_stacked_mnist_of_something_else(tmp_path: Path, packed: Packed) -> None:
    packed(tmp_path / "mnist", side=28, channels=3)
    with pytest.raises(UserError, match="is not MNIST"):
        load("stacked_mnist", tmp_path)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("cifar", {}, "dataset.name=cifar is unknown; did you mean cifar10"),
        ("", {}, "is unknown"),
        ("folder", {}, "needs dataset.path=, a folder or a ZIP"),
        ("folder", {"path": ""}, "needs dataset.path=, a folder or a ZIP"),
        ("packed", {}, "needs dataset.path=, a packed directory"),
        ("cifar10", {"resolution": 64}, "the resolution of dataset=cifar10 is fixed"),
        ("packed", {"resolution": 64, "path": "x"}, "the resolution of dataset=packed is fixed"),
        ("folder", {"resolution": 100, "path": "x"}, "dataset.resolution=100 .* the next one is 128"),
        ("folder", {"resolution": 0, "path": "x"}, "dataset.resolution=0 .* the next one is 4"),
        ("folder", {"resolution": -64, "path": "x"}, "dataset.resolution=-64"),
        ("folder", {"max_unreadable": -1, "path": "x"}, "dataset.max_unreadable=-1"),
        ("folder", {"path": 2024}, "2024 does not exist"),
        ("folder", {"held_out": -1, "path": "x"}, "dataset.held_out=-1"),
        ("cifar10", {"held_out": 5}, "dataset.held_out=5: a number of images of dataset=folder"),
    ],
)
def test_wrong_settings(tmp_path: Path, name: str, settings: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(name, tmp_path, **settings)  # type: ignore[arg-type]


def test_data_dir_that_cannot_be_written_or_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="data_dir=.*file cannot be written to"):
        load("shapes", tmp_path / "file")
    (tmp_path / "shapes").mkdir()
    with pytest.raises(UserError, match="shapes is not a packed dataset: it has no dataset.json"):
        load("shapes", tmp_path)


def _sha256(folder: Path) -> str:
    return load("shapes", folder).sha256


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.usefixtures("few_shapes")
def test_processes_started_together_share_one_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    if not locks:  # as on a file system without them: only the renaming protects

        def flock(file: object, how: int) -> None:
            raise OSError(errno.ENOTSUP, "no locks")

        monkeypatch.setattr(fcntl, "flock", flock)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        seen = pool.map(_sha256, [tmp_path / "d"] * 8, chunksize=1)
    assert len(set(seen)) == 1 and len(seen[0]) == 64
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [".shapes.lock", "shapes"]
