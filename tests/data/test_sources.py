"""`load` and `prepare_data`: every name, setting and place, and the sentences for wrong ones."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gan_lab.cli.prepare_data import main
from gan_lab.data import load, shapes, sources
from gan_lab.errors import UserError

Packed = Callable[..., np.ndarray]
REPOSITORY = Path(__file__).resolve().parents[2]


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


def test_a_named_dataset_that_is_packed_downloads_nothing(tmp_path: Path, packed: Packed) -> None:
    raw = packed(tmp_path / "cifar10", side=32)
    data = load("cifar10", str(tmp_path))
    assert np.array_equal(data.store.images, raw) and data.hflip
    assert [p.name for p in tmp_path.iterdir()] == ["cifar10"]  # a read-only place will do


def test_path_opens_any_packed_directory(tmp_path: Path, packed: Packed) -> None:
    raw = packed(tmp_path / "elsewhere")
    for name in ("packed", "cifar10", "shapes"):
        data = load(name, tmp_path / "data", path=tmp_path / "elsewhere", hflip=False)
        assert np.array_equal(data.store.images, raw) and not data.hflip
    assert not (tmp_path / "data").exists()
    with pytest.raises(UserError, match="does not exist"):
        load("packed", tmp_path, path=tmp_path / "nowhere")


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
        monkeypatch.setattr(sources, "fcntl", None)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        seen = pool.map(_sha256, [tmp_path / "d"] * 8, chunksize=1)
    assert len(set(seen)) == 1 and len(seen[0]) == 64
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == [".shapes.lock", "shapes"]


@pytest.mark.usefixtures("few_shapes")
def test_prepare_prints_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shapes", f"data_dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "shapes") in printed and "40 train, 8 test" in printed
    assert load("shapes", tmp_path).sha256 in printed and "red circle" in printed


def test_prepare_uses_the_environment_and_tells_of_padding(
    tmp_path: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed(tmp_path / "mnist", side=28, channels=1)
    monkeypatch.setenv("GAN_LAB_DATA", str(tmp_path))
    assert main(["mnist"]) == 0
    assert "28, padded to 32" in capsys.readouterr().out


def test_prepare_finds_damage(tmp_path: Path, packed: Packed, capsys: pytest.CaptureFixture[str]) -> None:
    images = packed(tmp_path / "p")
    np.save(tmp_path / "p/images.npy", images ^ 1)
    assert main(["packed", f"path={tmp_path / 'p'}"]) == 2
    assert "changed or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cifar"], "did you mean cifar10?"),
        (["folder", "pth=x"], "did you mean path=...?"),
        (["folder", "x"], "is not a setting"),
        (["folder", "resolution=big"], "resolution=big must be a whole number"),
        (["folder", "path=/nowhere/at/all"], "does not exist"),
    ],
)
def test_prepare_refuses_with_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_prepare_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main([]) == 2
    assert "stacked_mnist" in capsys.readouterr().out


def test_script_runs_in_a_clone(tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "prepare_data.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, script, "packed"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "needs dataset.path=" in done.stderr and "Traceback" not in done.stderr
