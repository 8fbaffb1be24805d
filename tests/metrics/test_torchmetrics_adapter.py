"""Modules of torchmetrics beside our own metrics, and that nothing imports torchmetrics without being asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics import Metric as TorchmetricsMetric
from torchmetrics.image import StructuralSimilarityIndexMeasure, TotalVariation
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from gan_lab.errors import UserError
from gan_lab.metrics import classifier_evaluator
from gan_lab.metrics.reference import chosen_indices
from gan_lab.metrics.torchmetrics_adapter import adapted


class Backbone(nn.Module):
    """An evaluator's features as torchmetrics takes them."""

    def __init__(self, extractor):
        super().__init__()
        self.extractor, self.num_features = extractor, extractor.num_features

    def forward(self, images):
        assert images.dtype == torch.uint8
        return self.extractor(images)["features"]


def make(toy, cache, extra, **settings):
    settings = {"num_samples": 200, "num_real": 180, "pairwise": 1000, "kid_subset_size": 90, **settings}
    return classifier_evaluator(dataset=toy, cache_dir=cache, weights="shapes", extra=extra, **settings)


def test_the_protocol_has_the_settings_of_the_module():
    by_mean, by_sum = (adapted("tv", TotalVariation(reduction=how)) for how in ("mean", "sum"))
    assert by_mean.protocol() == {"kind": "torchmetrics TotalVariation", "reduction": "mean"}
    assert by_sum.protocol()["reduction"] == "sum"
    kid = KernelInceptionDistance(feature=nn.Flatten(), subset_size=3)
    before = adapted("kid", kid).protocol()
    assert before["subset_size"] == 3 and before["degree"] == 3
    kid.real_features.append(torch.ones(2))
    kid.sync_on_compute = False
    assert adapted("kid", kid).protocol() == before  # nothing of what it has collected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchmetrics_fid_and_kid_in_our_features_are_our_fid_and_kid(toy, tmp_path):
    backbone = Backbone(make(toy, tmp_path, {}).extractor)
    theirs = {
        "their_fid": FrechetInceptionDistance(feature=backbone).set_dtype(torch.float64),
        "their_kid": KernelInceptionDistance(feature=backbone, subsets=30, subset_size=90),
    }
    evaluator = make(toy, tmp_path, theirs)
    assert [(f.name, f.higher_is_better) for f in evaluator.figures[-2:]] == [
        ("their_fid", False),
        ("their_kid", False),
    ]
    images = toy.images("train", torch.arange(240)).flip(2)
    for _ in range(2):  # nothing is left of the first evaluation
        place = iter(range(0, 200, 250))

        def sample(n, place=place):
            start = next(place)
            return images[start : start + n]

        figures = evaluator(sample)
        assert figures["their_fid"] == pytest.approx(figures["fid_shapes"], rel=1e-3)
        assert figures["their_kid"] == pytest.approx(figures["kid_shapes"], abs=4 * figures["kid_shapes_std"])
    assert figures["fid_shapes"] > 1


def test_a_module_of_the_fakes_alone_reads_floats_between_0_and_1(toy, tmp_path):
    evaluator = make(toy, tmp_path, {"variation": TotalVariation(reduction="mean")}, num_samples=100)
    figures = evaluator(lambda n: toy.images("train", torch.arange(n)))
    x = toy.images("train", torch.arange(100)).double() / 255
    expected = (x.diff(dim=2).abs().sum((1, 2, 3)) + x.diff(dim=3).abs().sum((1, 2, 3))).mean()
    assert figures["variation"] == pytest.approx(float(expected), rel=1e-4)
    assert evaluator.protocol["extra"] == {
        "variation": {"metric": "TorchMetric", "kind": "torchmetrics TotalVariation", "reduction": "mean"}
    }
    assert evaluator.protocol["higher_is_better"]["variation"] is False


class Brighter(TorchmetricsMetric):
    """How much brighter the fakes are than the reals."""

    higher_is_better = True

    def __init__(self):
        super().__init__()
        for side in ("real", "fake"):
            self.add_state(side, torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, images, real):
        assert images.dtype == torch.float32 and images.max() <= 1
        state = self.real if real else self.fake
        state += torch.tensor([float(images.double().sum()), images.numel()])

    def compute(self):
        return self.fake[0] / self.fake[1] - self.real[0] / self.real[1]


def test_fakes_and_reals_are_told_apart(toy, tmp_path):
    evaluator = make(toy, tmp_path, {"brighter": Brighter()}, num_samples=100, num_real=90)
    assert evaluator.figures[-1].higher_is_better is True
    reals = toy.images("train", chosen_indices(240, 90)).double().mean() / 255
    for level in (255, 0):
        figures = evaluator(lambda n, level=level: torch.full((n, 3, 32, 32), level, dtype=torch.uint8))
        assert figures["brighter"] == pytest.approx(float(level / 255 - reals), abs=1e-6)


def test_modules_of_pairs_are_refused(toy, tmp_path):
    with pytest.raises(UserError, match="StructuralSimilarity.* is updated with preds, target, not with images"):
        make(toy, tmp_path, {"ssim": StructuralSimilarityIndexMeasure()})
    with pytest.raises(UserError, match="metrics.extra.mean: MeanMetric is updated with value, weight"):
        make(toy, tmp_path, {"mean": MeanMetric()})


_RUN = """
import sys, gan_lab
words = ["trainer.total_steps=1", "trainer.batch_size=4", "width=0.0625", "metrics=shapes", "metrics.num_samples=20",
         "trainer.device=cpu"]
gan_lab.train(gan_lab.compose(*words, f"data_dir={sys.argv[1]}", f"hydra.run.dir={sys.argv[2]}"))
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("torchmetrics", "torchvision"))[:3])
"""


@pytest.mark.slow
def test_training_and_evaluating_import_neither_torchmetrics_nor_torchvision(tiny_data, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _RUN, str(tiny_data), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
