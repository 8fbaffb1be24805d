"""Schedules of learning rates, betas, penalty weights, EMA half-life, augmentation strength and top-k's share.

A schedule is a number, or a pure function of the real images that D has seen. `training/clock.py` reads them.
"""

import math
from collections.abc import Callable

__all__ = ["Cosine", "Exponential", "Linear"]
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


class Exponential:
    """start * factor^(images / epoch_images), at least `end`: top-k's share of fakes (arXiv:2002.06224, section 3).

    The paper multiplies once after each epoch; here it is a smooth curve through the same points. The builder passes
    the number of training images as `epoch_images` where it is left out. ValueError for a `factor` outside (0, 1] or
    an `epoch_images` that is not above 0.
    """

    def __init__(self, start: float, end: float, epoch_images: float, factor: float = 0.99) -> None:
        if not 0.0 < factor <= 1.0:
            raise ValueError(f"factor must be above 0 and at most 1, got {factor}")
        if epoch_images <= 0:
            raise ValueError(f"epoch_images must be above 0, got {epoch_images}")
        self.start, self.end, self.epoch_images, self.factor = start, end, epoch_images, factor

    def __repr__(self) -> str:
        return f"Exponential({self.start} -> {self.end}, times {self.factor} every {self.epoch_images:g} images)"

    def __call__(self, images_seen: float) -> float:
        return max(self.start * self.factor ** (images_seen / self.epoch_images), self.end)
