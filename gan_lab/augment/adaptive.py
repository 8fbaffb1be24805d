"""A probability that follows how well D knows its reals: what ADA and APA share."""

from typing import ClassVar

import torch
from torch import Tensor

from gan_lab.augment.base import Augment
from gan_lab.schedules import Schedule, value

ADAPTIVE = "adaptive"


class Adaptive(Augment):
    """Base of augmentations with a probability p: "adaptive", a number, or a schedule of images seen.

    Adaptive p starts at 0. After every `interval` calls of `observe` it moves by images / `ramp_images`: up if the mean
    sign of D's logits on reals (r_t) is above `target`, else down. It stays in [0, 1]. ValueError for a setting out of
    range.

    diagnostic: the key under which the monitor logs p.
    """

    diagnostic: ClassVar[str]
    sign_sum: Tensor
    images_waiting: Tensor
    updates_waiting: Tensor

    def __init__(
        self,
        p: Schedule | str = ADAPTIVE,
        *,
        target: float = 0.6,
        interval: int = 4,
        ramp_images: float = 500_000,
    ) -> None:
        super().__init__()
        if isinstance(p, str) and p != ADAPTIVE:
            raise ValueError(f"p must be a number, a schedule or {ADAPTIVE!r}, got {p!r}")
        if isinstance(p, int | float) and not 0.0 <= p <= 1.0:
            raise ValueError(f"p is a probability, from 0 to 1, got {p}")
        if interval < 1 or ramp_images <= 0 or not -1.0 <= target <= 1.0:
            raise ValueError("interval must be at least 1, ramp_images above 0 and target from -1 to 1, "
                             f"got {interval}, {ramp_images} and {target}")  # fmt: skip
        self.strength = None if isinstance(p, str) else p
        self.target, self.interval, self.ramp_images = target, interval, ramp_images
        start = 0.0 if self.strength is None else value(self.strength, 0.0)
        self.register_buffer("p", torch.tensor(min(max(start, 0.0), 1.0)))
        self.register_buffer("sign_sum", torch.zeros(()))
        self.register_buffer("images_waiting", torch.zeros((), dtype=torch.int64))
        self.register_buffer("updates_waiting", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, real_sign: Tensor, images: int) -> None:
        """Update an adaptive p from the mean of sign(D(real)) over the `images` reals of an update of D.

        A scheduled p stays. Nothing is read back from the device. Source: arXiv:2006.06676, section 3 (r_t, target,
        speed).
        """
        if self.strength is not None:
            return
        self.sign_sum += real_sign.to(self.sign_sum) * images
        self.images_waiting += images
        self.updates_waiting += 1
        complete = self.updates_waiting >= self.interval
        direction = (self.sign_sum - self.target * self.images_waiting).sign()
        moved = (self.p + direction * self.images_waiting / self.ramp_images).clamp(0.0, 1.0)
        self.p.copy_(torch.where(complete, moved, self.p))
        for waiting in (self.sign_sum, self.images_waiting, self.updates_waiting):
            waiting.mul_(~complete)
