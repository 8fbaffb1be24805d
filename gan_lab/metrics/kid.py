"""Kernel inception distance."""

from dataclasses import dataclass, replace

from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics, warn


@dataclass(frozen=True)
class KID(Metric):
    """Unbiased squared maximum mean discrepancy, averaged over random subsets of features (arXiv:1801.01401)."""

    subsets: int = 100
    subset_size: int = 1_000
    seed: int = 0

    figures = (Figure("kid", higher_is_better=False), Figure("kid_std"))
    needs = ("fake.pairs", "real.pairs")

    def fit(self, setting: Setting) -> Metric | None:
        smallest = min(setting.fakes, setting.reals, setting.pairwise)
        if smallest < 2:
            warn(f"{self.named_figures(setting)[0].name} is left out: it needs at least two images")
            return None
        if smallest < self.subset_size:
            warn(f"kid_subset_size reduced from {self.subset_size} to the {smallest} images there are")
            return replace(self, subset_size=smallest)
        return self

    def compute(self, fake: Statistics, real: Statistics) -> tuple[float, float]:
        return functional.kernel_distance(fake.pairs, real.pairs, self.subsets, self.subset_size, self.seed)

    def protocol(self) -> dict[str, str]:
        return {"kid": f"{self.subsets} subsets of {self.subset_size}"}
