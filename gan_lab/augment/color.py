"""ADA's colour transforms: affine maps of RGB space, b 4 4 in homogeneous coordinates.

The gray diagonal (1, 1, 1)/sqrt(3) is the luma axis.
"""

import math

import torch
from torch import Tensor

from gan_lab.augment.geometry import identities


def _luma_projection(like: Tensor) -> Tensor:
    projection = torch.zeros(4, 4, dtype=like.dtype, device=like.device)
    projection[:3, :3] = 1.0 / 3.0
    return projection


def brightness(amount: Tensor) -> Tensor:
    """Add `amount` to every channel; b -> b 4 4."""
    m = identities(4, amount)
    m[:, :3, 3] = amount[:, None]
    return m


def contrast(factor: Tensor) -> Tensor:
    """Multiply every channel by `factor`, about mid-gray (0); b -> b 4 4."""
    m = identities(4, factor)
    m[:, :3] *= factor[:, None, None]
    return m


def luma_flip(flipped: Tensor) -> Tensor:
    """Negate the luma where `flipped` is 1, keeping hue and saturation; b -> b 4 4."""
    return identities(4, flipped) - 2.0 * _luma_projection(flipped) * flipped[:, None, None]


def hue(angle: Tensor) -> Tensor:
    """Rotate about the luma axis by `angle` radians; b -> b 4 4.

    Rodrigues' formula: cos I + sin K + (1 - cos) v v^T, K the cross product with the axis v.
    """
    cyclic = torch.eye(3, dtype=angle.dtype, device=angle.device).roll(1, 0)
    cross = (cyclic - cyclic.t()) / math.sqrt(3.0)
    a = angle[:, None, None]
    m = identities(4, angle)
    m[:, :3, :3] = a.cos() * m[:, :3, :3] + a.sin() * cross + (1.0 - a.cos()) / 3.0
    return m


def saturation(factor: Tensor) -> Tensor:
    """Multiply the distance from the gray diagonal by `factor`; b -> b 4 4."""
    m = identities(4, factor)
    m[:, :3, :3] += (factor - 1.0)[:, None, None] * (m[:, :3, :3] - 1.0 / 3.0)
    return m


def recolor(images: Tensor, matrices: Tensor) -> Tensor:
    """Apply colour maps (b 4 4) to RGB or gray images (b 3 h w or b 1 h w).

    A gray value g is mapped as (g, g, g), and the mean of the result is taken. Written out instead of a matrix product,
    so that it is fp32 whatever the TF32 setting. ValueError for other numbers of channels.
    """
    m = matrices[:, :3].to(images.dtype)[..., None, None]  # b 3 4 1 1
    if images.shape[1] == 1:
        m = m.mean(1, keepdim=True)
        return images * m[:, :, :3].sum(2) + m[:, :, 3]
    if images.shape[1] != 3:
        raise ValueError(f"colour augmentation needs 1 or 3 channels, got {images.shape[1]}")
    r, g, b = images[:, :1], images[:, 1:2], images[:, 2:]
    return m[:, :, 0] * r + m[:, :, 1] * g + m[:, :, 2] * b + m[:, :, 3]
