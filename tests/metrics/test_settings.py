"""The built-in protocols keep their hashes, so that figures of older runs stay comparable."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import gan_lab
from gan_lab import metrics
from gan_lab.errors import UserError
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor
from gan_lab.metrics.settings import prepare
from gan_lab.use.evaluate import preset

# As computed before metrics declared themselves, for the dataset and backbone below.
HASHES = {
    ("shapes", ()): "43b2445248f44f50",
    ("shapes", (("seed", 3),)): "1e8eb1bc6b708939",
    ("shapes", (("truncation", 0.7), ("ema", False))): "aa9f23e206d8c46d",
    ("shapes", (("kid", False), ("precision_recall", False))): "34603d9c83533a6a",
    ("shapes", (("num_samples", 1000),)): "9526a1d33dec5256",
    ("inception", ()): "e8af92713ccdb0b4",
    ("inception", (("seed", 3),)): "ae34d3f788ebfb15",
    ("inception", (("truncation", 0.7), ("ema", False))): "434cec46ca7cfecf",
    ("inception", (("kid", False), ("precision_recall", False))): "60790f19da4e0433",
    ("inception", (("feature", 768), ("num_samples", 1000))): "f0c983b4f915f43a",
    ("fid50k", ()): "7619e0c6d14c1079",
    ("fid50k", (("kid", False), ("precision_recall", False))): "15d24d37a270dcf6",
    ("fid50k", (("feature", 768), ("num_samples", 1000))): "193457caf4f59fce",
    ("paper_10k_5k", ()): "9dee04cf440581fc",
    ("paper_10k_5k", (("seed", 3),)): "5b383dafef4ea37f",
    ("paper_10k_5k", (("truncation", 0.7), ("ema", False))): "6e772f4216b097ec",
    ("quick", ()): "075345e28267725d",
    ("quick", (("feature", 768), ("num_samples", 1000))): "a5bdd7658843a50a",
}


class FixedInception(InceptionExtractor):
    def __init__(self, weights, tap, device):
        self._describe(tap, "6726825d" * 8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "settings"), HASHES)
def test_protocols_of_the_presets_have_the_hashes_that_they_had(monkeypatch, name, settings):
    monkeypatch.setattr("gan_lab.metrics.evaluator.InceptionExtractor", FixedInception)
    dataset = SimpleNamespace(
        name="shapes", sha256="ab" * 32, resolution=32, channels=3, num_classes=16, num_train=55_000, num_test=5_000
    )
    node = {**preset(name), **dict(settings), "best": None}
    made = getattr(metrics, node.pop("_target_").rpartition(".")[2])
    evaluator = made(**node, dataset=dataset, cache_dir=Path())
    assert evaluator.protocol_hash == HASHES[name, settings]
    assert evaluator.best_figure.name.startswith("fid")


def test_a_backbone_that_cannot_be_had_is_known_before_data_are_packed(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LAB_INCEPTION", str(tmp_path / "absent.pth"))
    photos = tmp_path / "photos"
    photos.mkdir()
    words = ("dataset=folder", f"dataset.path={photos}", f"data_dir={tmp_path}", f"hydra.run.dir={tmp_path / 'run'}")
    with pytest.raises(UserError, match="holds no images"):
        gan_lab.train(gan_lab.compose(*words))
    Image.new("L", (9, 9)).save(photos / "one.png")
    with pytest.raises(UserError, match="GAN_LAB_INCEPTION=.*no such file"):
        gan_lab.train(gan_lab.compose(*words))
    with pytest.raises(UserError, match="metrics.weights=.*no such file"):
        gan_lab.train(gan_lab.compose(*words, "metrics=classifier", f"metrics.weights={tmp_path / 'absent'}"))
    assert not list(tmp_path.glob("folder-*"))  # nothing was packed
    prepare({"_target_": "gan_lab.metrics.classifier_evaluator", "weights": "shapes"})
