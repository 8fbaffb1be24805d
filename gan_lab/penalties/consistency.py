"""Consistency regularization: D's logits should not change under a flip and a shift, or a small step of z."""

import torch
from torch import Tensor

from gan_lab.distributed.randomness import integers, normal, uniform
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class Consistency(Penalty):
    """mean (D(x) - D(T(x)))^2 over reals or fakes, T a random flip and shift (arXiv:1910.12027, equation 3; weight 10).

    `images`: "real" for CR-GAN; bCR has the term of "fake" too (arXiv:2002.04724, algorithm 1). `shift`: the largest
    number of pixels by which an image moves in each direction. Pixels that come in are mirrored at the border.
    """

    def __init__(self, weight: Schedule = 10.0, interval: int = 1, shift: int = 4, images: str = "real") -> None:
        super().__init__(weight, interval, "d")
        if shift < 0:
            raise ValueError(f"shift must be at least 0, got {shift}")
        if images not in ("real", "fake"):
            raise ValueError(f"images must be real or fake, got {images!r}")
        self.shift, self.images = shift, images

    def forward(self, batch: Batch) -> Tensor:
        images, y, logits = (
            (batch.real, batch.y, batch.real_logits)
            if self.images == "real"
            else (batch.fake, batch.fake_y, batch.fake_logits)
        )
        assert images is not None
        logits = batch.logits(images, y) if logits is None else logits
        moved = batch.logits(flip_and_shift(images.detach(), self.shift), y)
        return (logits - moved).square().mean()


class LatentConsistency(Penalty):
    """zCR: a small step of z should change G's image, but not D's logit of it (arXiv:2002.04724, algorithm 2).

    With z' = z + `sigma` e, e from N(0, I): side d, mean (D(G(z)) - D(G(z')))^2; side g, minus the mean over images and
    pixels of (G(z) - G(z'))^2. A class is that of the fake. Deviation: the paper writes a squared norm of images; the
    mean over pixels is StudioGAN's. A G that draws noise maps draws new ones for z'.
    """

    def __init__(self, side: str = "d", weight: Schedule = 5.0, interval: int = 1, sigma: float = 0.03) -> None:
        super().__init__(weight, interval, side)
        if sigma <= 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        self.sigma = sigma

    def forward(self, batch: Batch) -> Tensor:
        z, fake = batch.z, batch.fake
        assert z is not None and fake is not None
        moved = z + self.sigma * normal(z.shape, device=z.device, dtype=z.dtype)
        if self.side == "g":
            return -(fake - batch.images(moved, batch.fake_y)).square().mean()
        logits = batch.logits(fake, batch.fake_y) if batch.fake_logits is None else batch.fake_logits
        with torch.no_grad():
            others = batch.images(moved, batch.fake_y)
        return (logits - batch.logits(others, batch.fake_y)).square().mean()


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
