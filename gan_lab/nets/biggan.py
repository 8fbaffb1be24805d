"""BigGAN (arXiv:1809.11096, appendix B) for 32 to 256 px by one rule; parameter counts are those of StudioGAN.

Spectral norm of both nets is a weight norm (`norm=sn norm.generator=sn`); orthogonal regularization is a penalty
(`penalty=ortho_biggan`).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.labels import conditional_classes, one_hot
from gan_lab.nets.layers import init_orthogonal, to_feature_maps, to_images
from gan_lab.nets.resnet import DownBlock, UpBlock
from gan_lab.nets.sizes import base_and_doublings, scale_channels
from gan_lab.norms.activation import make_norm

MULTIPLIERS = {4: (16, 8, 4, 2, 1), 5: (16, 16, 8, 4, 2, 1), 6: (16, 16, 8, 8, 4, 2, 1)}


def multipliers(resolution: int) -> tuple[int, tuple[int, ...]]:
    """Return the smallest side, and the channels at each side from there on in units of the width.

    Up to 32 px 4 throughout. Above, for sides doubled 4, 5 and 6 times (64, 128 and 256 px): the paper's tables 4 to 6.
    ValueError for other sizes.
    """
    base, doublings = base_and_doublings(resolution, bases=(4, 6))
    if doublings <= 3:
        return base, (4,) * (doublings + 1)
    if doublings not in MULTIPLIERS:
        raise ValueError(f"biggan is defined for up to 384 px, got {resolution}")
    return base, MULTIPLIERS[doublings]


class BigGANGenerator(Generator):
    """z in chunks, the first -> linear -> up blocks -> norm, ReLU, 3x3 convolution, tanh.

    Each block has one more chunk of z. With the class's embedding of `shared_dim` numbers, which all blocks share, it
    gives the gains and biases of the block's batch norms. `channels_unit` is the width (ch in the paper), `attention`
    the side of the maps with self-attention, or None. Weights start orthogonal. `z_dim` is divisible by the number of
    blocks + 1. ValueError for settings that do not fit, or data without classes.
    """

    takes_label_vectors = True

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 80,
        z_prior: str = "normal",
        shared_dim: int = 128,
        channels_unit: int = 96,
        attention: int | None = None,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(True, num_classes), z_prior)
        self.base, units = multipliers(resolution)
        if z_dim % len(units):
            raise ValueError(f"z_dim must be a multiple of {len(units)}, one chunk for each block and one for the "
                             f"start, at {resolution} px; got {z_dim}")  # fmt: skip
        self.chunk = z_dim // len(units)
        widths = [scale_channels(channels_unit * m, width) for m in units]
        self.embedding = nn.Embedding(num_classes, shared_dim)
        self.linear = nn.Linear(self.chunk, widths[0] * self.base**2)
        condition_dim = shared_dim + self.chunk
        self.blocks = nn.ModuleList(UpBlock(a, b, condition_dim=condition_dim) for a, b in pairwise(widths))
        self.attention = make_attention(attention, {self.base * 2**i: w for i, w in enumerate(widths) if i})
        self.norm = make_norm("batch", widths[-1])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        init_orthogonal(self)
        nn.init.orthogonal_(self.embedding.weight)

    def latent_weights(self) -> list[Tensor]:
        """Return the weight of the first layer, which reads the first chunk of z; those of the others are 0."""
        return [F.pad(self.linear.weight, (0, self.z_dim - self.chunk))]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        shared = one_hot(y, self.num_classes, z.dtype) @ self.embedding.weight.to(z.dtype)  # b shared_dim
        first, *rest = z.split(self.chunk, 1)
        x = to_feature_maps(self.linear(first), self.base)
        for block, chunk in zip(self.blocks, rest, strict=True):
            x = self.attention(block(x, torch.cat([shared, chunk], 1)))
        return to_images(self.out(F.relu(self.norm(x), inplace=True)))  # b c h w


class BigGANDiscriminator(Discriminator):
    """Down blocks, the last of which keeps the side -> ReLU -> sum over positions -> linear. b c h w -> b.

    Up to 32 px four blocks of 2 * channels_unit, two of which halve the side; above, the generator's channels in
    reverse. `attention`: the side of the maps with self-attention, or None. Weights start orthogonal. `condition`,
    `embed_dim`: see `heads`; the paper has "projection". ValueError for settings that do not fit.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        channels_unit: int = 96,
        attention: int | None = None,
        condition: str = "projection",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        _, units = multipliers(resolution)
        units, halvings = ((2,) * 4, 2) if resolution <= 32 else (units[::-1], len(units) - 1)
        self.halvings = halvings
        widths = [scale_channels(channels_unit * m, width) for m in units]
        pairs = zip([channels, *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList(DownBlock(a, b, i < halvings, i == 0, wide=True) for i, (a, b) in enumerate(pairs))
        of_side = {resolution // 2 ** (i + 1): w for i, w in enumerate(widths[:halvings])}
        self.attention = make_attention(attention, of_side)
        self.linear = nn.Linear(widths[-1], 1)
        self.make_heads(widths[-1], condition, embed_dim, self_supervision, maps=widths[-2])
        init_orthogonal(self)

    def features_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:  # b c h w -> b f, b m h' w'
        maps = x
        for i, block in enumerate(self.blocks):
            maps, x = x, self.attention(block(x)) if i < self.halvings else block(x)
        return F.relu(x).sum((2, 3)), maps
