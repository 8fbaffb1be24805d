"""Figures of the classes that the backbone sees in the samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gan_lab.errors import UserError
from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics


@dataclass(frozen=True)
class Modes(Metric):
    """How many classes the samples hit, and KL(their classes | the reals') in nats.

    The reals' classes are the labels of the real split; where the backbone has other classes than the dataset
    (`labelled` is false), those that it sees in the reals.
    """

    labelled: bool = True

    figures = (Figure("modes", higher_is_better=True), Figure("modes_kl", higher_is_better=False))

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return "fake.logits", "real.split_labels" if self.labelled else "real.logits"

    def fit(self, setting: Setting) -> Metric:
        return replace(self, labelled=setting.num_classes == setting.num_logits)

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
    """Share of the samples that the backbone's classifier puts in the class that the generator was asked for."""

    figures = (Figure("label_accuracy", higher_is_better=True),)
    needs = ("fake.logits", "fake.labels")

    def fit(self, setting: Setting) -> Metric:
        if not setting.knows_classes:
            raise UserError("label_accuracy needs a backbone with the dataset's own classes: train a classifier of it "
                            "with gan-lab train-classifier")  # fmt: skip
        return self

    def compute(self, fake: Statistics, real: Statistics) -> float:
        return float((fake.logits.argmax(dim=1) == fake.labels).double().mean())
