"""Nearest training images: a generator that copies some is found out, and the picture shows the right ones."""

import json

import numpy as np
import pytest
import torch

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import load, to_float
from gan_lab.errors import UserError
from gan_lab.nets import Generator
from gan_lab.use import features as module
from gan_lab.use.features import Trained
from tests.training.short_runs import evaluated_run
from tests.use.test_sample import tiles


class Copier(Generator):
    """Training image i for the seed i, with a little noise; from seed 6 on noise alone."""

    def __init__(self, dataset):
        super().__init__(32, 3, 4)
        self.dummy = torch.nn.Parameter(torch.zeros(()))
        self.images = to_float(dataset.images("train", range(6)))

    def forward(self, z, y=None):
        seeds = [torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in range(40)]
        which = [next(s for s, other in enumerate(seeds) if torch.equal(other, one)) for one in z]
        noise = torch.sin(1e4 * z[:, :1, None, None] * torch.linspace(1, 2, 3072).view(1, 3, 32, 32))
        return torch.stack([self.images[s] + 0.01 * n if s < 6 else n for s, n in zip(which, noise, strict=True)])


@pytest.fixture
def copier(tiny_data, monkeypatch):
    dataset = load("shapes", tiny_data)
    made = Trained(Copier(dataset), dataset, tiny_data, {"config": {"metrics": None}})
    monkeypatch.setattr("gan_lab.use.nearest.load_trained", lambda *a, **k: made)
    return dataset


@pytest.mark.slow
def test_copies_are_found_and_shown(copier, tmp_path):
    found = gan_lab.nearest("x", tmp_path / "a.png", 20, rows=6, k=3)
    assert found["copies"] == 6 / 20 and found["features"] == "pixels"
    assert (found["samples"], found["training_images"], found["heldout_images"]) == (20, 160, 20)
    train = to_float(copier.images("train", range(160))).flatten(1).numpy().astype(np.float64)
    held = to_float(copier.images("test", [i * 32 // 20 for i in range(20)])).flatten(1).numpy()
    to_train = np.linalg.norm(held[:, None] - train, axis=2)
    between = np.linalg.norm(train[:, None] - train, axis=2)
    np.fill_diagonal(between, np.inf)
    nearest = to_train.argmin(1)
    assert found["copies_heldout"] == np.mean(to_train.min(1) < between[nearest].min(1))
    assert found["distance_heldout"] == pytest.approx(np.sort(to_train.min(1))[9], rel=1e-5)
    shown = tiles(tmp_path / "a.png", 6, 4, 32).reshape(6, 4, 32, 32, 3)
    images = copier.images("train", range(160)).permute(0, 2, 3, 1).numpy()
    for row in shown:
        (i,) = [i for i in range(6) if np.abs(row[0].astype(int) - images[i]).max() <= 2]
        order = between[i].argsort()
        assert np.array_equal(row[1], images[i]) and np.array_equal(row[2], images[order[0]])
    assert len({row[0].tobytes() for row in shown}) == 6
    gan_lab.nearest("x", tmp_path / "b.png", 20, seed=5, rows=2, k=1, first="seeds")
    rows = tiles(tmp_path / "b.png", 2, 2, 32).reshape(2, 2, 32, 32, 3)
    assert np.array_equal(rows[0, 1], images[5])


@pytest.mark.slow
def test_a_run_is_compared_in_its_own_features(tmp_path, tiny_data, capsys):
    run = evaluated_run(tmp_path / "run", tiny_data)
    out = tmp_path / "a.png"
    assert main(["nearest", f"run={run}", f"out={out}", "n=10", "rows=2", "k=2", "device=cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["features"] == "classifier shapes, penultimate" and found["picture"] == str(out)
    assert 0 <= found["copies"] <= 1 and found["samples"] == 10 and tiles(out, 2, 3, 32).shape == (6, 32, 32, 3)
    assert gan_lab.nearest(run, None, 10, metrics="pixels")["distance"] > 5
    with pytest.raises(UserError, match="metrics=shape: no such preset; did you mean 'shapes'"):
        gan_lab.nearest(run, None, 10, metrics="shape")
    features = module.features_for(module.load_trained(run, torch.device("cpu")), None, {}, torch.device("cpu"))
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    x = to_float(images).requires_grad_()
    torch.testing.assert_close(features.differentiable(x).detach(), features(images), rtol=1e-5, atol=1e-6)
    assert torch.autograd.grad(features.differentiable(x).sum(), x)[0].abs().max() > 0
