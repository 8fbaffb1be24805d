"""Penalties on D's logits: consistency and LeCam."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import integers, uniform
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class Consistency(Penalty):
    """mean (D(x) - D(T(x)))^2 over the reals, T a random flip and shift (arXiv:1910.12027, equation 3; weight
    10).

    `shift`: the most pixels an image moves, up, down, left or right, its border mirrored.
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
    """Each image mirrored with probability 1/2, then moved by whole pixels uniform in [-most, most]^2; b c h
    w.
    """
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
    """Indices up to size - 1 outside of [0, size), reflected at the first and last pixel."""
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)


class LeCam(Penalty):
    """mean relu(D(x) - a_fake)^2 + mean relu(a_real - D(G(z)))^2 (arXiv:2104.03310).

    a_real and a_fake are running means of D's logits with factor `decay`, corrected for their start at 0, and
    count this batch. The relu is that of the authors' code (google/lecam-gan); `rectified=False` gives the
    paper's plain squares. State: buffers `real_mean`, `fake_mean` and `updates`.
    """

    real_mean: Tensor
    fake_mean: Tensor
    updates: Tensor

    def __init__(self, weight: Schedule = 0.3, interval: int = 1, decay: float = 0.99, rectified: bool = True) -> None:
        super().__init__(weight, interval, "d")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay, self.rectified = decay, rectified
        for name in ("real_mean", "fake_mean", "updates"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        real_logits, fake_logits = batch.real_logits, batch.fake_logits
        if real_logits is None or fake_logits is None:
            raise RuntimeError("LeCam needs the logits of reals and fakes; a G step has no reals'")
        with torch.no_grad():
            self.real_mean.lerp_(collectives.mean(real_logits.mean()).to(self.real_mean.dtype), 1.0 - self.decay)
            self.fake_mean.lerp_(collectives.mean(fake_logits.mean()).to(self.fake_mean.dtype), 1.0 - self.decay)
            self.updates.add_(1.0)
            correction = 1.0 - self.decay**self.updates
            anchor_real, anchor_fake = self.real_mean / correction, self.fake_mean / correction
        above, below = real_logits - anchor_fake, anchor_real - fake_logits
        if self.rectified:
            above, below = F.relu(above), F.relu(below)
        return above.square().mean() + below.square().mean()
