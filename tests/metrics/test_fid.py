"""FID as a metric, and FID class by class."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from gan_lab.errors import UserError
from gan_lab.metrics import IntraFID, classifier_evaluator
from gan_lab.metrics.base import Setting, Statistics

OFFERED = dict(samples=100, fakes=100, reals=100, pairwise=100, num_features=3, num_logits=3, knows_classes=True)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """By scipy's root of the product."""
    A, B = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(A @ B).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A + B - 2 * root))


def sides(n: int = 40, d: int = 3, classes: int = 3) -> tuple[Statistics, Statistics]:
    generator = torch.Generator().manual_seed(0)
    out = []
    for shift in (0.0, 0.7):
        labels = torch.arange(n) % classes
        x = torch.randn(n, d, generator=generator) + shift * labels[:, None]
        out.append(Statistics(features=x, labels=labels))
    return out[0], out[1]


@pytest.mark.parametrize(("n", "d"), [(60, 3), (30, 14)])  # more images of a class than dimensions, and fewer
def test_each_class_is_compared_with_its_own_reals(n, d):
    fake, real = sides(n, d)
    found = IntraFID().fit(Setting(num_classes=3, **OFFERED)).compute(fake, real)
    x, y = fake.features.double().numpy(), real.features.double().numpy()
    each = [frechet(x[np.arange(n) % 3 == c], y[np.arange(n) % 3 == c]) for c in range(3)]
    assert found[1:] == pytest.approx(each, rel=1e-5)
    assert found[0] == pytest.approx(np.mean(each), rel=1e-5)
    assert each[0] < each[1] < each[2]  # so that a mix-up of classes would be seen


def test_labels_of_samples_beyond_the_fid_are_left_out():
    fake, real = sides(30)
    more = Statistics(features=fake.features, labels=torch.cat([fake.labels, torch.zeros(9, dtype=torch.int64)]))
    metric = IntraFID(classes=3)
    assert metric.compute(more, real) == metric.compute(fake, real)


def test_the_mean_ranks_and_the_classes_stand_beside_it():
    few = IntraFID().fit(Setting(num_classes=3, **OFFERED)).figures
    assert [(f.name, f.higher_is_better) for f in few] == [
        ("intra_fid", False), ("intra_fid/0", None), ("intra_fid/1", None), ("intra_fid/2", None),
    ]  # fmt: skip
    many = IntraFID(classes=101)
    assert [f.name for f in many.figures] == ["intra_fid"]
    fake, real = sides(202 * 3, 2, classes=101)
    assert len(many.compute(fake, real)) == 1


def test_too_few_images_of_a_class_are_refused():
    with pytest.raises(UserError, match="at least two classes"):
        IntraFID().fit(Setting(num_classes=1, **OFFERED))
    with pytest.raises(UserError, match="two images of each of 51 classes, and there are 100 fakes and 100 reals"):
        IntraFID().fit(Setting(num_classes=51, **OFFERED))
    fake, real = sides(30)
    fake.labels[fake.labels == 2] = 1
    with pytest.raises(UserError, match="class 2 has 0 fakes and 10 reals"):
        IntraFID(classes=3).compute(fake, real)


@pytest.mark.filterwarnings("ignore")
def test_an_evaluation_gives_the_mean_and_each_class(toy, tmp_path):
    labels = toy.labels("train")
    settings = dict(num_samples=240, num_real=240, kid=False, precision_recall=False, weights="shapes", batch_size=32)

    def evaluator(**more):
        return classifier_evaluator(dataset=toy, cache_dir=tmp_path, **settings, **more)

    def own_images(right: bool):
        place = iter(range(0, 240, 32))

        def sample(n):
            at = torch.arange(start := next(place), start + n)
            return toy.images("train", at), labels[at] if right else (labels[at] + 1) % 16

        return sample

    conditional = evaluator(conditional=True, extra={"intra": IntraFID()}, best="intra_fid")
    names = ["intra_fid_shapes", *(f"intra_fid_shapes/{c}" for c in range(16))]
    assert [f.name for f in conditional.figures][-17:] == names and conditional.best_figure.name == "intra_fid_shapes"
    right, wrong = conditional(own_images(True)), conditional(own_images(False))
    assert all(math.isfinite(right[name]) for name in names)
    assert right["intra_fid_shapes"] == pytest.approx(0, abs=1e-4)  # the data's own images under their own labels
    assert wrong["intra_fid_shapes"] > 10
    assert right["fid_shapes"] == wrong["fid_shapes"] == pytest.approx(0, abs=1e-6)
    with warnings.catch_warnings(), pytest.raises(UserError, match="the generator is unconditional"):
        evaluator(extra={"intra": IntraFID()})
