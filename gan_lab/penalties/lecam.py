"""LeCam regularization: D's logits are drawn to the running mean of the other side's."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class LeCam(Penalty):
    """mean relu(D(x) - a_fake)^2 + mean relu(a_real - D(G(z)))^2 (arXiv:2104.03310).

    a_real and a_fake are running means of D's logits, this batch included, with factor `decay` and corrected for their
    start at 0. Deviation: the relu is in the authors' code (google/lecam-gan) but not in the paper; `rectified=False`
    gives the paper's plain squares. State: buffers `real_mean`, `fake_mean` and `updates`.
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
