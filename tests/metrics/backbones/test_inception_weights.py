"""Checks on the real weights, where they are present.

GAN_LAB_INCEPTION_768: a file with every layer up to Mixed_6e; GAN_LAB_INCEPTION: torch-fidelity's whole file.
GAN_LAB_DATA: where cifar10 is packed. With all three, the published goldens are a test.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from gan_lab.data.shapes import render
from gan_lab.errors import UserError
from gan_lab.metrics import functional as fn
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor

CPU = torch.device("cpu")


def path_in(variable: str) -> str:
    path = os.environ.get(variable)
    if not path or not Path(path).exists():
        pytest.skip(f"{variable} names no file here: this test needs the weights themselves")
    return path


def cifar10(split: str, count: int) -> torch.Tensor:
    """The first images of a split, uint8 n c h w."""
    folder = Path(os.environ.get("GAN_LAB_DATA", "data")) / "cifar10"
    if not (folder / "images.npy").exists():
        pytest.skip("GAN_LAB_DATA holds no packed cifar10: this test needs its images")
    images = np.load(folder / "images.npy", mmap_mode="r")
    start = 0 if split == "train" else 50_000
    if len(images) < start + count:
        pytest.skip(f"the packed cifar10 holds fewer than {count} images of {split}: this test needs them all")
    return torch.from_numpy(np.array(images[start : start + count])).permute(0, 3, 1, 2)


@pytest.mark.slow
def test_features_and_fid_at_768_equal_torch_fidelitys():
    path = path_in("GAN_LAB_INCEPTION_768")
    images = torch.from_numpy(render(48, seed=1)[0]).permute(0, 3, 1, 2).contiguous()
    ours = InceptionExtractor(path, "768", CPU)(images)["features"]
    theirs = FeatureExtractorInceptionV3("x", ["768"], feature_extractor_weights_path=path)(images)[0]
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    halves = [fid_features_to_statistics(part.double()) for part in theirs.split(24)]
    expected = fid_statistics_to_metric(*halves, verbose=False)["frechet_inception_distance"]
    a, b = ours.split(24)
    statistics = (*fn.mean_and_covariance(a), *fn.mean_and_covariance(b))
    # Fewer images than dimensions: torch-fidelity's route leaves rounding noise in 745 zero eigenvalues.
    assert fn.frechet_distance(*statistics) == pytest.approx(expected, rel=1e-4)
    assert fn.frechet_distance_of_features(a, b) == pytest.approx(expected, rel=1e-4)


def test_weights_up_to_768_are_refused_at_2048():
    path = path_in("GAN_LAB_INCEPTION_768")
    for tap in ("2048", "logits"):
        with pytest.raises(UserError, match="metrics.feature=768 would work"):
            InceptionExtractor(path, tap, CPU)


def taps_of(path: str, images: torch.Tensor) -> dict[str, torch.Tensor]:
    extractor = InceptionExtractor(path, "2048", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    parts = [extractor(part) for part in images.split(250)]
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in ("features", "logits")}


@pytest.mark.slow
def test_goldens_of_torch_fidelity_between_train_and_test():
    """CIFAR-10, train[:5000] against test[:5000], as torch-fidelity's documentation gives them."""
    path = path_in("GAN_LAB_INCEPTION")
    a = taps_of(path, cifar10("train", 5000))["features"]
    b = taps_of(path, cifar10("test", 5000))["features"]
    fid = fn.frechet_distance(*fn.mean_and_covariance(a), *fn.mean_and_covariance(b))
    assert fid == pytest.approx(10.3233274, rel=1e-4)
    assert fn.kernel_distance(a, b, seed=2020)[0] == pytest.approx(-2.9079e-5, abs=1e-8)
    assert fn.precision_recall(b, a) == pytest.approx((0.6852, 0.6908), abs=1e-9)


@pytest.mark.slow
def test_golden_inception_score_of_torch_fidelity():
    """CIFAR-10, all training images, shuffled by torch-fidelity's default seed."""
    logits = taps_of(path_in("GAN_LAB_INCEPTION"), cifar10("train", 50_000))["logits"]
    assert fn.inception_score(logits, 10, seed=2020) == pytest.approx((11.23678, 0.09514), abs=2e-4)
