"""Instance noise (arXiv:1610.04490): Gaussian noise on all that D sees."""

import math

import torch
from torch import Tensor

from gan_lab.augment.base import Augment
from gan_lab.distributed.randomness import normal
from gan_lab.schedules import Schedule, value


class InstanceNoise(Augment):
    """images + sigma * N(0, 1), drawn for each pixel of every real and fake (arXiv:1610.04490, section 3).

    The noise makes the two distributions overlap; it is annealed to 0 in the course of training. sigma: a number or a
    schedule of images seen, in units of images in [-1, 1]. The buffer `p` holds its present value. ValueError for a
    negative number.
    """

    largest = math.inf

    def __init__(self, sigma: Schedule = 0.1) -> None:
        super().__init__()
        if isinstance(sigma, int | float) and sigma < 0:
            raise ValueError(f"sigma must be at least 0, got {sigma}")
        self.strength = sigma
        self.register_buffer("p", torch.tensor(max(value(sigma, 0.0), 0.0)))

    def forward(self, images: Tensor) -> Tensor:
        return images + self.p.to(images.dtype) * normal(images.shape, device=images.device, dtype=images.dtype)
