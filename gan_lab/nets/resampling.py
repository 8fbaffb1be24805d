"""Resolution pyramids, and resampling by two with the binomial filter [1, 3, 3, 1] (StyleGAN2, R3GAN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pyramid(resolution: int) -> list[int]:
    """The sides of the feature maps, smallest first: 32 -> [4, 8, 16, 32], 48 -> [6, 12, 24, 48].

    ValueError unless `resolution` is 4 or 6 times a power of two.
    """
    side = resolution
    sides = [side]
    while side % 2 == 0 and side >= 8:
        side //= 2
        sides.insert(0, side)
    if side not in (4, 6):
        raise ValueError(f"resolution {resolution} is not 4, 6 or 8 times a power of two")
    return sides


def scaled_width(channels: float, multiple: int = 8) -> int:
    """Channels rounded down to a multiple of 8, as fast convolutions want them; at least 1, small counts as
    they are.
    """
    count = int(channels)
    return max(1, count if count < multiple else count // multiple * multiple)


class Resampler(nn.Module):
    """FIR resampling by two, one depthwise convolution each way, borders padded with zeros.

    The 4-tap filter [1, 3, 3, 1]/8 is bilinear interpolation at half-pixel positions. `upsample` is zero
    insertion and filtering in one strided transposed convolution, `downsample` filtering and decimation in
    one strided convolution (arXiv:1912.04958, section 4; the filters are those of its reference code). One
    instance serves a whole net.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        taps = taps / taps.sum()
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)  # 1 1 4 4

    def _depthwise(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return (self.kernel * gain).to(x.dtype).expand(x.shape[1], 1, 4, 4)

    def upsample(self, x: Tensor) -> Tensor:
        """b c h w -> b c 2h 2w; a constant image keeps its value away from the border."""
        return F.conv_transpose2d(x, self._depthwise(x, gain=4.0), stride=2, padding=1, groups=x.shape[1])

    def downsample(self, x: Tensor) -> Tensor:
        """b c h w -> b c h/2 w/2."""
        return F.conv2d(x, self._depthwise(x), stride=2, padding=1, groups=x.shape[1])

    def blur(self, x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
        """The filter alone: b c h w -> b c (h + 2 padding - 3) (w + 2 padding - 3)."""
        return F.conv2d(x, self._depthwise(x, gain), padding=padding, groups=x.shape[1])
