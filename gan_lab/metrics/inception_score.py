"""Inception score."""

from dataclasses import dataclass, replace

from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics, warn


@dataclass(frozen=True)
class InceptionScore(Metric):
    """Mean and standard deviation of exp(E KL(p(y|x) | p(y))) over `splits` parts of the samples (arXiv:1606.03498).

    With a `seed`, samples are shuffled before they are split: see `functional.inception_score`.
    """

    splits: int = 10
    seed: int | None = None

    figures = (Figure("is_mean", higher_is_better=True), Figure("is_std"))
    needs = ("fake.logits",)

    def fit(self, setting: Setting) -> Metric:
        if self.splits > setting.samples:
            warn(f"splits reduced from {self.splits} to the {setting.samples} samples there are")
            return replace(self, splits=setting.samples)
        return self

    def compute(self, fake: Statistics, real: Statistics) -> tuple[float, float]:
        return functional.inception_score(fake.logits, self.splits, self.seed)

    def protocol(self) -> dict[str, int]:
        return {"is_splits": self.splits} | ({} if self.seed is None else {"is_shuffle_seed": self.seed})
