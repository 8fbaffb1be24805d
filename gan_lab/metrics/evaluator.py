"""The evaluation of a generator: samples in, one pass through the backbone, all figures out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.kernels.prefetch import one_ahead
from gan_lab.metrics import functional
from gan_lab.metrics.images import quantize
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.metrics.real import RealStatistics, cached, chosen_indices, measure
from gan_lab.metrics.settings import K_DENSITY, K_PRECISION, EvaluationSettings
from gan_lab.metrics.states import FeatureBank, GaussianStatistics, InceptionScore, ModeCounts


@dataclass(kw_only=True)
class Evaluator(EvaluationSettings):
    """An evaluation that can be called: `evaluator(sample) -> {figure: value}`."""

    @cached_property
    def real(self) -> RealStatistics:
        """The statistics of the reals: from the cache, or from one pass over them."""
        facts = {**self.real_protocol(), "kept": self.paired_reals}
        name = f"{self.dataset.name}-{self.dataset.sha256[:12]}-{protocol_hash(facts)}.safetensors"

        def compute() -> RealStatistics:
            return measure(
                self.extractor,
                lambda part: self.dataset.images(self.real_split, part).to(self.device),
                chosen_indices(self.available, self.reals),
                keep=self.paired_reals,
                batch_size=self.batch_size,
                num_features=self.extractor.num_features,
                num_logits=self.extractor.num_logits if self.modes else 0,
                device=self.device,
            )

        return cached(Path(self.cache_dir) / name, self.device, compute)

    @torch.no_grad()
    def __call__(
        self, sample: Callable[[int], Tensor | tuple[Tensor, Tensor]], distributed: bool = False
    ) -> dict[str, float]:
        """All figures of the generator behind `sample(n)`: n images in [-1, 1] (n c h w), or uint8.

        A conditional generator's `sample` returns their classes (n) too, which no figure looks at so far.

        The random numbers that `sample` draws depend on `seed` and the batch alone, and the caller's are put
        back. With `distributed`, every rank of the default group makes every world-size-th batch, and all get
        the figures that one process would get. Raises DivergedError for images that are NaN or infinite.
        """
        rank, world = _rank_and_world() if distributed else (0, 1)
        states = _States(self, sync_on_compute=distributed)
        starts = range(0, self.num_samples, self.batch_size)

        def positions(index: int) -> Tensor:
            return torch.arange(starts[index], min(starts[index] + self.batch_size, self.num_samples))

        def images(index: int) -> Tensor:
            n = len(positions(index))
            with own_randomness(mix(self.seed, "evaluation", index), self.device):
                drawn = sample(n)
                made = quantize(drawn[0] if isinstance(drawn, tuple) else drawn)
            if len(made) != n:
                raise ValueError(f"sample({n}) gave {len(made)} images")
            return made

        for index, made in one_ahead(range(rank, len(starts), world), images, self.device):
            states.update(self.extractor(made), positions(index))
        return {self.key(name): value for name, value in self._figures(states).items()}

    def _figures(self, states: _States) -> dict[str, float]:
        out: dict[str, float] = {}
        if self.has_fid:
            mean, cov, _ = states.gaussian.compute()
            real = self.real
            out["fid"] = functional.frechet_distance(mean, cov, real.mean, real.cov, real.root)
        if states.score is not None:
            out["is"], out["is_std"] = states.score.compute()
        if states.bank is not None:
            fake, real = states.bank.compute(), self.real
            if self.kid:
                how = (self.kid_subsets, self.kid_subset_size, self.seed)
                out["kid"], out["kid_std"] = functional.kernel_distance(fake, real.features, *how)
            if self.precision_recall:
                near = real.neighbours(max(K_PRECISION, K_DENSITY))
                out |= functional.manifold_figures(real.features, fake, K_PRECISION, K_DENSITY, near)
        if states.modes is not None:
            counts = states.modes.compute()
            out["modes"] = float((counts > 0).sum())
            out["modes_kl"] = functional.label_divergence(counts.cpu(), self._reference_counts())
        return out

    def _reference_counts(self) -> Tensor:
        """The real split's labels as a histogram; where the classes differ, as the classifier sees them."""
        if self.dataset.num_classes == self.extractor.num_logits:
            return torch.bincount(self.dataset.labels(self.real_split), minlength=self.extractor.num_logits)
        return self.real.counts.cpu()


class _States:
    """What one evaluation accumulates: the states that its figures need, fed by one pass."""

    def __init__(self, settings: EvaluationSettings, **how: Any) -> None:
        extractor, device = settings.extractor, settings.device
        self.fakes = settings.fakes
        self.gaussian = GaussianStatistics(extractor.num_features, **how).to(device)
        self.bank = FeatureBank(settings.paired_fakes, **how) if settings.paired_fakes else None
        self.score: InceptionScore | None = None
        self.modes: ModeCounts | None = None
        if settings.has_logits:
            total = settings.num_samples
            self.score = InceptionScore(extractor.num_logits, total, settings.splits, **how).to(device)
        if settings.modes:
            self.modes = ModeCounts(extractor.num_logits, **how).to(device)
        self.update({"features": torch.empty(0, extractor.num_features, device=device)}, torch.arange(0))

    def update(self, taps: dict[str, Tensor], positions: Tensor) -> None:
        """Feeds one batch; the empty one makes every state take part in a gathering."""
        features = taps["features"]
        self.gaussian.update(features[(positions < self.fakes).to(features.device)])
        if self.bank is not None:
            self.bank.update(features, positions)
        if "logits" in taps:
            if self.score is not None:
                self.score.update(taps["logits"], positions)
            if self.modes is not None:
                self.modes.update(taps["logits"])


def _rank_and_world() -> tuple[int, int]:
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        raise ValueError("distributed evaluation needs an initialized process group")
    return distributed.get_rank(), distributed.get_world_size()
