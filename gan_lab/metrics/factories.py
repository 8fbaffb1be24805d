"""The evaluators that configurations name: one for the FID Inception, one for classifiers trained here."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch  # noqa: F401  (the inherited annotations are resolved in this module's names)

from gan_lab.errors import UserError
from gan_lab.metrics.backbones.classifier import SHIPPED, ClassifierExtractor
from gan_lab.metrics.backbones.inception import TAPS
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.settings import Extractor


@dataclass(kw_only=True)
class InceptionEvaluator(Evaluator):
    """Figures in the features of the FID Inception-v3: fid, kid, precision, ...; fid768, ... at tap 768.

    feature: 64, 192, 768, 2048 or logits. The inception score (is_mean, is_std) needs logits, so it comes
    with 2048 and logits only. weights: torch-fidelity's file; None looks at $GAN_LAB_INCEPTION, then
    torch.hub's cache, then downloads.
    """

    feature: int | str = 2048

    def _make_extractor(self) -> Extractor:
        if str(self.feature) not in TAPS:
            raise ValueError(f"feature must be one of {', '.join(TAPS)}, not {self.feature}")
        return InceptionExtractor(self.weights, str(self.feature), self.device)

    def key(self, figure: str) -> str:
        """fid -> fid at 2048, fid768 at 768, fid_logits at logits; the inception score is is_mean, is_std."""
        if figure in ("is", "is_std"):
            return "is_mean" if figure == "is" else figure
        suffix = {"2048": "", "logits": "_logits"}.get(str(self.feature), str(self.feature))
        return f"{figure.removesuffix('_std')}{suffix}{'_std' if figure.endswith('_std') else ''}"

    def _backbone_protocol(self) -> dict[str, Any]:
        return {"backbone": self.extractor.name, "tap": str(self.feature)}


@dataclass(kw_only=True)
class ClassifierEvaluator(Evaluator):
    """Figures in the features of a small classifier, under its name: fid_<name>, is_<name>, modes_<name>, ...

    weights: a file of scripts/train_feature_net.py, or the name of one that ships with the package
    ("shapes"). Modes are the classes hit by the samples; modes_kl is KL(classes of the samples | labels of
    the real split) in nats.
    """

    num_samples: int = 5_000
    batch_size: int = 250

    modes = True

    def _make_extractor(self) -> Extractor:
        if self.weights is None:
            raise UserError(
                "metrics.weights is missing: name a file that scripts/train_feature_net.py wrote, or 'shapes'"
            )
        shipped = SHIPPED / f"{self.weights}.safetensors"
        extractor = ClassifierExtractor(
            shipped if shipped.is_file() else Path(self.weights).expanduser(),
            resolution=self.dataset.resolution,
            channels=self.dataset.channels,
            num_classes=self.dataset.num_classes,
            device=self.device,
        )
        if extractor.facts.get("name") != self.dataset.name and not extractor.stacked:
            warnings.warn(
                f"the classifier '{extractor.name}' was not trained on dataset={self.dataset.name}: "
                "its figures say little there", stacklevel=3)  # fmt: skip
        return extractor

    def key(self, figure: str) -> str:
        """fid -> fid_<name>, kid_std -> kid_<name>_std, modes_kl -> modes_kl_<name>."""
        name = self.extractor.name
        return f"{figure.removesuffix('_std')}_{name}_std" if figure.endswith("_std") else f"{figure}_{name}"

    def _backbone_protocol(self) -> dict[str, Any]:
        return {"backbone": f"classifier {self.extractor.name}", "tap": "penultimate"}


inception_evaluator = InceptionEvaluator
classifier_evaluator = ClassifierEvaluator
