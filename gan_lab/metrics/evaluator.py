"""Evaluate a generator: pass its samples through the backbone once and compute the figures of all metrics."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.distributed.memory import ran_out, release
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import DivergedError, UserError
from gan_lab.files import expand_path
from gan_lab.kernels.prefetch import prefetch
from gan_lab.kernels.threads import compute_ahead, idle_cores
from gan_lab.linalg import float64_device
from gan_lab.metrics.accumulators import Accumulators
from gan_lab.metrics.backbones.classifier import SHIPPED, ClassifierExtractor
from gan_lab.metrics.backbones.inception import TAPS
from gan_lab.metrics.backbones.inception_weights import (
    InceptionExtractor,
    check_weights,
    find_weights,
    is_named,
    read_weights,
)
from gan_lab.metrics.base import OF_THE_BACKBONE, Gaussian, Statistics, has_label_vectors
from gan_lab.metrics.images import count_non_finite, quantize
from gan_lab.metrics.memory import explained
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.metrics.reference import cached, chosen_indices
from gan_lab.metrics.settings import EvaluationSettings, Extractor
from gan_lab.progress import working

T = TypeVar("T")
Sample = Callable[[int], Tensor | tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class Evaluator(EvaluationSettings):
    """Call it to evaluate a generator: `evaluator(sample) -> {figure: value}`."""

    def __call__(self, sample: Sample, distributed: bool = False) -> dict[str, float]:
        """Evaluate the generator that `sample(n)` draws from: n images (n c h w) in [-1, 1], or uint8.

        For a conditional generator `sample` returns (images, y), y the requested classes (int64 n). Its random numbers
        depend only on `seed` and the batch; the caller's random state is restored. With `distributed`, the batches are
        divided over the ranks of the default group, and every rank returns the figures that one process would compute.
        Raises DivergedError if an image holds NaN or infinite values, and OutOfMemoryError.
        """
        try:
            return self._evaluate(sample, distributed)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            release(error)
            raise explained(self, sample) from error

    @torch.no_grad()
    def _evaluate(self, sample: Sample, distributed: bool) -> dict[str, float]:
        rank, world = (collectives.rank(), collectives.size()) if distributed else (0, 1)
        fake, starts = self._accumulators("fake"), range(0, self.num_samples, self.batch_size)
        broken = torch.zeros((), dtype=torch.int64, device=self.device)

        def draw(start: int) -> tuple[Tensor, ...]:
            n = min(self.batch_size, self.num_samples - start)
            with own_randomness(mix(self.seed, "evaluation", start // self.batch_size), self.device):
                images, *labels = self._check_sample(sample(n), n)
            return quantize(images), count_non_finite(images), *labels

        own = starts[rank::world]
        with working("evaluating", min(len(own) * self.batch_size, self.num_samples), quiet=rank > 0) as advance:
            drawn = ((item, item[1][0]) for item in prefetch(own, draw, self.device))
            for (start, (_, found, *labels)), batch in self._described(fake, drawn):
                fake.update(start, batch | ({"labels": labels[0]} if labels else {}))
                broken += found
                advance(len(batch["images"]))
        if world > 1:
            fake.add_ranks()
            collectives.sum_(broken)
        if broken:
            raise DivergedError(f"{int(broken)} of {self.num_samples} images given to the metrics hold NaN or infinite "
                                "values: the generator diverged")  # fmt: skip
        return self._figures(Statistics(**fake.compute()), self.reference)

    @torch.no_grad()
    def compare(self, fakes: Iterable[Tensor], reals: Iterable[Tensor]) -> dict[str, float]:
        """Compare two sets of images, of `num_samples` and `reals` images, given in batches (uint8 b c h w)."""
        if "labels" in self.needs("real"):
            raise UserError("a metric in metrics.extra needs the classes of the reals, which a set of images has not")
        fake = self._accumulate(self._accumulators("fake"), fakes, self.num_samples, "measuring the fakes")
        real = self._accumulate(self._accumulators("real"), reals, self.reals, "measuring the reals")
        if "split_labels" in self.needs("real"):
            real["split_labels"] = self.dataset.labels(self.real_split)
        return self._figures(Statistics(**fake), Statistics(**real))

    @cached_property
    def reference(self) -> Statistics:
        """The statistics of the reals, from the cache or from one pass over them."""
        needs, indices = self.needs("real"), chosen_indices(self.available, self.reals)
        measured = self._backbone_statistics(needs, indices) if needs & OF_THE_BACKBONE else {}
        if "images" in needs:
            measured["images"] = self.dataset.images(self.real_split, indices[: self.paired_reals]).to(self.device)
        if needs & {"labels", "split_labels"}:
            labels = self.dataset.labels(self.real_split)
            measured |= {"labels": labels[indices].to(self.device), "split_labels": labels}
        return Statistics(**{need: value for need, value in measured.items() if need in needs})

    def _backbone_statistics(self, needs: set[str], indices: Tensor) -> dict[str, Any]:
        """Return statistics of features and logits of the reals. The cached file also serves other fakes and seeds."""
        kept = self.reals if "features" in needs else self.paired_reals if "pairs" in needs else 0
        limits = {"gaussian": self.reals, "features": kept} | ({"logits": self.reals} if "logits" in needs else {})

        def measure() -> dict[str, Tensor]:
            images = (self.dataset.images(self.real_split, part) for part in indices.split(self.batch_size))
            accumulators = Accumulators(limits, self.extractor.num_features, self.device)
            found = self._accumulate(accumulators, images, self.reals, "measuring the reals, which is done once")
            gaussian = found.pop("gaussian")
            return {"mean": gaussian.mean, "cov": gaussian.cov, **found}

        cache_key = {**self.real_protocol(), "kept": kept} | ({"logits": self.reals} if "logits" in needs else {})
        if self.reals < self.available:  # which of them were chosen depends on how many there are
            cache_key["available"] = self.available
        file = f"{self.dataset.name}-{self.dataset.sha256[:12]}-{protocol_hash(cache_key)}.safetensors"
        names = ["mean", "cov", *(name for name in limits if name != "gaussian")]
        stored = cached(Path(self.cache_dir) / file, names, float64_device(self.device), measure)
        gaussian = Gaussian(stored.pop("mean"), stored.pop("cov"), self.reals)
        return {"gaussian": gaussian, "pairs": stored["features"][: self.paired_reals], **stored}

    def _accumulators(self, side: str) -> Accumulators:
        """Make accumulators for what the metrics need of the "fake" or the "real" side."""
        return Accumulators(self.limits(side), self.extractor.num_features, self.device)

    def _accumulate(
        self, accumulators: Accumulators, batches: Iterable[Tensor], count: int, what: str
    ) -> dict[str, Any]:
        """Pass `count` images, in batches (uint8 b c h w), through the backbone and return what was accumulated."""
        seen = 0
        with working(what, count, quiet=collectives.rank() > 0) as advance:
            for _, batch in self._described(accumulators, enumerate(batches)):
                accumulators.update(seen, batch)
                seen += len(batch["images"])
                advance(len(batch["images"]))
        if seen != count:
            raise ValueError(f"{seen} images were given where the evaluation is of {count}")
        return accumulators.compute()

    def _described(
        self, accumulators: Accumulators, batches: Iterable[tuple[T, Tensor]]
    ) -> Iterator[tuple[T, dict[str, Tensor]]]:
        """Replace the images (uint8 b c h w) of each (item, images) by "images" and what the backbone makes of them.

        The backbone runs only if a metric needs its "features" or "logits".
        """
        needs_backbone = bool(accumulators.parts.keys() & OF_THE_BACKBONE)

        def describe(batch: tuple[T, Tensor]) -> dict[str, Tensor]:
            images = batch[1].to(self.device)
            return {"images": images} | (self.extractor(images) if needs_backbone else {})

        for (item, _), described in compute_ahead(batches, describe, idle_cores(self.device)):
            yield item, described

    def _check_sample(self, sampled: Tensor | tuple[Tensor, Tensor], n: int) -> tuple[Tensor, ...]:
        """Check the result of `sample(n)` and move it to the device: images, and the classes of a conditional G."""
        drawn = sampled if isinstance(sampled, tuple) else (sampled,)
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
            plain = found.tolist() if hasattr(found, "tolist") else found  # of a tensor or an array
            row = list(plain) if isinstance(plain, (list, tuple)) else [plain]
            if len(row) != len(metric.figures):
                raise ValueError(f"{type(metric).__name__} gave {len(row)} numbers for {len(metric.figures)} figures")
            values += [float(value) for value in row]
        return {figure.name: value for figure, value in zip(self.figures, values, strict=True)}


@dataclass(kw_only=True)
class InceptionEvaluator(Evaluator):
    """Evaluate in the features of the FID Inception-v3. Figures: fid, kid, precision, ...; fid768, ... at tap 768.

    feature: 64, 192, 768, 2048 or logits. The inception score (is_mean, is_std) needs 2048 or logits. weights: the file
    of torch-fidelity; None: $GAN_LAB_INCEPTION, else torch.hub's cache, else a download.
    """

    feature: int | str = 2048

    @classmethod
    def prepare(cls, node: Mapping[str, Any], fetch: bool) -> None:
        weights = node.get("weights")
        if fetch:
            find_weights(weights)
        elif is_named(weights):
            path = find_weights(weights)
            check_weights(read_weights(path)[0], str(node.get("feature", cls.feature)), path)

    def make_extractor(self) -> Extractor:
        tap = str(self.feature)
        if tap not in TAPS:
            raise ValueError(f"feature must be one of {', '.join(TAPS)}, not {tap}")
        return InceptionExtractor(self.weights, tap, self.device)


@dataclass(kw_only=True)
class ClassifierEvaluator(Evaluator):
    """Evaluate in the features of a small classifier. Figures: fid_<name>, is_<name>, modes_<name>, ...

    weights: a file that gan-lab train-classifier wrote, or the name of one that ships with the package ("shapes").
    """

    num_samples: int = 5_000
    batch_size: int = 250

    @classmethod
    def prepare(cls, node: Mapping[str, Any], fetch: bool) -> None:
        cls._file(node.get("weights"))

    @staticmethod
    def _file(weights: str | None) -> Path:
        if weights is None:
            raise UserError("metrics.weights is missing: name a file that gan-lab train-classifier wrote, or 'shapes'")
        shipped, own = SHIPPED / f"{weights}.safetensors", Path(expand_path(weights))
        if not (shipped.is_file() or own.is_file()):
            raise UserError(f"metrics.weights={weights}: no such file; gan-lab train-classifier writes one")
        return shipped if shipped.is_file() else own

    def make_extractor(self) -> Extractor:
        data = self.dataset
        extractor = ClassifierExtractor(
            self._file(self.weights),
            resolution=data.resolution,
            channels=data.channels,
            num_classes=data.num_classes,
            device=self.device,
        )
        info = extractor.info
        same = info.get("name") == data.name or info.get("dataset_sha256") == data.sha256
        trained_on_data = extractor.stacked or same
        if not trained_on_data:
            warnings.warn(f"the classifier '{extractor.name}' was not trained on dataset={data.name}: "
                          "its figures say little there", stacklevel=3)  # fmt: skip
        known = extractor.num_logits == data.num_classes and not has_label_vectors(data)
        extractor.knows_classes = trained_on_data and known
        return extractor


inception_evaluator = InceptionEvaluator
classifier_evaluator = ClassifierEvaluator
