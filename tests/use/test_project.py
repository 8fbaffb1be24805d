"""Projecting images of a dataset and of a folder: which images, which classes, and what is written."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import load
from gan_lab.errors import UserError
from gan_lab.nets import DCGANGenerator, R3GANGenerator
from gan_lab.use import inversion
from gan_lab.use.features import Trained
from tests.training.short_runs import evaluated_run
from tests.use.test_sample import tiles


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(inversion, "STARTS", 8)


@pytest.fixture
def trained(tiny_data, monkeypatch):
    """`trained(G)`: projections use this generator, and the tiny data without a backbone."""

    def use(G):
        made = Trained(
            G.eval().requires_grad_(False), load("shapes", tiny_data), tiny_data, {"config": {"metrics": None}}
        )
        monkeypatch.setattr("gan_lab.use.project.load_trained", lambda *a, **k: made)
        return made.dataset

    return use


def test_images_of_the_dataset_in_a_picture(trained, tmp_path):
    dataset = trained(DCGANGenerator(32, 3, width=0.0625, init_std=0.2))
    found = gan_lab.project("x", out=tmp_path / "a.png", n=4, steps=3, latents=tmp_path / "a.npz")
    shown = tiles(tmp_path / "a.png", 4, 3, 32).reshape(4, 3, 32, 32, 3)
    wanted = dataset.images("test", [0, 8, 16, 24]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shown[:, 0], wanted)
    for column, errors in ((1, found.start_error), (2, found.error)):
        mse = ((shown[:, column].astype(float) - wanted) / 255) ** 2
        assert np.allclose(mse.mean((1, 2, 3)), errors, atol=2e-3)
    assert found.psnr == pytest.approx([-10 * np.log10(e) for e in found.error], rel=1e-4)
    assert all(a <= b for a, b in zip(found.error, found.start_error, strict=True)) and found.features == "pixels"
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["latents"].shape == (4, 100)
    assert len(gan_lab.project("x", out=None, n=2, steps=1, split="train").error) == 2


def test_a_folder_is_read_as_for_training(trained, tmp_path):
    trained(R3GANGenerator(8, 1, width=0.03, conditional=True, num_classes=3))
    (tmp_path / "photos").mkdir()
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 5:25] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    with pytest.raises(UserError, match="say the classes of the images with classes="):
        gan_lab.project("x", tmp_path / "photos", tmp_path / "a.png", steps=1)
    with pytest.raises(UserError, match="classes=3: this generator's classes are 0 to 2"):
        gan_lab.project("x", tmp_path / "photos", tmp_path / "a.png", steps=1, classes=[3])
    gan_lab.project("x", tmp_path / "photos", tmp_path / "a.png", steps=1, classes=[2])
    first = tiles(tmp_path / "a.png", 1, 3, 8)[0]
    assert np.array_equal(first, np.full((8, 8, 3), 76))  # the square in the middle, gray: 0.299 of red
    gan_lab.project("x", tmp_path / "photos" / "a.png", tmp_path / "b.png", steps=1, classes=[2])  # one file alone
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_bad_words(trained, tmp_path):
    trained(DCGANGenerator(32, 3, width=0.0625))
    with pytest.raises(UserError, match="space=w: DCGANGenerator has no styles"):
        gan_lab.project("x", space="w", out=None)
    with pytest.raises(UserError, match=r"out=.*x.gif: must be a file that ends in .png"):
        gan_lab.project("x", out=tmp_path / "x.gif")
    with pytest.raises(UserError, match="images=.*nowhere does not exist"):
        gan_lab.project("x", tmp_path / "nowhere", None)
    (tmp_path / "notes.txt").write_text("no image, but longer than any prefix of one")
    with pytest.raises(UserError, match="images=.*notes.txt: it is not an image.*give an image, a folder of images"):
        gan_lab.project("x", tmp_path / "notes.txt", None)


@pytest.mark.slow
def test_the_command_uses_the_features_of_the_run(tmp_path, tiny_data, capsys):
    run, out = evaluated_run(tmp_path / "run", tiny_data), tmp_path / "a.png"
    assert main(["project", f"run={run}", f"out={out}", "n=2", "steps=2", "device=cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"] == "classifier shapes, penultimate" and len(found["feature_distance"]) == 2
    assert all(e > 0 for e in found["error"] + found["feature_distance"]) and out.is_file()
    assert torch.tensor(found["psnr"]).isfinite().all()
