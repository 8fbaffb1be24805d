"""The plain nets of SN-GAN (arXiv:1802.05957, table 3), as BSN's authors train them (arXiv:2009.02773)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.labels import class_arguments, conditional_classes
from gan_lab.nets.layers import FlattenLinear, init_normal, init_orthogonal, to_feature_maps, to_images
from gan_lab.nets.sizes import base_and_doublings, scale_channels
from gan_lab.norms.activation import make_norm


class SNGANGenerator(Generator):
    """z -> linear -> one 4x4 deconvolution of stride 2 per doubling (norm, ReLU each) -> 3x3 convolution, tanh.

    Channels double backwards from 64 at full resolution, at most 512: 32 px 512 -> 256, 128, 64. The paper's three
    doublings start from resolution / 8. Other sizes start from 4, 6 or 8, with the number of doublings nearest to
    three. Weights N(0, init_std^2), biases 0. `conditional`: class-conditional batch norms (arXiv:1802.05637, section
    4).
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
        init_std: float | None = 0.02,
        attention: int | None = None,
        conditional: bool = False,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(conditional, num_classes), z_prior)
        self.base, doublings = base_and_doublings(resolution)
        widths = [scale_channels(min(64 * 2**k, 512), width) for k in range(doublings, -1, -1)]
        self.linear = nn.Linear(z_dim, widths[0] * self.base**2)
        self.norm = make_norm(activation_norm, widths[0], self.num_classes)
        self.deconvs = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(make_norm(activation_norm, w, self.num_classes) for w in widths[1:])
        self.out = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.attention = make_attention(attention, {self.base * 2**i: w for i, w in enumerate(widths) if i})
        init_normal(self, init_std)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = to_feature_maps(self.linear(z), self.base)  # b c base base
        classes = class_arguments(self.num_classes, y)
        x = self.norm(x, *classes)
        for deconv, norm in zip(self.deconvs, self.norms, strict=True):
            x = self.attention(norm(deconv(F.relu(x, inplace=True)), *classes))
        return to_images(self.out(F.relu(x, inplace=True)))  # b c h w


class SNGANDiscriminator(Discriminator):
    """3x3 convolution 64; per halving a 4x4 of stride 2 and a 3x3 of doubled width (at most 512); flatten, linear.

    Leaky ReLU 0.1 after every convolution. `init`: weights "normal", N(0, init_std^2), or "orthogonal", which the paper
    starts from for its orthonormal regularization (section 4); biases 0. b c h w -> b. `condition`, `embed_dim`: see
    `heads`. ValueError for another `init`.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        activation_norm: str = "none",
        init: str = "normal",
        init_std: float | None = 0.02,
        attention: int | None = None,
        condition: str = "none",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        if init not in ("normal", "orthogonal"):
            raise ValueError(f"init must be normal or orthogonal, got {init!r}")
        base, halvings = base_and_doublings(resolution)
        widths = [scale_channels(min(64 * 2**k, 512), width) for k in range(halvings + 1)]
        convs, norms = [nn.Conv2d(channels, widths[0], 3, padding=1)], [nn.Identity()]
        for a, b in pairwise(widths):
            convs += [nn.Conv2d(a, a, 4, stride=2, padding=1), nn.Conv2d(a, b, 3, padding=1)]
            norms += [make_norm(activation_norm, a), make_norm(activation_norm, b)]  # type: ignore[list-item]
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.attention = make_attention(attention, {resolution // 2**i: w for i, w in enumerate(widths)})
        self.linear = FlattenLinear(widths[-1] * base**2, 1)
        self.make_heads(widths[-1], condition, embed_dim, self_supervision)
        if init == "normal":
            init_normal(self, init_std)
        else:
            init_orthogonal(self)

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f h/.. w/..
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x))
            x = self.attention(x) if i % 2 == 0 else x  # once at each side, after its last convolution
            x = F.leaky_relu(x, 0.1, inplace=True)
        return x
