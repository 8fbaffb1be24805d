"""Consistency regularization: D's logits should not change under a flip and a shift."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.distributed.randomness import integers, uniform
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class Consistency(Penalty):
    """mean (D(x) - D(T(x)))^2 over the reals, T a random flip and shift (arXiv:1910.12027, equation 3; weight 10).

    `shift`: the largest number of pixels by which an image moves in each direction. Pixels that come in are mirrored at
    the border.
    """

    def __init__(self, weight: Schedule = 10.0, interval: int = 1, shift: int = 4) -> None:
        super().__init__(weight, interval, "d")
        if shift < 0:
            raise ValueError(f"shift must be at least 0, got {shift}")
        self.shift = shift

    def forward(self, batch: Batch) -> Tensor:
        assert batch.real is not None
        logits = batch.logits(batch.real, batch.y) if batch.real_logits is None else batch.real_logits
        moved = batch.logits(flip_and_shift(batch.real.detach(), self.shift), batch.y)
        return (logits - moved).square().mean()


def flip_and_shift(images: Tensor, most: int) -> Tensor:
    """Mirror each image (b c h w) with probability 1/2, then move it by whole pixels uniform in [-most, most]^2."""
    n, _, height, width = images.shape
    device = images.device
    most = min(most, height - 1, width - 1)
    flips = uniform((n, 1), device=device) < 0.5
    columns = torch.arange(width, device=device).expand(n, -1)
    columns = torch.where(flips, width - 1 - columns, columns) + integers(-most, most + 1, (n, 1), device=device)
    rows = torch.arange(height, device=device) + integers(-most, most + 1, (n, 1), device=device)
    rows, columns = _mirror(rows, height), _mirror(columns, width)
    which = torch.arange(n, device=device).view(n, 1, 1)
    picked = images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]  # b h w c
    return picked.permute(0, 3, 1, 2)


def _mirror(index: Tensor, size: int) -> Tensor:
    """Reflect indices that are at most size - 1 outside of [0, size) at the first and last pixel."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
