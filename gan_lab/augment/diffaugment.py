"""DiffAugment (arXiv:2006.10738): random colour, translation and cutout of every image D sees."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lab.augment.base import Augment
from gan_lab.augment.geometry import cut_box
from gan_lab.distributed.randomness import integers, uniform

POLICIES = ("color", "translation", "cutout")


class DiffAugment(Augment):
    """Images b c h w in [-1, 1] -> the same shape, each with its own random draw; differentiable twice.

    arXiv:2006.10738, with the numbers of its reference code (mit-han-lab/data-efficient-gans):
    - "color": brightness + U(-.5, .5); saturation x U(0, 2) about the channel mean; contrast x U(.5, 1.5)
      about the image mean. A grayscale image has no saturation to change.
    - "translation": by whole pixels, up to 1/8 of the side; zeros come in.
    - "cutout": a square of half the side set to 0, its centre anywhere.

    `policy` lists which of them, in the order in which they are applied. Draws come from torch's global
    generator. ValueError for an unknown name.
    """

    def __init__(self, policy: Sequence[str] = POLICIES) -> None:
        super().__init__()
        names = (policy,) if isinstance(policy, str) else tuple(policy)
        for name in names:
            if name not in POLICIES:
                raise ValueError(f"unknown policy {name!r}: choose from {', '.join(POLICIES)}")
        self.policy = names

    def forward(self, images: Tensor) -> Tensor:
        changes = {"color": random_color, "translation": random_translation, "cutout": random_cutout}
        for name in self.policy:
            images = changes[name](images)
        return images


def random_color(x: Tensor) -> Tensor:
    """Change brightness, saturation and contrast, in this order."""
    brightness, saturation, contrast = uniform((3, len(x), 1, 1, 1), batch_dim=1, device=x.device, dtype=x.dtype)
    x = x + (brightness - 0.5)
    if x.shape[1] > 1:
        gray = x.mean(1, keepdim=True)
        x = (x - gray) * (2.0 * saturation) + gray
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def random_translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by a whole number of pixels in each direction; zeros come in."""
    for dim in (2, 3):
        side = x.shape[dim]
        limit = int(side * ratio + 0.5)
        shift = integers(-limit, limit + 1, (len(x), 1), device=x.device)
        source = torch.arange(side, device=x.device) - shift  # b side
        shape = [len(x), 1, 1, 1]
        shape[dim] = side
        inside = ((source >= 0) & (source < side)).view(shape)
        index = source.clamp(0, side - 1).view(shape).expand_as(x)
        x = x.gather(dim, index) * inside
    return x


def random_cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """Set a box of `ratio` of the sides to 0; it may extend over the border."""
    _, _, h, w = x.shape
    height, width = int(h * ratio + 0.5), int(w * ratio + 0.5)
    top = integers(0, h + (1 - height % 2), (len(x),), device=x.device) - height // 2
    left = integers(0, w + (1 - width % 2), (len(x),), device=x.device) - width // 2
    return cut_box(x, top, left, height, width)
