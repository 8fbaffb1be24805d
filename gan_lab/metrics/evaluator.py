"""The evaluation of a generator: samples in, one pass through the backbone, the figures of all metrics out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as torch_distributed

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import DivergedError, UserError
from gan_lab.kernels.prefetch import prefetch
from gan_lab.metrics.accumulators import Accumulators
from gan_lab.metrics.backbones.classifier import SHIPPED, ClassifierExtractor
from gan_lab.metrics.backbones.inception import TAPS
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor
from gan_lab.metrics.base import OF_THE_BACKBONE, Gaussian, Statistics
from gan_lab.metrics.images import count_non_finite, quantize
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.metrics.reference import cached, chosen_indices
from gan_lab.metrics.settings import Backbone, EvaluationSettings

Sample = Callable[[int], Tensor | tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class Evaluator(EvaluationSettings):
    """An evaluation that can be called: `evaluator(sample) -> {figure: value}`."""

    @torch.no_grad()
    def __call__(self, sample: Sample, distributed: bool = False) -> dict[str, float]:
        """All figures of the generator behind `sample(n)`: n images in [-1, 1] (n c h w), or uint8.

        Of a conditional generator `sample` gives (images, y), y the classes (int64 n) that it was asked for. The random
        numbers that it draws depend on `seed` and the batch alone, and the caller's are put back. With `distributed`,
        every rank of the default group makes every world-size-th batch, and all get the figures that one process would
        get. Raises DivergedError for images that are NaN or infinite.
        """
        rank, world = (collectives.rank(), collectives.size()) if distributed else (0, 1)
        fake, starts = self._accumulators("fake"), range(0, self.num_samples, self.batch_size)
        broken = torch.zeros((), dtype=torch.int64, device=self.device)

        def draw(start: int) -> tuple[Tensor, ...]:
            n = min(self.batch_size, self.num_samples - start)
            with own_randomness(mix(self.seed, "evaluation", start // self.batch_size), self.device):
                images, *labels = self._drawn(sample(n), n)
            return quantize(images), count_non_finite(images), *labels

        for start, (images, found, *labels) in prefetch(starts[rank::world], draw, self.device):
            self._add(fake, start, images, *labels)
            broken += found
        if world > 1:
            fake.add_ranks()
            torch_distributed.all_reduce(broken)
        if broken:
            raise DivergedError(f"{int(broken)} of {self.num_samples} images given to the metrics hold NaN or infinite "
                                "values: the generator diverged")  # fmt: skip
        return self._figures(Statistics(**fake.compute()), self.reference)

    @torch.no_grad()
    def compare(self, fakes: Iterable[Tensor], reals: Iterable[Tensor]) -> dict[str, float]:
        """All figures of one set of images against another: batches (uint8 b c h w) of `num_samples` and `reals`."""
        if "labels" in self.needs("real"):
            raise UserError("a metric in metrics.extra needs the classes of the reals, which a set of images has not")
        fake = self._fed(self._accumulators("fake"), fakes, self.num_samples)
        real = self._fed(self._accumulators("real"), reals, self.reals)
        if "split_labels" in self.needs("real"):
            real["split_labels"] = self.dataset.labels(self.real_split)
        return self._figures(Statistics(**fake), Statistics(**real))

    @cached_property
    def reference(self) -> Statistics:
        """What the metrics need of the reals: from the cache, or from one pass over them."""
        needs, indices = self.needs("real"), chosen_indices(self.available, self.reals)
        measured = self._in_the_backbone(needs, indices) if needs & OF_THE_BACKBONE else {}
        if "images" in needs:
            measured["images"] = self.dataset.images(self.real_split, indices[: self.paired_reals]).to(self.device)
        if needs & {"labels", "split_labels"}:
            labels = self.dataset.labels(self.real_split)
            measured |= {"labels": labels[indices].to(self.device), "split_labels": labels}
        return Statistics(**{need: value for need, value in measured.items() if need in needs})

    def _in_the_backbone(self, needs: set[str], indices: Tensor) -> dict[str, Any]:
        """Statistics of the features and logits of the reals. The file serves other fakes, seeds and metrics, too."""
        kept = self.reals if "features" in needs else self.paired_reals if "pairs" in needs else 0
        limits = {"gaussian": self.reals, "features": kept} | ({"logits": self.reals} if "logits" in needs else {})

        def measure() -> dict[str, Tensor]:
            images = (self.dataset.images(self.real_split, part) for part in indices.split(self.batch_size))
            accumulators = Accumulators(limits, self.extractor.num_features, self.device)
            found = self._fed(accumulators, images, self.reals)
            gaussian = found.pop("gaussian")
            return {"mean": gaussian.mean, "cov": gaussian.cov, **found}

        facts = {**self.real_protocol(), "kept": kept} | ({"logits": self.reals} if "logits" in needs else {})
        file = f"{self.dataset.name}-{self.dataset.sha256[:12]}-{protocol_hash(facts)}.safetensors"
        names = ["mean", "cov", *(name for name in limits if name != "gaussian")]
        stored = cached(Path(self.cache_dir) / file, names, self.device, measure)
        gaussian = Gaussian(stored.pop("mean"), stored.pop("cov"), self.reals)
        return {"gaussian": gaussian, "pairs": stored["features"][: self.paired_reals], **stored}

    def _accumulators(self, side: str) -> Accumulators:
        """For what the metrics need of the "fake" or the "real" side."""
        total, fid = (self.num_samples, self.fakes) if side == "fake" else (self.reals, self.reals)
        paired = self.paired_fakes if side == "fake" else self.paired_reals
        limits = {"gaussian": fid, "features": fid, "pairs": paired, "images": paired, "logits": total, "labels": total}
        wanted = {need: limits[need] for need in limits.keys() & self.needs(side)}
        return Accumulators(wanted, self.extractor.num_features, self.device)

    def _fed(self, accumulators: Accumulators, batches: Iterable[Tensor], count: int) -> dict[str, Any]:
        """What is accumulated of `count` images in batches (uint8 b c h w)."""
        seen = 0
        for images in batches:
            self._add(accumulators, seen, images)
            seen += len(images)
        if seen != count:
            raise ValueError(f"{seen} images were given where the evaluation is of {count}")
        return accumulators.compute()

    def _add(self, accumulators: Accumulators, start: int, images: Tensor, labels: Tensor | None = None) -> None:
        """Add a batch of uint8 images, through the backbone where anything needs that."""
        batch = {"images": images.to(self.device)}
        if labels is not None:
            batch["labels"] = labels.to(self.device)
        if accumulators.parts.keys() & OF_THE_BACKBONE:
            batch |= self.extractor(batch["images"])
        accumulators.update(start, batch)

    def _drawn(self, made: Tensor | tuple[Tensor, Tensor], n: int) -> tuple[Tensor, ...]:
        """What `sample(n)` gave, checked and on the device: images, and where conditional the classes asked for."""
        drawn = made if isinstance(made, tuple) else (made,)
        if len(drawn) != 1 + self.conditional:
            expected = "images and their classes" if self.conditional else "images alone"
            raise ValueError(f"sample({n}) must give {expected}: the evaluator has conditional={self.conditional}")
        for part, what in zip(drawn, ("images", "classes"), strict=False):
            if len(part) != n:
                raise ValueError(f"sample({n}) gave {len(part)} {what}")
        return tuple(part.to(self.device) for part in drawn)

    def _figures(self, fake: Statistics, real: Statistics) -> dict[str, float]:
        values: list[float] = []
        for metric in self.metrics:
            found: Any = metric.compute(fake, real)
            row = list(found) if isinstance(found, (list, tuple)) else [found]
            if len(row) != len(metric.figures):
                raise ValueError(f"{type(metric).__name__} gave {len(row)} numbers for {len(metric.figures)} figures")
            values += [float(value) for value in row]
        return {figure.name: value for figure, value in zip(self.figures, values, strict=True)}


@dataclass(kw_only=True)
class InceptionEvaluator(Evaluator):
    """Figures in the features of the FID Inception-v3: fid, kid, precision, ...; fid768, ... at tap 768.

    feature: 64, 192, 768, 2048 or logits. The inception score (is_mean, is_std) needs logits, so it comes
    with 2048 and logits only. weights: torch-fidelity's file; None looks at $GAN_LAB_INCEPTION, then
    torch.hub's cache, then downloads.
    """

    feature: int | str = 2048

    def make_backbone(self) -> Backbone:
        tap = str(self.feature)
        if tap not in TAPS:
            raise ValueError(f"feature must be one of {', '.join(TAPS)}, not {tap}")
        extractor = InceptionExtractor(self.weights, tap, self.device)
        suffix = {"2048": "", "logits": "_logits"}.get(tap, tap)
        return Backbone(extractor, {"backbone": extractor.name, "tap": tap}, feature_suffix=suffix)


@dataclass(kw_only=True)
class ClassifierEvaluator(Evaluator):
    """Figures in the features of a small classifier, under its name: fid_<name>, is_<name>, modes_<name>, ...

    weights: a file of gan-lab train-classifier, or the name of one that ships with the package
    ("shapes"). Modes are the classes hit by the samples; modes_kl is KL(classes of the samples | labels of
    the real split) in nats.
    """

    num_samples: int = 5_000
    batch_size: int = 250

    def make_backbone(self) -> Backbone:
        if self.weights is None:
            raise UserError("metrics.weights is missing: name a file that gan-lab train-classifier wrote, or 'shapes'")
        shipped, data = SHIPPED / f"{self.weights}.safetensors", self.dataset
        extractor = ClassifierExtractor(
            shipped if shipped.is_file() else Path(self.weights).expanduser(),
            resolution=data.resolution,
            channels=data.channels,
            num_classes=data.num_classes,
            device=self.device,
        )
        of_the_data = extractor.stacked or extractor.facts.get("name") == data.name
        if not of_the_data:
            warnings.warn(
                f"the classifier '{extractor.name}' was not trained on dataset={data.name}: "
                "its figures say little there", stacklevel=3)  # fmt: skip
        return Backbone(
            extractor,
            {"backbone": f"classifier {extractor.name}", "tap": "penultimate"},
            feature_suffix=f"_{extractor.name}",
            logit_suffix=f"_{extractor.name}",
            counts_modes=True,
            knows_classes=of_the_data and extractor.num_logits == data.num_classes,
        )


inception_evaluator = InceptionEvaluator
classifier_evaluator = ClassifierEvaluator
