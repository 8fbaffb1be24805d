"""Gradient penalties: R1, R2, WGAN-GP, zero-centred, one-sided, DRAGAN."""

from typing import Any

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import uniform
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule

POINTS = ("real", "fake", "both", "interpolate", "perturb")


class GradientPenalty(Penalty):
    """Mean over samples of (|dD/dx| - target)^2; of |dD/dx|^2 / 2 where target is 0, so that `weight` is R1's gamma.

    |.| is the Euclidean norm over c, h and w, in fp32. With `one_sided` only norms above the target count. `at` says
    which points x are taken:

    - real: R1 (arXiv:1801.04406, equation 9). fake: R2 (equation 10). both: the sum of the two. These reuse the logits
      of the step, whose inputs require a gradient where `needs_input_grad` says so.
    - interpolate: uniform on the segments between reals and fakes. For WGAN-GP (arXiv:1704.00028, algorithm 1: target
      1, weight 10) and the zero-centred penalty of arXiv:1902.03984 (their lambda is weight / 2).
    - perturb: around the reals, for DRAGAN (arXiv:1705.07215: target 1, weight 10), at x + a s u, with u uniform in
      [0, 1) per pixel, a uniform in [0, 1) per image, and s = `perturb_scale` times the standard deviation of the
      batch. This is common practice; the paper's algorithm 1 adds normal noise of a fixed size.
    """

    def __init__(
        self,
        at: str = "real",
        target: float = 0.0,
        weight: Schedule = 10.0,
        interval: int = 1,
        one_sided: bool = False,
        perturb_scale: float = 0.5,
    ) -> None:
        super().__init__(weight, interval, "d")
        if at not in POINTS:
            raise ValueError(f"at must be one of {', '.join(POINTS)}, got {at!r}")
        if target < 0:
            raise ValueError(f"target must be at least 0, got {target}")
        if perturb_scale <= 0:
            raise ValueError(f"perturb_scale must be above 0, got {perturb_scale}")
        self.at, self.target, self.one_sided, self.perturb_scale = at, target, one_sided, perturb_scale
        own = {"real": {"real"}, "fake": {"fake"}, "both": {"real", "fake"}}
        self.needs_input_grad = frozenset(own.get(at, set()))

    def forward(self, batch: Batch) -> Tensor:
        real, fake = batch.real, batch.fake
        if self.at == "interpolate":
            assert real is not None and fake is not None
            return self._at_new_point(batch, _interpolated(real, fake), batch.y)
        if self.at == "perturb":
            assert real is not None
            return self._at_new_point(batch, _perturbed(real, self.perturb_scale), batch.y)
        points: list[tuple[Any, Any, Tensor | None]] = []  # images, their logits if known, their classes
        if self.at in ("real", "both"):
            points.append((real, batch.real_logits, batch.y))
        if self.at in ("fake", "both"):
            points.append((fake, batch.fake_logits, batch.fake_y))
        if all(logits is not None and images.requires_grad for images, logits, _ in points):
            known = torch.cat([logits for _, logits, _ in points])
            values = [self._value(g) for g in self.gradients(known, [images for images, _, _ in points])]
        else:
            values = [self._at_new_point(batch, images, y) for images, _, y in points]
        return torch.stack(values).sum()

    def _at_new_point(self, batch: Batch, images: Tensor, y: Tensor | None) -> Tensor:
        images = images.detach().requires_grad_()
        return self._value(self.gradient(batch.logits(images, y), images))

    def _value(self, gradient: Tensor) -> Tensor:
        if self.target == 0.0:
            return 0.5 * gradient.square().flatten(1).sum(1).mean()
        excess = torch.linalg.vector_norm(gradient.flatten(1), dim=1) - self.target
        return (excess.relu() if self.one_sided else excess).square().mean()


class R1Weight:
    """StyleGAN2's automatic R1 weight: coefficient * resolution^2 / batch_size (code of arXiv:1912.04958).

    A constant schedule. The builder passes `resolution` (pixels of a side) and `batch_size` (reals of an update).
    """

    def __init__(self, resolution: int, batch_size: int, coefficient: float = 0.0002) -> None:
        if coefficient <= 0:
            raise ValueError(f"coefficient must be above 0, got {coefficient}")
        self.weight = coefficient * resolution**2 / batch_size

    def __call__(self, images_seen: float) -> float:
        return self.weight


def _per_image(images: Tensor) -> Tensor:
    return uniform((len(images), *[1] * (images.dim() - 1)), device=images.device, dtype=images.dtype)


def _interpolated(real: Tensor, fake: Tensor) -> Tensor:
    real, fake = real.detach(), fake.detach()
    return torch.lerp(fake, real, _per_image(real))


def _perturbed(real: Tensor, scale: float) -> Tensor:
    real = real.detach()
    noise = uniform(real.shape, device=real.device, dtype=real.dtype)
    return real + _per_image(real) * (scale * _std(real)) * noise


def _std(real: Tensor) -> Tensor:
    """Standard deviation of all pixels of the batch, of every rank's share of it together."""
    if not collectives.active():
        return real.std()
    n = real.numel() * collectives.size()
    mean = collectives.mean(real.mean())
    return (collectives.mean((real - mean).square().mean()) * (n / (n - 1))).sqrt()
