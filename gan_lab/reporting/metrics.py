"""The metrics of the report: name in words, direction, and range of values."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from gan_lab.reporting.statistics import FEWEST_TO_TEST, UNBOUNDED, Bounds

K = TypeVar("K")
POSITIVE, SHARE = (0.0, math.inf), (0.0, 1.0)

_KNOWN: dict[str, tuple[str, Bounds]] = {
    "fid": ("FID", POSITIVE),
    "is": ("inception score", (1.0, math.inf)),
    "kid": ("KID", UNBOUNDED),  # unbiased, so it can be negative
    "precision": ("precision", SHARE),
    "recall": ("recall", SHARE),
    "density": ("density", POSITIVE),
    "coverage": ("coverage", SHARE),
    "label_accuracy": ("label accuracy", SHARE),
    "modes": ("modes", POSITIVE),
    "modes_kl": ("KL of modes", POSITIVE),
}
_LIMITED = ("is", "modes", "modes_kl")
"""Figures that the number of classes limits. Protocols do not state it."""


class Best(NamedTuple):
    """The best evaluation of a run, and the number of evaluations that it was chosen from."""

    step: int
    value: float
    evaluations: int


@dataclass(frozen=True)
class Metric:
    """A figure of metrics.jsonl, by its key. bounds: smallest and largest possible value.

    limited: whether the number of classes limits it from above, which the bounds do not know.
    """

    key: str
    name: str
    higher_is_better: bool
    bounds: Bounds
    limited: bool = False

    @property
    def fewest_for_interval(self) -> int:
        """The fewest seeds for an interval over seeds: of two seeds one may reach far above what is possible."""
        return FEWEST_TO_TEST if self.limited else 2

    @property
    def direction(self) -> str:
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def first(self) -> str:
        """The sort order that puts the best first."""
        return "descending" if self.higher_is_better else "ascending"

    def leader(self, values: Mapping[K, float]) -> K:
        """Return the key of the best value."""
        return (max if self.higher_is_better else min)(values, key=lambda key: values[key])

    def best(self, at: Mapping[int, float]) -> Best | None:
        """Return the best evaluation (step -> value), without step 0, at which G is untrained."""
        trained = {step: value for step, value in at.items() if step > 0}
        return Best(step := self.leader(trained), trained[step], len(trained)) if trained else None


def describe(key: str, values: Iterable[float], higher_is_better: bool) -> Metric:
    """Return the metric of this key. The bounds of one that is not known by name are guessed from its values."""
    known = (name for name in _KNOWN if re.match(rf"{name}(_|\d|$)", key))  # a suffix `_...` or a number may follow
    family = max(known, key=len, default="")
    name, bounds = _KNOWN.get(family, (key, bounds_of(values)))
    return Metric(key, name, higher_is_better, bounds, family in _LIMITED)


def bounds_of(values: Iterable[float]) -> Bounds:
    """Guess the bounds of an unknown quantity: if no value is negative, none can be."""
    return POSITIVE if min(values, default=-1.0) >= 0 else UNBOUNDED
