"""Resampling by two: the binomial filter [1, 3, 3, 1] (StyleGAN2, R3GAN), and convolutions that also resample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.kernels.grouped_conv import depthwise_filter


class Resampler(nn.Module):
    """FIR resampling by two, one depthwise convolution each way, borders padded with zeros.

    The 4-tap filter [1, 3, 3, 1]/8 is bilinear interpolation at half-pixel positions. `upsample` is zero insertion and
    filtering in one strided transposed convolution. `downsample` is filtering and decimation in one strided
    convolution. Source: arXiv:1912.04958, section 4; the filters are those of its reference code. One instance serves
    a whole net.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = (0.125, 0.375, 0.375, 0.125)
        kernel = torch.tensor([[[[a * b for b in taps] for a in taps]]])
        self.register_buffer("kernel", kernel, persistent=False)  # 1 1 4 4

    def upsample(self, x: Tensor) -> Tensor:
        """b c h w -> b c 2h 2w; a constant image keeps its value away from the border."""
        return depthwise_filter(x, self.kernel * 4.0, stride=2, padding=1, transposed=True)

    def downsample(self, x: Tensor) -> Tensor:
        """b c h w -> b c h/2 w/2."""
        return depthwise_filter(x, self.kernel, stride=2, padding=1)

    def blur(self, x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
        """Filter without resampling: b c h w -> b c (h + 2 padding - 3) (w + 2 padding - 3)."""
        return depthwise_filter(x, self.kernel * gain, padding=padding)


def nearest_double(x: Tensor) -> Tensor:
    """Repeat every pixel 2x2: b c h w -> b c 2h 2w, in the dtype of x.

    Autocast on CUDA would compute it in fp32, and with it everything that is added to the result. It only copies.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


def mean_of_four_shifts(kernel: Tensor) -> Tensor:
    """Return the mean of the kernel at the four corners of a 4x4 one: o i 3 3 -> o i 4 4."""
    return F.avg_pool2d(kernel, 2, stride=1, padding=1)


class PooledConv2d(nn.Conv2d):
    """A 3x3 convolution followed by 2x2 average pooling, as one 4x4 convolution of stride 2: b i h w -> b o h/2 w/2.

    Exact: pooling averages four shifted copies of the kernel, so their mean at stride 2 gives the same numbers with
    2.25 times fewer multiplications. The trained weight stays the 3x3 one.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, mean_of_four_shifts(self.weight), self.bias, stride=2, padding=1)


class UpsampledConv2d(nn.Conv2d):
    """Nearest-neighbour doubling and a 3x3 convolution, as one 4x4 transposed convolution: b i h w -> b o 2h 2w.

    Exact, like `PooledConv2d`: an input pixel is repeated 2x2, so each output adds it with up to four of the taps.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        # Turned first and laid channels_last: in the order of the kernel's gradient, pooling's backward takes a tenth.
        turned = self.weight.flip(2, 3).transpose(0, 1).contiguous(memory_format=torch.channels_last)  # i o 3 3
        kernel = 4 * mean_of_four_shifts(turned)  # a sum; torch's ONNX export ignores a divisor given to the pooling
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)
