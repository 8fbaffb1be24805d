"""The residual nets of SN-GAN (arXiv:1802.05957, tables 4 and 5; arXiv:1704.00028, appendix F) for all sizes.

Up to 32 px all blocks have one width; above, widths double per halving of the side. Widths and parameter counts are
those of the reference implementations (pfnet-research/sngan_projection; kwotsin/mimicry).
"""

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.heads import make_head
from gan_lab.nets.labels import class_arguments, conditional_classes
from gan_lab.nets.layers import to_feature_maps, to_images
from gan_lab.nets.resampling import PooledConv2d, UpsampledConv2d, nearest_double
from gan_lab.nets.self_supervision import make_self_supervision
from gan_lab.nets.sizes import base_and_doublings, scale_channels
from gan_lab.norms.activation import make_norm


def _xavier(layer: nn.Module, gain: float = 1.0) -> None:
    nn.init.xavier_uniform_(layer.weight, gain)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class UpBlock(nn.Module):
    """norm, ReLU, double, 3x3, norm, ReLU, 3x3, plus a shortcut. b i h w -> b o 2h 2w.

    The shortcut's 1x1 convolution works before the doubling: the two commute exactly, at a quarter of the cost.
    Doubling is by nearest neighbours, as in the paper's code (mimicry: bilinear). With `num_classes` the norms are
    class-conditional, with `condition_dim` conditional on a vector, and the block is called with (x, y).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation_norm: str = "batch",
        num_classes: int = 0,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.norm_1 = make_norm(activation_norm, inputs, num_classes, condition_dim)
        self.norm_2 = make_norm(activation_norm, outputs, num_classes, condition_dim)
        self.conv_1 = UpsampledConv2d(inputs, outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        _xavier(self.conv_1, math.sqrt(2.0))
        _xavier(self.conv_2, math.sqrt(2.0))
        _xavier(self.shortcut)

    def forward(self, x: Tensor, *y: Tensor) -> Tensor:
        h = self.conv_1(F.relu(self.norm_1(x, *y)))
        h = self.conv_2(F.relu(self.norm_2(h, *y), inplace=True))
        return h + nearest_double(self.shortcut(x))


class DownBlock(nn.Module):
    """norm, ReLU, 3x3, norm, ReLU, 3x3 [, 2x2 average], plus a shortcut.

    b i h w -> b o h/2 w/2 if `down`, else b o h w.
    `first` leaves out the norm and ReLU that would be applied to the image. The shortcut is pooled before its 1x1
    convolution (they commute). It is the identity in a block that neither pools nor widens. With `wide` the
    first convolution gives `outputs` channels already, as in BigGAN.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        down: bool,
        first: bool = False,
        activation_norm: str = "none",
        wide: bool = False,
    ) -> None:
        super().__init__()
        self.down, self.first = down, first
        hidden = outputs if first or wide else inputs
        self.norm_1 = nn.Identity() if first else make_norm(activation_norm, inputs)
        self.norm_2 = make_norm(activation_norm, hidden)
        self.conv_1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv_2 = PooledConv2d(hidden, outputs) if down else nn.Conv2d(hidden, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else None
        _xavier(self.conv_1, math.sqrt(2.0))
        _xavier(self.conv_2, math.sqrt(2.0))
        if self.shortcut is not None:
            _xavier(self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(self.norm_1(x))
        h = self.conv_2(F.relu(self.norm_2(self.conv_1(h)), inplace=True))
        skip = F.avg_pool2d(x, 2) if self.down else x
        return h + (skip if self.shortcut is None else self.shortcut(skip))


class ResNetGenerator(Generator):
    """z -> linear -> up blocks -> norm, ReLU, 3x3 convolution, tanh.

    Up to 32 px 256 channels throughout; above, 64 in the last block and doubling backwards, at most 1024 (48
    px: 512 -> 256, 128, 64; 64 px: 1024 -> 512, 256, 128, 64). Xavier uniform, gain sqrt(2) on 3x3
    convolutions of blocks; biases 0. 4,276,739 parameters at 32 px.

    `conditional`: the norms of the blocks are class-conditional batch norms (arXiv:1802.05637, section 4). The last
    norm sees no classes, as in the authors' code. `attention`: the side of the maps with self-attention, or None.
    ValueError for another `activation_norm` then, or data without
    classes.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 128,
        z_prior: str = "normal",
        activation_norm: str = "batch",
        attention: int | None = None,
        conditional: bool = False,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(conditional, num_classes), z_prior)
        if resolution <= 32:
            self.base, blocks = base_and_doublings(resolution)
            widths = [scale_channels(256, width)] * (blocks + 1)
        else:
            self.base, blocks = base_and_doublings(resolution, bases=(4, 6))
            widths = [scale_channels(min(64 * 2**k, 1024), width) for k in range(blocks, -1, -1)]
        self.linear = nn.Linear(z_dim, widths[0] * self.base**2)
        self.blocks = nn.Sequential(*(UpBlock(a, b, activation_norm, self.num_classes) for a, b in pairwise(widths)))
        self.norm = make_norm(activation_norm, widths[-1])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        _xavier(self.linear)
        _xavier(self.out)
        self.attention = make_attention(attention, {self.base * 2**i: w for i, w in enumerate(widths) if i})

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        classes = class_arguments(self.num_classes, y)
        x = to_feature_maps(self.linear(z), self.base)  # b c base base
        for block in self.blocks:
            x = self.attention(block(x, *classes))
        return to_images(self.out(F.relu(self.norm(x), inplace=True)))  # b c h w


class ResNetDiscriminator(Discriminator):
    """Down blocks -> ReLU -> global pooling -> linear. b c h w -> b.

    `pooling` over the last feature maps: "sum" as in SN-GAN, or "mean" as in mimicry's WGAN-GP net. At 32 px these maps
    have 8x8 pixels, so logits (but for the bias) and their gradients are 64 times smaller with the mean.
    Up to 32 px four blocks of 128 channels, of which the first two halve the side. Above, halving blocks of
    64, 128, ... (at most 1024) until the side is at most 4, then one block of twice the width that keeps it.
    Xavier uniform, gain sqrt(2) on 3x3 convolutions; biases 0. 1,053,825 parameters at 32 px.

    `attention`: the side of the maps with self-attention, or None. `condition`, `embed_dim`: see `heads`; "projection"
    is the net of arXiv:1802.05637. The head's weights are Xavier uniform, too. ValueError for data without classes, or
    another pooling.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        activation_norm: str = "none",
        pooling: str = "sum",
        attention: int | None = None,
        condition: str = "none",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        if pooling not in ("sum", "mean"):
            raise ValueError(f"pooling must be sum or mean, got {pooling!r}")
        self.pooling = pooling
        if resolution <= 32:
            base_and_doublings(resolution)
            widths, halvings = [scale_channels(128, width)] * 4, 2
        else:
            _, halvings = base_and_doublings(resolution, bases=(4, 6))
            halvings += resolution % 3 == 0  # from a multiple of 6 the side goes on to 3
            widths = [scale_channels(min(64 * 2**k, 1024), width) for k in range(halvings + 1)]
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(
            *(DownBlock(a, b, i < halvings, i == 0, activation_norm) for i, (a, b) in enumerate(pairs))
        )
        self.halvings = halvings
        self.linear = nn.Linear(widths[-1], 1)
        _xavier(self.linear)
        self.class_head = make_head(condition, widths[-1], num_classes, embed_dim)
        if self.class_head is not None:  # drawn anew before self-supervision draws, hence no `make_heads`
            for layer in self.class_head.layers():
                nn.init.xavier_uniform_(layer.weight)
        self.self_supervision = make_self_supervision(self_supervision, widths[-1], widths[-2])
        of_side = {resolution // 2 ** (i + 1): w for i, w in enumerate(widths[:halvings])}
        self.attention = make_attention(attention, of_side)

    def features_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:  # b c h w -> b f, b m h' w'
        maps = x
        for i, block in enumerate(self.blocks):
            maps, x = x, self.attention(block(x)) if i < self.halvings else block(x)
        last = F.relu(x, inplace=True)
        return last.mean((2, 3)) if self.pooling == "mean" else last.sum((2, 3)), maps
