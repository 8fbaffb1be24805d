"""BigGAN-deep (arXiv:1809.11096, appendix B): bottleneck blocks, two for each size; channels as in `biggan`."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.biggan import multipliers
from gan_lab.nets.labels import conditional_classes, one_hot
from gan_lab.nets.layers import init_orthogonal, to_feature_maps, to_images
from gan_lab.nets.resampling import UpsampledConv2d, nearest_double
from gan_lab.nets.sizes import scale_channels
from gan_lab.norms.activation import make_norm

BOTTLENECK = 4  # inner channels are those of the block, divided by this


def _inner(channels: int) -> int:
    return max(1, channels // BOTTLENECK)


class DeepUpBlock(nn.Module):
    """1x1, 3x3 (doubling the side if `up`), 3x3, 1x1, each after a norm and ReLU; plus x. b i h w -> b o h w or 2h 2w.

    The shortcut drops the last i - o channels and doubles by nearest neighbours. Norms are conditional on a vector.
    """

    def __init__(self, inputs: int, outputs: int, up: bool, condition_dim: int) -> None:
        super().__init__()
        self.up, self.outputs, inner = up, outputs, _inner(inputs)
        self.norms = nn.ModuleList(
            make_norm("batch", n, condition_dim=condition_dim) for n in (inputs, inner, inner, inner)
        )
        self.conv_1 = nn.Conv2d(inputs, inner, 1)
        self.conv_2 = UpsampledConv2d(inner, inner) if up else nn.Conv2d(inner, inner, 3, padding=1)
        self.conv_3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv_4 = nn.Conv2d(inner, outputs, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        h = self.conv_1(F.relu(self.norms[0](x, c)))
        h = self.conv_2(F.relu(self.norms[1](h, c)))
        h = self.conv_3(F.relu(self.norms[2](h, c), inplace=True))
        h = self.conv_4(F.relu(self.norms[3](h, c), inplace=True))
        skip = x[:, : self.outputs]
        return h + (nearest_double(skip) if self.up else skip)


class DeepDownBlock(nn.Module):
    """ReLU, 1x1, ReLU, 3x3, ReLU, 3x3, ReLU [, 2x2 average], 1x1; plus x. b i h w -> b o h/2 w/2 if `down`.

    The shortcut is pooled too; a 1x1 convolution of it gives the o - i channels that x lacks.
    """

    def __init__(self, inputs: int, outputs: int, down: bool) -> None:
        super().__init__()
        self.down, inner = down, _inner(outputs)
        self.conv_1 = nn.Conv2d(inputs, inner, 1)
        self.conv_2 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv_3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv_4 = nn.Conv2d(inner, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs - inputs, 1) if outputs > inputs else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(F.relu(x))
        h = F.relu(self.conv_3(F.relu(self.conv_2(F.relu(h, inplace=True)), inplace=True)))
        h, skip = (F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)) if self.down else (h, x)
        if self.shortcut is not None:
            skip = torch.cat([skip, self.shortcut(skip)], 1)
        return self.conv_4(h) + skip


class BigGANDeepGenerator(Generator):
    """z and the class's embedding -> linear -> two blocks a size, the second doubling it -> norm, ReLU, 3x3, tanh.

    All of z, with the embedding of `shared_dim` numbers, enters the linear layer and every norm. Settings as in
    `BigGANGenerator`, but any `z_dim` will do.
    """

    takes_label_vectors = True

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 128,
        z_prior: str = "normal",
        shared_dim: int = 128,
        channels_unit: int = 128,
        attention: int | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(True, num_classes), z_prior)
        self.base, units = multipliers(resolution)
        widths = [scale_channels(channels_unit * m, width) for m in units]
        condition_dim = z_dim + shared_dim
        self.embedding = nn.Embedding(num_classes, shared_dim)
        self.linear = nn.Linear(condition_dim, widths[0] * self.base**2)
        self.blocks = nn.ModuleList()
        for a, b in pairwise(widths):
            self.blocks.append(DeepUpBlock(a, a, False, condition_dim))
            self.blocks.append(DeepUpBlock(a, b, True, condition_dim))
        self.attention = make_attention(attention, {self.base * 2**i: w for i, w in enumerate(widths) if i})
        self.norm = make_norm("batch", widths[-1])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        init_orthogonal(self)
        nn.init.orthogonal_(self.embedding.weight)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        c = torch.cat([z, one_hot(y, self.num_classes, z.dtype) @ self.embedding.weight.to(z.dtype)], 1)
        x = to_feature_maps(self.linear(c), self.base)
        for i, block in enumerate(self.blocks):
            x = self.attention(block(x, c)) if i % 2 else block(x, c)  # where the side has changed
        return to_images(self.out(F.relu(self.norm(x), inplace=True)))  # b c h w


class BigGANDeepDiscriminator(Discriminator):
    """3x3 convolution -> two blocks a size, the first halving it -> ReLU -> sum over positions -> linear. b c h w -> b.

    Settings as in `BigGANDiscriminator`. The side goes down to that of the generator's first maps.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        channels_unit: int = 128,
        attention: int | None = None,
        condition: str = "projection",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        _, units = multipliers(resolution)
        units = (2,) * len(units) if resolution <= 32 else units[::-1]
        widths = [scale_channels(channels_unit * m, width) for m in units]
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for a, b in pairwise(widths):
            self.blocks.append(DeepDownBlock(a, b, True))
            self.blocks.append(DeepDownBlock(b, b, False))
        self.attention = make_attention(attention, {resolution // 2**i: w for i, w in enumerate(widths) if i})
        self.linear = nn.Linear(widths[-1], 1)
        self.make_heads(widths[-1], condition, embed_dim, self_supervision)
        init_orthogonal(self)

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f
        x = self.first(x)
        for i, block in enumerate(self.blocks):
            x = self.attention(block(x)) if i % 2 else block(x)  # after both blocks of a side
        return F.relu(x).sum((2, 3))
