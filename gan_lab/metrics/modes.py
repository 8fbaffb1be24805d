"""Metrics of the classes that the backbone predicts for the samples."""

from dataclasses import dataclass, replace

import torch

from gan_lab.errors import UserError
from gan_lab.linalg import as_float64
from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics


@dataclass(frozen=True)
class Modes(Metric):
    """Number of classes predicted for at least one sample, and KL(predicted classes | classes of the reals) in nats.

    labelled: the classes of the reals are the labels of the real split. Otherwise the backbone predicts them, because
    its classes are not the dataset's; `fit` decides.
    """

    labelled: bool = True

    figures = (Figure("modes", higher_is_better=True), Figure("modes_kl", higher_is_better=False))

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return "fake.logits", "real.split_labels" if self.labelled else "real.logits"

    def fit(self, setting: Setting) -> Metric:
        return replace(self, labelled=setting.knows_classes)

    def compute(self, fake: Statistics, real: Statistics) -> tuple[float, float]:
        classes = fake.logits.shape[1]
        counts = torch.bincount(fake.logits.argmax(dim=1), minlength=classes).cpu()
        seen = real.split_labels if self.labelled else real.logits.argmax(dim=1)
        reference = torch.bincount(seen, minlength=classes).cpu()
        return float((counts > 0).sum()), functional.label_divergence(counts, reference)

    def protocol(self) -> dict[str, object]:
        return {}


@dataclass(frozen=True)
class LabelAccuracy(Metric):
    """Share of the samples whose predicted class is the class that the generator was given."""

    figures = (Figure("label_accuracy", higher_is_better=True),)
    needs = ("fake.logits", "fake.labels")

    def fit(self, setting: Setting) -> Metric:
        if not setting.knows_classes:
            raise UserError("label_accuracy needs a backbone with the dataset's own classes: train a classifier of it "
                            "with gan-lab train-classifier")  # fmt: skip
        return self

    def compute(self, fake: Statistics, real: Statistics) -> float:
        return float(as_float64(fake.logits.argmax(dim=1) == fake.labels).mean())
