"""Layers of StyleGAN2 (arXiv:1912.04958; numbers as in NVlabs/stylegan2-ada-pytorch, training/networks.py).

Weights start at their effective scale, N(0, 1/fan_in). The equalized learning rate is a weight norm applied from
outside (`norm.generator=equalized_lr`, `norm=equalized_lr`). It stores N(0, 1) and multiplies at run time: the function
is the same with and without it, and only the optimizer sees the difference.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.distributed.randomness import normal
from gan_lab.nets.base import at_least_float32
from gan_lab.nets.labels import one_hot
from gan_lab.nets.resampling import Resampler

NOISE_MODES = ("random", "constant", "none")


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU 0.2 times sqrt(2), which keeps the second moment of a unit normal input near one (1.04)."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2.0)


def linear(inputs: int, outputs: int, bias: float = 0.0, lr_multiplier: float = 1.0) -> nn.Linear:
    """Make a Linear with weights N(0, 1/inputs), a constant bias, and `lr_multiplier` for EqualizedLR."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    nn.init.constant_(layer.bias, bias)
    layer.lr_multiplier = lr_multiplier  # type: ignore[assignment]
    return layer


def conv(inputs: int, outputs: int, size: int, bias: bool = True, stride: int = 1) -> nn.Conv2d:
    """Make a Conv2d with weights N(0, 1/fan_in) and bias 0; padded to keep the side unless it has a stride."""
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2 if stride == 1 else 0, bias=bias)
    nn.init.normal_(layer.weight, std=(inputs * size * size) ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _unit_rms(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Mapping(nn.Module):
    """z (b z_dim) -> w (b w_dim): z brought to unit RMS, then `depth` fully connected layers.

    arXiv:1812.04948, section 2. Under EqualizedLR, and only there, the learning rate of the layers is multiplied by
    `lr_multiplier`. With `num_classes` an embedding of the classes in w_dim numbers, brought to unit RMS, is appended
    to z (arXiv:2006.06676, appendix D). It is all that enters with z_dim 0. y: classes (b), or a vector of num_classes
    numbers for each sample, 0 or 1 for several labels at once.
    """

    def __init__(
        self, z_dim: int, w_dim: int, depth: int = 8, lr_multiplier: float = 0.01, num_classes: int = 0
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"mapping_layers must be at least 1, got {depth}")
        self.num_classes = num_classes
        self.embedding = linear(num_classes, w_dim) if num_classes else None
        widths = [z_dim + (w_dim if num_classes else 0)] + [w_dim] * depth
        self.layers = nn.ModuleList(linear(a, b, lr_multiplier=lr_multiplier) for a, b in pairwise(widths))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            x = _unit_rms(at_least_float32(z)) if z.shape[1] else at_least_float32(z)
            if self.embedding is not None:
                x = torch.cat([x, _unit_rms(self.embedding(one_hot(y, self.num_classes, x.dtype)))], 1)
            for layer in self.layers:
                x = activate(layer(x))
        return x


class ModulatedConv2d(nn.Conv2d):
    """A convolution whose input channels are scaled by a style, without and with demodulation.

    arXiv:1912.04958, equations 1 and 3: w'_ijk = s_i w_ijk, w''_ijk = w'_ijk / sqrt(sum_ik w'_ijk^2 + 1e-8).
    Deviation: computed on the activations, x*s -> one shared convolution -> *d with d = rsqrt(s^2 @ sum_k w^2). That is
    the same up to rounding and needs no weight per sample.

    `up` doubles the side: zero insertion and convolution as one transposed convolution, then the FIR filter. A
    transposed convolution mirrors the kernel, which makes no difference to a learned one. Styles and demodulation run
    in fp32 under autocast.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, w_dim: int, *, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        nn.init.normal_(self.weight, std=(inputs * size * size) ** -0.5)
        self.affine = linear(w_dim, inputs, bias=1.0)
        self.demodulate, self.up = demodulate, up

    def forward(self, x: Tensor, w: Tensor, resampler: Resampler) -> Tensor:  # type: ignore[override]
        """x: b c_in h w, w: b w_dim -> b c_out h w (2h 2w when `up`)."""
        weight = self.weight  # once: a parametrized weight is computed at every access
        with torch.autocast(x.device.type, enabled=False):
            s = self.affine(at_least_float32(w))  # b c_in
            if self.demodulate:
                energy = at_least_float32(weight).square().sum((2, 3))  # c_out c_in
                d = torch.rsqrt(s.square() @ energy.t() + 1e-8)  # b c_out
        x = x * s.to(x.dtype)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = resampler.blur(x, padding=1, gain=4.0)
        else:
            x = F.conv2d(x, weight, padding=self.padding)
        return x * d.to(x.dtype)[:, :, None, None] if self.demodulate else x


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise of one learned strength, bias, activation.

    The noise is one number per sample and pixel, shared by the channels; its strength starts at 0
    (arXiv:1912.04958, figure 2c). It comes from torch's global generator ("random"), is a fixed buffer ("constant"),
    left out ("none"), or is given (b 1 side side).
    """

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, w_dim: int, *, up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, 3, w_dim, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise_const", torch.randn(1, 1, side, side))

    def forward(self, x: Tensor, w: Tensor, resampler: Resampler, noise: str | Tensor) -> Tensor:
        """x: b c_in h w, w: b w_dim -> b c_out side side."""
        x = self.conv(x, w, resampler)
        if isinstance(noise, str) and noise == "random":
            noise = normal((len(x), 1, *x.shape[2:]), device=x.device, dtype=x.dtype)
        elif isinstance(noise, str) and noise == "constant":
            noise = self.noise_const
        if isinstance(noise, Tensor):
            x = x + (noise * self.noise_strength).to(x.dtype)
        return activate(x + self.bias.to(x.dtype)[:, None, None])


class ToRGB(nn.Module):
    """Features to image channels: a modulated 1x1 convolution without demodulation, and a bias; fp32 at least."""

    def __init__(self, inputs: int, channels: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, channels, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor, resampler: Resampler) -> Tensor:
        return at_least_float32(self.conv(x, w, resampler)) + self.bias[:, None, None]


class MinibatchStd(nn.Module):
    """Append one channel: the standard deviation over a group of samples, averaged over features and pixels.

    arXiv:1710.10196, section 3. The group has `group` samples, or the largest divisor of the batch below that. It
    couples samples: reals and fakes must not share a forward.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        if group < 1:
            raise ValueError(f"the group of the minibatch standard deviation must be at least 1, got {group}")
        self.group = group
        self.couples_samples = True

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        size = next(n for n in range(min(self.group, b), 0, -1) if b % n == 0)
        groups = at_least_float32(x).reshape(size, b // size, -1)  # members of a group lie b/size apart
        spread = torch.sqrt(groups.var(0, correction=0) + 1e-8).mean(1)  # b/size
        extra = spread.to(x.dtype).repeat(size).view(b, 1, 1, 1).expand(b, 1, h, w)
        return torch.cat([x, extra], dim=1)
