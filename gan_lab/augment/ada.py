"""Adaptive discriminator augmentation (arXiv:2006.06676)."""

import torch
from torch import Tensor

from gan_lab.augment import color, geometry
from gan_lab.augment.adaptive import ADAPTIVE, Adaptive
from gan_lab.distributed.randomness import normal, uniform
from gan_lab.nets.base import at_least_float32
from gan_lab.schedules import Schedule


class ADA(Adaptive):
    """Images b c h w in [-1, 1] -> the same, each transform with probability p; differentiable twice.

    arXiv:2006.06676, appendix B, pipeline "bgc", in this order:

    - blit: x-flip, quarter turns, whole shifts of up to 1/8 of the side.
    - geometric: scale, rotation before and after an anisotropic scale, fractional shift.
    - color: brightness, contrast, luma flip, hue, saturation.
    - cutout, which R3GAN adds.

    The settings of these names, in [0, 1], multiply p for their group; 0 leaves the group out (R3GAN: color 0.5, cutout
    1). At p = 0 the images are returned unchanged, bit for bit.

    `p`, `target`, `interval` and `ramp_images`: see `Adaptive`.

    Deviations from the reference code: blitting is a separate exact step, not part of the resampling. Images that no
    transform of a group applies to skip the group. For borders see `geometry.resample`. ValueError for a setting out of
    range, and for images that are not square.
    """

    diagnostic = "ada/p"
    taps: Tensor

    def __init__(
        self,
        p: Schedule | str = ADAPTIVE,
        *,
        target: float = 0.6,
        interval: int = 4,
        ramp_images: float = 500_000,
        blit: float = 1.0,
        geometric: float = 1.0,
        color: float = 1.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__(p, target=target, interval=interval, ramp_images=ramp_images)
        self.shares = {"blit": blit, "geometric": geometric, "color": color, "cutout": cutout}
        for name, number in self.shares.items():
            if not 0.0 <= number <= 1.0:
                raise ValueError(f"{name} multiplies a probability and must be from 0 to 1, got {number}")
        self.register_buffer("taps", geometry.filter_taps(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] != images.shape[3]:
            raise ValueError(f"augmentation needs square images, got {tuple(images.shape[2:])}")
        with torch.autocast(images.device.type, enabled=False):
            x = at_least_float32(images)
            if self.shares["blit"]:
                m = random_blit(x, self.p * self.shares["blit"])
                x = torch.where(geometry.is_changed(m), geometry.copy_pixels(x, m), x)
            if self.shares["geometric"]:
                m = random_geometry(x, self.p * self.shares["geometric"])
                x = torch.where(geometry.is_changed(m), geometry.resample(x, m, self.taps), x)
            if self.shares["color"]:
                m = random_color(x, self.p * self.shares["color"])
                x = torch.where(geometry.is_changed(m), color.recolor(x, m), x)
            if self.shares["cutout"]:
                x = random_cutout(x, self.p * self.shares["cutout"])
        return x.to(images.dtype)


def _chances(x: Tensor, count: int, p: Tensor) -> Tensor:
    """Draw, for each of `count` transforms, the images it applies to: count b, True with probability p."""
    return uniform((count, len(x)), batch_dim=1, device=x.device) < p


def random_blit(x: Tensor, p: Tensor) -> Tensor:
    """Draw flip, quarter turn and whole shift, each with probability p. Returns the inverse maps, b 3 3."""
    flip, turn, shift = _chances(x, 3, p)
    mirror, turns, tx, ty = uniform((4, len(x)), batch_dim=1, device=x.device)
    sign = torch.where(flip & (mirror < 0.5), -1.0, 1.0)
    turns = torch.where(turn, (4 * turns).floor(), 0.0)
    tx, ty = (torch.where(shift, ((2 * t - 1) * 0.125 * x.shape[-1]).round(), 0.0) for t in (tx, ty))
    m = geometry.compose(geometry.scaling(sign, torch.ones_like(sign)), geometry.quarter_turns(turns))
    return geometry.compose(m, geometry.translation(tx, ty)).to(x.dtype)


def random_geometry(x: Tensor, p: Tensor) -> Tensor:
    """Draw scale, rotation, stretch, rotation and fractional shift, each with probability p: inverse maps, b 3 3.

    At least one of the two rotations applies with probability p, so each does with probability 1 - sqrt(1 - p).
    """
    scale, stretch, shift = _chances(x, 3, p)
    turn_before, turn_after = _chances(x, 2, 1.0 - (1.0 - p).sqrt())
    angle_before, angle_after = (uniform((2, len(x)), batch_dim=1, device=x.device) - 0.5) * geometry.TURN
    size, ratio, tx, ty = normal((4, len(x)), batch_dim=1, device=x.device)
    size = torch.where(scale, torch.exp2(0.2 * size), 1.0)
    ratio = torch.where(stretch, torch.exp2(0.2 * ratio), 1.0)
    tx, ty = (torch.where(shift, 0.125 * x.shape[-1] * t, 0.0) for t in (tx, ty))
    m = geometry.scaling(size, size)
    m = geometry.compose(m, geometry.rotation(torch.where(turn_before, angle_before, 0.0)))
    m = geometry.compose(m, geometry.scaling(ratio, 1.0 / ratio))
    m = geometry.compose(m, geometry.rotation(torch.where(turn_after, angle_after, 0.0)))
    return geometry.compose(m, geometry.translation(tx, ty)).to(x.dtype)


def random_color(x: Tensor, p: Tensor) -> Tensor:
    """Draw brightness, contrast, luma flip, and for RGB hue and saturation, each with probability p: b 4 4."""
    bright, contrasted, flipped, turned, saturated = _chances(x, 5, p)
    amount, factor, strength = normal((3, len(x)), batch_dim=1, device=x.device)
    flip, angle = uniform((2, len(x)), batch_dim=1, device=x.device)
    maps = [
        color.brightness(torch.where(bright, 0.2 * amount, 0.0)),
        color.contrast(torch.where(contrasted, torch.exp2(0.5 * factor), 1.0)),
        color.luma_flip((flipped & (flip < 0.5)).to(amount.dtype)),
    ]
    if x.shape[1] > 1:
        maps.append(color.hue(torch.where(turned, (angle - 0.5) * geometry.TURN, 0.0)))
        maps.append(color.saturation(torch.where(saturated, torch.exp2(strength), 1.0)))
    m = maps[0]
    for following in maps[1:]:
        m = geometry.compose(following, m)
    return m.to(x.dtype)


def random_cutout(x: Tensor, p: Tensor, ratio: float = 0.5) -> Tensor:
    """Set a box of `ratio` of the side to 0 with probability p, its centre uniform in the image."""
    (cut,) = _chances(x, 1, p)
    side = x.shape[-1]
    centre_x, centre_y = uniform((2, len(x)), batch_dim=1, device=x.device) * side
    size = torch.where(cut, ratio * side, 0.0)[:, None]
    return geometry.cut_box(x, centre_y - 0.5 - size[:, 0] / 2, centre_x - 0.5 - size[:, 0] / 2, size, size)
