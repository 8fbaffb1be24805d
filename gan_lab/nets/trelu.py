"""TReLU and TPReLU (arXiv:1704.03971): ReLUs with a learned threshold, for nets whose weight norm has no bias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TReLU(nn.Module):
    """Translated ReLU, ReLU(x - a) + a with one learned a per channel, 0 at the start (arXiv:1704.03971).

    x: b c or b c h w. The shift stands in for the bias that strict weight normalization leaves out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        a = per_channel(self.offset, x)
        return F.relu(x - a) + a


class TPReLU(nn.Module):
    """Translated parametric ReLU: max(d, 0) + s min(d, 0) + a, where d = x - a; s is clamped to [0, 1].

    One a (0 at the start) and one s (0.25) per channel; x: b c or b c h w (arXiv:1704.03971).
    """

    def __init__(self, channels: int, slope: float = 0.25) -> None:
        super().__init__()
        if not 0.0 <= slope <= 1.0:
            raise ValueError(f"the slope of TPReLU must be from 0 to 1, got {slope}")
        self.offset = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), slope))

    def forward(self, x: Tensor) -> Tensor:
        a = per_channel(self.offset, x)
        return F.prelu(x - a, self.slope.clamp(0.0, 1.0).to(x.dtype)) + a


class ChannelAffine(nn.Module):
    """gain * x + bias per channel, 1 and 0 at the start; the only trained scale in a net with `StrictWeightNorm`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * per_channel(self.gain, x) + per_channel(self.bias, x)


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Reshape c to 1 c (1 1), as it broadcasts against `like`, in its dtype."""
    return values.to(like.dtype).view(1, -1, *[1] * (like.dim() - 2))
