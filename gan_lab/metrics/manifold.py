"""Precision, recall, density and coverage."""

from collections.abc import Sequence
from dataclasses import dataclass

from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics, warn

K_PRECISION, K_DENSITY = 3, 5


@dataclass(frozen=True)
class Manifold(Metric):
    """Precision and recall (arXiv:1904.06991), density and coverage (arXiv:2002.09797)."""

    figures = tuple(Figure(name, higher_is_better=True) for name in ("precision", "recall", "density", "coverage"))
    needs = ("fake.pairs", "real.pairs")

    def fit(self, setting: Setting) -> Metric | None:
        smallest = min(setting.fakes, setting.reals, setting.pairwise)
        if smallest <= K_DENSITY:
            names = ", ".join(figure.name for figure in self.named_figures(setting))
            warn(f"{names} are left out: of {smallest} images none has {K_DENSITY} neighbours")
            return None
        return self

    def compute(self, fake: Statistics, real: Statistics) -> Sequence[float]:
        k = max(K_PRECISION, K_DENSITY)
        near = real.once("neighbours", lambda: functional.neighbour_distances(real.pairs, k))
        return list(functional.manifold_figures(real.pairs, fake.pairs, K_PRECISION, K_DENSITY, near).values())

    def protocol(self) -> dict[str, str]:
        return {"neighbours": f"{K_PRECISION}, {K_DENSITY}"}
