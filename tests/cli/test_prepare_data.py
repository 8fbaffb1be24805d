"""`gan-lab prepare-data`: what it prints, finds and refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gan_lab.cli.main import main
from gan_lab.cli.prepare_data import NAMES
from gan_lab.data import load, shapes, sources
from tests.data.conftest import write_packed

Packed = Callable[..., np.ndarray]
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "NUM_TRAIN", 40)
    monkeypatch.setattr(shapes, "NUM_TEST", 8)


@pytest.fixture
def packed() -> Packed:
    return write_packed


def prepare(words: list[str]) -> int:
    return main(["prepare-data", *words])


def test_the_names_are_those_of_the_sources() -> None:
    """They are written down twice, because asking the sources imports torch."""
    assert sorted(NAMES) == sorted(sources.NAMES)


@pytest.mark.usefixtures("few_shapes")
def test_prepare_prints_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(["shapes", f"data_dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "shapes") in printed and "40 train, 8 test" in printed
    assert load("shapes", tmp_path).sha256 in printed and "red circle" in printed


def test_prepare_uses_the_environment_and_tells_of_padding(
    tmp_path: Path, packed: Packed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed(tmp_path / "mnist", side=28, channels=1)
    monkeypatch.setenv("GAN_LAB_DATA", str(tmp_path))
    assert prepare(["mnist"]) == 0
    assert "28, padded to 32" in capsys.readouterr().out


def test_prepare_finds_damage(tmp_path: Path, packed: Packed, capsys: pytest.CaptureFixture[str]) -> None:
    images = packed(tmp_path / "p")
    np.save(tmp_path / "p/images.npy", images ^ 1)
    assert prepare(["packed", f"path={tmp_path / 'p'}"]) == 2
    assert "changed or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cifar"], "did you mean 'cifar10'?"),
        (["folder", "pth=x"], "did you mean 'path'?"),
        (["folder", "x"], "'x' is not key=value"),
        (["folder", "resolution=big"], "resolution=big: must be a whole number"),
        (["folder", "path=/nowhere/at/all"], "does not exist"),
        (["folder", "dataset.path=/nowhere/at/all"], "/nowhere/at/all does not exist"),  # as load spells it
    ],
)
def test_prepare_refuses_with_one_sentence(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_prepare_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(["--help"]) == 0 and prepare([]) == 2
    assert "stacked_mnist" in capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_in_a_clone(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "gan_lab", "prepare-data", "packed"],
        cwd=REPOSITORY, env=environment | {"GAN_LAB_DATA": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "needs dataset.path=" in done.stderr and "Traceback" not in done.stderr
