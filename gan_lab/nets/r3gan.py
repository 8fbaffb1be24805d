"""R3GAN's networks: residual nets without normalization (arXiv:2501.05441; numbers as in brownvc/R3GAN)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.kernels.grouped_conv import grouped_conv2d
from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator, at_least_float32
from gan_lab.nets.labels import conditional_classes, one_hot
from gan_lab.nets.layers import to_logits
from gan_lab.nets.resampling import Resampler
from gan_lab.nets.sizes import round_channels, stage_sides

SLOPE = 0.2
GAIN = math.sqrt(2.0 / (1.0 + SLOPE**2))  # keeps the second moment through the leaky ReLU
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def default_widths(resolution: int, width: float) -> list[int]:
    """Return the channels of each stage, smallest side first: 768 up to side 32, halved per doubling, times `width`.

    These are the published widths of CIFAR-10 (768 x 4), FFHQ-64 (768 x 4, 384) and FFHQ-256 (768 x 4, 384, 192, 96).
    """
    return [max(8, round_channels(768 * min(1.0, 32 / side) * width)) for side in stage_sides(resolution)]


def _drawn(layer: Layer, gain: float) -> Layer:
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))  # fan_in of a group
    return layer


def _conv(inputs: int, outputs: int, size: int, gain: float = 1.0, groups: int = 1) -> nn.Conv2d:
    return _drawn(nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False), gain)


def _linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    return _drawn(nn.Linear(inputs, outputs, bias=False), gain)


class ResidualBlock(nn.Module):
    """x + conv1x1(act(conv3x3 grouped(act(conv1x1(x))))), act = leaky ReLU 0.2 of x + bias.

    arXiv:2501.05441. Convolutions have no bias of their own. The last one starts at 0, so the block starts as the
    identity. The others start with gain sqrt(2/1.04) * depth^(-1/4), depth being the number of blocks in the net
    (Fixup, arXiv:1901.09321: depth^(-1/(2m-2)) for m = 3 layers).
    """

    def __init__(self, channels: int, depth: int, expansion: int = 2, group_width: int = 16) -> None:
        super().__init__()
        inner = channels * expansion
        if inner % group_width:
            raise ValueError(
                f"{channels} channels times expansion {expansion} do not split into groups of {group_width}"
            )
        gain = GAIN * depth**-0.25
        self.expand = _conv(channels, inner, 1, gain)
        self.bias1 = nn.Parameter(torch.zeros(inner))
        self.mix = _conv(inner, inner, 3, gain, groups=inner // group_width)
        self.bias2 = nn.Parameter(torch.zeros(inner))
        self.reduce = _conv(inner, channels, 1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(F.conv2d(x, self.expand.weight, self.bias1), SLOPE, inplace=True)
        y = grouped_conv2d(y, self.mix.weight, self.bias2, self.mix.groups)
        return x + F.conv2d(F.leaky_relu(y, SLOPE, inplace=True), self.reduce.weight)


def _blocks(channels: int, count: int, depth: int, expansion: int, group_width: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels, depth, expansion, group_width) for _ in range(count)))


def _transition(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else _conv(inputs, outputs, 1)


def _stage_widths(resolution: int, width: float, widths: Sequence[int] | None, blocks: int) -> list[int]:
    """Return the channels of each stage, smallest side first; ValueError for settings that make no net."""
    if blocks < 1:
        raise ValueError(f"blocks_per_stage must be at least 1, got {blocks}")
    stages = len(stage_sides(resolution))
    if widths is not None and len(widths) != stages:
        raise ValueError(
            f"widths needs one number for each of the {stages} stages at {resolution} px, got {len(widths)}"
        )
    return default_widths(resolution, width) if widths is None else [int(w) for w in widths]


class R3GANGenerator(Generator):
    """z -> learned 4x4 basis weighted by linear(z) -> residual blocks, doubled between stages -> images.

    arXiv:2501.05441. There is no mapping network, style, noise or output nonlinearity. `widths` (smallest side first)
    replaces the default channels; `width` is then not used. Where the channels change, a 1x1 convolution stands before
    the upsampling. Resolutions 6 * 2^k start from a 6x6 basis.

    `conditional`: an embedding of the class in z_dim numbers is appended to z, as in the net of the published figures.
    ValueError for a setting out of range.
    """

    takes_label_vectors = True

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        widths: Sequence[int] | None = None,
        z_dim: int = 64,
        blocks_per_stage: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        attention: int | None = None,
        conditional: bool = False,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(conditional, num_classes))
        w = _stage_widths(resolution, width, widths, blocks_per_stage)
        side, depth = stage_sides(resolution)[0], blocks_per_stage * len(w)
        self.embedding = _linear(num_classes, z_dim) if conditional else None
        self.basis = nn.Parameter(torch.randn(w[0], side, side))
        self.coefficients = _linear(z_dim * (2 if conditional else 1), w[0])
        self.transitions = nn.ModuleList(_transition(a, b) for a, b in pairwise(w))
        self.stages = nn.ModuleList(_blocks(n, blocks_per_stage, depth, expansion, group_width) for n in w)
        self.to_rgb = _conv(w[-1], channels, 1)
        self.resampler = Resampler()
        self.attention = make_attention(attention, dict(zip(stage_sides(resolution), w, strict=True)))

    def latent_weights(self) -> list[Tensor]:
        return [self.coefficients.weight[:, : self.z_dim]]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: b z_dim (y: b, int64, in the conditional net) -> images b c h w."""
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(one_hot(y, self.num_classes, z.dtype))], dim=1)
        weights = self.coefficients(z)
        x = self.basis.to(weights.dtype) * weights[:, :, None, None]
        x = x.contiguous(memory_format=torch.channels_last)  # the layers after it keep this format
        x = self.attention(self.stages[0](x))
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            x = self.attention(stage(self.resampler.upsample(transition(x))))
        return at_least_float32(self.to_rgb(x))


class R3GANDiscriminator(Discriminator):
    """Images b c h w -> 1x1 -> residual blocks, halved between stages -> depthwise 4x4 -> linear -> logits b.

    arXiv:2501.05441. The mirror image of the generator, with `widths` in the same order (smallest side first).
    `condition`, `embed_dim`: see `heads`, but for "projection", which is that of the published net: the logit is the
    inner product of the features and an embedding of the class, without an unconditional term. This embedding starts
    with gain 1/sqrt(its dimension), as in the reference code, so that the logit does not grow with it. ValueError for a
    setting out of range.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        widths: Sequence[int] | None = None,
        blocks_per_stage: int = 2,
        expansion: int = 2,
        group_width: int = 16,
        attention: int | None = None,
        condition: str = "none",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        w = _stage_widths(resolution, width, widths, blocks_per_stage)[::-1]
        side, depth = stage_sides(resolution)[0], blocks_per_stage * len(w)
        self.from_rgb = _conv(channels, w[0], 1)
        self.stages = nn.ModuleList(_blocks(n, blocks_per_stage, depth, expansion, group_width) for n in w)
        self.transitions = nn.ModuleList(_transition(a, b) for a, b in pairwise(w))
        self.basis = _drawn(nn.Conv2d(w[-1], w[-1], side, groups=w[-1], bias=False), gain=1.0)
        projection = condition == "projection"
        self.out = _linear(w[-1], w[-1] if projection else 1)
        self.embedding = _linear(num_classes, w[-1], gain=w[-1] ** -0.5) if projection else None
        self.make_heads(w[-1], "none" if projection else condition, embed_dim, self_supervision)
        self.resampler = Resampler()
        self.attention = make_attention(attention, dict(zip(stage_sides(resolution), w[::-1], strict=True)))

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f
        x = self.attention(self.stages[0](self.from_rgb(x)))
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            x = self.attention(stage(transition(self.resampler.downsample(x))))
        # `self.basis(x)`, whose kernel is as large as the map, in the memory order of x and of its gradient.
        return (x.permute(0, 2, 3, 1) * self.basis.weight[:, 0].permute(1, 2, 0).contiguous()).sum((1, 2))

    def unconditional_logits(self, features: Tensor) -> Tensor:
        return to_logits(self.out(features))

    def logits(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        if self.embedding is None:
            return super().logits(features, y)
        found = self.out(features)
        labels = self.embedding(one_hot(y, self.num_classes, found.dtype))
        return to_logits((found * labels).sum(1, keepdim=True))
