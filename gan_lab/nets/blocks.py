"""What nets share: the size rule, images and logits, initialization, and convolutions that also resample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.kernels.conv import convolve
from gan_lab.nets.base import at_least_float32


def size_plan(resolution: int, bases: tuple[int, ...] = (4, 6, 8), doublings: int = 3) -> tuple[int, int]:
    """(base, n) with base * 2^n = resolution, n >= 1 as close to `doublings` as the bases allow.

    32 -> (4, 3), 48 -> (6, 3), 64 -> (8, 3), 96 -> (6, 4), 128 -> (8, 4). ValueError naming the nearest sizes
    otherwise.
    """
    plans = [(b, n) for b in bases for n in range(1, 12) if b * 2**n == resolution]
    if not plans:
        sizes = sorted({b * 2**n for b in bases for n in range(1, 12)})
        below = [s for s in sizes if s < resolution][-1:]
        above = [s for s in sizes if s > resolution][:1]
        near = " or ".join(str(s) for s in below + above)
        raise ValueError(
            f"resolution {resolution} is not {', '.join(map(str, bases))} times a power of two; use {near}"
        )
    return min(plans, key=lambda plan: abs(plan[1] - doublings))


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, to the nearest multiple of 4 from 4 on, below it at least 1."""
    if width <= 0:
        raise ValueError(f"width must be above 0, got {width}")
    exact = channels * width
    return max(1, round(exact)) if exact < 4 else 4 * round(exact / 4)


def to_maps(x: Tensor, side: int) -> Tensor:
    """b c*side*side -> b c side side, in memory as the convolutions take it: all layers up to them would else work on
    both orders at once, which is many times slower.
    """
    return x.unflatten(1, (-1, side, side)).contiguous(memory_format=torch.channels_last)


class LinearOfMaps(nn.Linear):
    """A Linear on all features of an image at once, b c h w -> b o: `nn.Linear` after `flatten(1)`, with its weights.

    It takes the features as they lie (channels_last), so that neither they nor their gradient change order.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(1, x.shape[1:]).permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.bias)


def to_logits(x: Tensor) -> Tensor:
    """b 1 -> b, in fp32 at least: losses are not for bf16."""
    return at_least_float32(x.squeeze(1))


def to_images(x: Tensor) -> Tensor:
    """tanh, in fp32 at least."""
    return torch.tanh(at_least_float32(x))


def init_normal(module: nn.Module, std: float | None) -> None:
    """Weights of convolutions and Linears from N(0, std^2), their biases 0; None keeps PyTorch's own start.

    A fixed std belongs to the width it was chosen for: in nets a quarter as wide, 0.02 shrinks the signal at
    every layer, where PyTorch's start goes by the fan-in.
    """
    if std is None:
        return
    if std <= 0:
        raise ValueError(f"init_std must be above 0, got {std}")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def four_shifts(kernel: Tensor) -> Tensor:
    """o i 3 3 -> o i 4 4: the sum of the kernel at the four corners of a 4x4 one (full convolution with a 2x2
    of ones).
    """
    rows = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class PooledConv2d(nn.Conv2d):
    """A 3x3 convolution followed by 2x2 average pooling, computed as one 4x4 convolution of stride 2.

    Exact: pooling adds four shifted copies of the kernel, so the sum of those copies, quartered, at stride 2
    gives the same numbers with 2.25 times fewer multiplications. The trained weight stays the 3x3 one. b i h
    w -> b o h/2 w/2.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, slope: float | None = None) -> Tensor:
        return convolve(x, four_shifts(self.weight) * 0.25, self.bias, stride=2, padding=1, slope=slope)


class UpsampledConv2d(nn.Conv2d):
    """A 3x3 convolution after doubling by nearest neighbours, as one 4x4 transposed convolution of stride 2.

    Exact, like `PooledConv2d`: an input pixel is repeated 2x2, so each output adds it with up to four of the
    taps. b i h w -> b o 2h 2w.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kernel = four_shifts(self.weight).flip(2, 3).transpose(0, 1)  # i o 4 4
        return convolve(x, kernel, self.bias, stride=2, padding=1, transposed=True)
