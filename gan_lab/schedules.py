"""Schedules of learning rates, betas, penalty weights, EMA half-life and augmentation strength.

A schedule is a number, or a pure function of the real images that D has seen. `training/clock.py` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = float | Callable[[float], float]


def value(schedule: Schedule, images_seen: float) -> float:
    """Return the schedule's value after `images_seen` real images; a number is a constant schedule."""
    return float(schedule(images_seen)) if callable(schedule) else float(schedule)


def _progress(images_seen: float, over_images: float) -> float:
    return min(max(images_seen / over_images, 0.0), 1.0)


class _Ramp:
    """From `start` to `end` over `over_images` images; the builder passes those of the whole run where it is left out.

    ValueError for an `over_images` that is not above 0.
    """

    def __init__(self, start: float, end: float, over_images: float) -> None:
        if over_images <= 0:
            raise ValueError(f"over_images must be above 0, got {over_images}")
        self.start, self.end, self.over_images = start, end, over_images

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.start} -> {self.end} over {self.over_images:g} images)"


class Linear(_Ramp):
    """Straight line from `start` to `end`, constant afterwards (SN-GAN's decay to 0 is `start=1, end=0`)."""

    def __call__(self, images_seen: float) -> float:
        return self.start + (self.end - self.start) * _progress(images_seen, self.over_images)


class Cosine(_Ramp):
    """Half a cosine from `start` to `end`, flat at both ends (R3GAN, arXiv:2501.05441, training details)."""

    def __call__(self, images_seen: float) -> float:
        blend = 0.5 * (1.0 - math.cos(math.pi * _progress(images_seen, self.over_images)))
        return self.start + (self.end - self.start) * blend
