"""Classes that samples hit, and whether they are the ones that were asked for."""

from __future__ import annotations

import math

import pytest
import torch

from gan_lab.errors import UserError
from gan_lab.metrics import LabelAccuracy, classifier_evaluator
from gan_lab.metrics.base import Setting, Statistics
from gan_lab.metrics.modes import Modes

OFFERED = dict(samples=9, fakes=9, reals=9, pairwise=9, num_features=4)


def logits(classes: list[int], k: int = 4) -> torch.Tensor:
    return torch.eye(k)[classes] * 5


def test_modes_are_counted_and_compared_with_the_labels_of_the_split():
    metric = Modes().fit(Setting(num_logits=4, num_classes=4, knows_classes=True, **OFFERED))
    assert set(metric.needs) == {"fake.logits", "real.split_labels"}
    real = Statistics(split_labels=torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    modes, divergence = metric.compute(Statistics(logits=logits([0, 2, 2, 2])), real)
    assert modes == 2 and divergence == pytest.approx(0.25 * math.log(1) + 0.75 * math.log(3))


def test_where_the_classes_differ_the_reals_are_judged_too():
    metric = Modes().fit(Setting(num_logits=4, num_classes=1, knows_classes=False, **OFFERED))
    assert set(metric.needs) == {"fake.logits", "real.logits"}
    found = metric.compute(Statistics(logits=logits([1, 1, 3])), Statistics(logits=logits([1, 1, 1, 3])))
    assert found == pytest.approx((2, 2 / 3 * math.log(8 / 9) + 1 / 3 * math.log(4 / 3)))


def test_as_many_classes_of_other_data_are_not_the_labels():
    metric = Modes().fit(Setting(num_logits=4, num_classes=4, knows_classes=False, **OFFERED))
    assert set(metric.needs) == {"fake.logits", "real.logits"}
    same = Statistics(logits=logits([2, 2, 3, 0]), split_labels=torch.tensor([0, 1, 1, 1]))
    assert metric.compute(same, same) == pytest.approx((3, 0.0))


def test_label_accuracy_is_the_share_in_the_class_asked_for():
    fake = Statistics(logits=logits([0, 1, 2, 3]), labels=torch.tensor([0, 1, 1, 1]))
    assert LabelAccuracy().compute(fake, Statistics()) == 0.5
    assert LabelAccuracy().figures[0].higher_is_better is True


def test_label_accuracy_needs_a_backbone_with_the_dataset_s_classes():
    with pytest.raises(UserError, match="label_accuracy needs a backbone with the dataset's own classes"):
        LabelAccuracy().fit(Setting(num_logits=4, num_classes=4, knows_classes=False, **OFFERED))


@pytest.mark.filterwarnings("ignore")
def test_an_evaluation_tells_obedient_generators_from_others(toy, tmp_path, make_toy):
    labels = toy.labels("train")

    def sample(shift):
        place = iter(range(0, 240, 32))

        def draw(n):
            at = torch.arange(start := next(place), start + n)
            return toy.images("train", at), (labels[at] + shift) % 16

        return draw

    settings = dict(cache_dir=tmp_path, weights="shapes", num_samples=240, batch_size=32, conditional=True)
    extra = {"labels": LabelAccuracy()}
    evaluator = classifier_evaluator(dataset=toy, extra=extra, best="label_accuracy", **settings)
    assert evaluator.best_figure.name == "label_accuracy_shapes" and evaluator.best_figure.higher_is_better
    assert evaluator(sample(0))["label_accuracy_shapes"] > 0.95
    assert evaluator(sample(1))["label_accuracy_shapes"] < 0.05
    other = make_toy()
    other.name = "letters"  # as many classes, but others
    with pytest.raises(UserError, match="the dataset's own classes"):
        classifier_evaluator(dataset=other, extra=extra, **settings)
