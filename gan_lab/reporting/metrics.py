"""What the report knows of a metric: its name in words, whether more is better, and the values it can have."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from gan_lab.reporting.statistics import UNBOUNDED, Bounds

K = TypeVar("K")
POSITIVE, SHARE = (0.0, math.inf), (0.0, 1.0)

_KNOWN: dict[str, tuple[str, Bounds]] = {
    "fid": ("FID", POSITIVE),
    "is": ("inception score", (1.0, math.inf)),
    "kid": ("KID", UNBOUNDED),  # the unbiased estimate can be negative
    "precision": ("precision", SHARE),
    "recall": ("recall", SHARE),
    "density": ("density", POSITIVE),
    "coverage": ("coverage", SHARE),
    "modes": ("modes", POSITIVE),
    "modes_kl": ("KL of modes", POSITIVE),
}


class Best(NamedTuple):
    """The best evaluation of a run, out of so many."""

    step: int
    value: float
    of: int


@dataclass(frozen=True)
class Metric:
    """A key of metrics.jsonl. bounds: the smallest and the largest value that it can have."""

    key: str
    name: str
    higher_is_better: bool
    bounds: Bounds

    @property
    def direction(self) -> str:
        return "higher is better" if self.higher_is_better else "lower is better"

    @property
    def first(self) -> str:
        """The order in which the best comes first."""
        return "descending" if self.higher_is_better else "ascending"

    def leader(self, values: Mapping[K, float]) -> K:
        """The key of the best value."""
        return (max if self.higher_is_better else min)(values, key=lambda key: values[key])

    def best(self, at: Mapping[int, float]) -> Best | None:
        """The best evaluation of step -> value, apart from step 0, at which G was not trained yet."""
        trained = {step: value for step, value in at.items() if step > 0}
        return Best(step := self.leader(trained), trained[step], len(trained)) if trained else None


def describe(key: str, values: Iterable[float], higher_is_better: bool) -> Metric:
    """The metric of this key.

    values: all that were measured, from which the bounds of a metric follow that is not known by name.
    """
    name, bounds = _KNOWN.get(_stem(key, _KNOWN), (key, bounds_of(values)))
    return Metric(key, name, higher_is_better, bounds)


def bounds_of(values: Iterable[float]) -> Bounds:
    """Of a quantity that nothing else is known of: what was never negative counts as never negative."""
    return POSITIVE if min(values, default=-1.0) >= 0 else UNBOUNDED


def _stem(key: str, names: Iterable[str]) -> str:
    """The longest of the names that the key is, or that it extends by `_...` or a number."""
    return max((name for name in names if re.match(rf"{re.escape(name)}(_|\d|$)", key)), key=len, default="")
