"""DCGAN (arXiv:1511.06434): strided and fractionally strided convolutions with batch normalization."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.labels import class_arguments, conditional_classes, one_hot
from gan_lab.nets.layers import FlattenLinear, init_normal, to_feature_maps, to_images
from gan_lab.nets.resampling import UpsampledConv2d
from gan_lab.nets.sizes import base_and_doublings, scale_channels
from gan_lab.norms.activation import make_norm


def _widths(doublings: int, width: float) -> list[int]:
    """Return the channels 128, 256, ... up to 1024, one per side from half the image's down."""
    return [scale_channels(min(128 * 2**k, 1024), width) for k in range(doublings)]


def _doubling(upsampling: str, inputs: int, outputs: int, bias: bool) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
    if upsampling == "nearest":
        return UpsampledConv2d(inputs, outputs, bias)
    raise ValueError(f"upsampling must be transposed or nearest, got {upsampling!r}")


class DCGANGenerator(Generator):
    """z -> linear to 4x4 (or 6x6) -> 4x4 deconvolutions of stride 2, norm and ReLU between, tanh at the end.

    64 px: 1024 -> 512 -> 256 -> 128 -> image (figure 1). Other sizes double backwards from 128, at most 1024.
    Deviation: 4x4 kernels where the paper has 5x5, as in PyTorch's example. Weights N(0, init_std^2); no bias before a
    norm. ValueError for an option that is unknown or out of range.

    `conditional`: class-conditional batch norms (arXiv:1802.05637, section 4). `upsampling`: "transposed", or "nearest"
    for doubling by nearest neighbours and 3x3 convolutions, which leaves no checkerboard. `mapping_layers`: above 0, a
    mapping network z -> w (b w_dim) of so many fully connected layers stands before the first linear layer, as in
    StyleGAN (arXiv:1812.04948, section 2). Deviations from it: z is not normalized, a class is appended to z as twice
    its one-hot vector (half as large it learnt more slowly on shapes, and with an embedding as large as z G ignored z),
    and weights start as N(0, 2 / (1.04 fan_in)).
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 100,
        z_prior: str = "normal",
        activation_norm: str = "batch",
        init_std: float | None = 0.02,
        attention: int | None = None,
        upsampling: str = "transposed",
        mapping_layers: int = 0,
        w_dim: int = 128,
        conditional: bool = False,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(conditional, num_classes), z_prior)
        if mapping_layers < 0 or w_dim < 1:
            raise ValueError(
                f"mapping_layers must be at least 0 and w_dim at least 1, got {mapping_layers} and {w_dim}"
            )
        self.base, doublings = base_and_doublings(resolution, bases=(4, 6))
        widths = _widths(doublings, width)[::-1]
        bias = activation_norm == "none"
        sides = [z_dim + self.num_classes] + [w_dim] * mapping_layers
        layers = [nn.Linear(a, b) for a, b in pairwise(sides)]
        self.mapping = nn.ModuleList(layers)
        self.linear = nn.Linear(w_dim if mapping_layers else z_dim, widths[0] * self.base**2, bias=bias)
        self.norms = nn.ModuleList(make_norm(activation_norm, w, self.num_classes) for w in widths)
        deconvs = [_doubling(upsampling, a, b, bias) for a, b in pairwise(widths)]
        self.deconvs = nn.ModuleList([*deconvs, _doubling(upsampling, widths[-1], channels, True)])
        self.attention = make_attention(attention, {self.base * 2**i: w for i, w in enumerate(widths) if i})
        init_normal(self, init_std)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            nn.init.zeros_(layer.bias)
        if layers:
            nn.init.normal_(self.linear.weight, std=w_dim**-0.5)

    def _mapped(self, z: Tensor, y: Tensor | None) -> Tensor:  # b z_dim -> b w_dim; z itself without a mapping network
        w = z
        if self.mapping and self.num_classes:
            w = torch.cat([z, 2.0 * one_hot(y, self.num_classes, z.dtype)], 1)
        for layer in self.mapping:
            w = F.leaky_relu(layer(w), 0.2)
        return w

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        x = to_feature_maps(self.linear(self._mapped(z, y)), self.base)  # b c base base
        classes = class_arguments(self.num_classes, y)
        for norm, deconv in zip(self.norms, self.deconvs, strict=True):
            x = self.attention(x)
            x = deconv(F.relu(norm(x, *classes), inplace=True))
        return to_images(x)  # b c h w


class DCGANDiscriminator(Discriminator):
    """4x4 convolutions of stride 2 down to 4x4 (or 6x6), leaky ReLU 0.2, a norm on all but the first, linear.

    Widths mirror the generator's: 64 px 128, 256, 512, 1024. b c h w -> b. `condition`, `embed_dim`: see `heads`.
    `hidden_features`: above 0, a fully connected layer of so many features and leaky ReLU before the last one.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        activation_norm: str = "batch",
        init_std: float | None = 0.02,
        attention: int | None = None,
        hidden_features: int = 0,
        condition: str = "none",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        if hidden_features < 0:
            raise ValueError(f"hidden_features must be at least 0, got {hidden_features}")
        base, halvings = base_and_doublings(resolution, bases=(4, 6))
        widths = _widths(halvings, width)
        bias = activation_norm == "none"
        convs, norms = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)], [nn.Identity()]
        for a, b in pairwise(widths):
            convs.append(nn.Conv2d(a, b, 4, stride=2, padding=1, bias=bias))
            norms.append(make_norm(activation_norm, b))  # type: ignore[arg-type]
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.attention = make_attention(attention, {resolution // 2 ** (i + 1): w for i, w in enumerate(widths)})
        flat, last = widths[-1] * base**2, hidden_features or widths[-1]
        self.hidden = FlattenLinear(flat, hidden_features) if hidden_features else None
        self.linear = nn.Linear(hidden_features, 1) if hidden_features else FlattenLinear(flat, 1)
        self.make_heads(last, condition, embed_dim, self_supervision)
        init_normal(self, init_std)

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f h/.. w/.., or b f after the hidden layer
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(self.attention(norm(conv(x))), 0.2, inplace=True)
        return x if self.hidden is None else F.leaky_relu(self.hidden(x), 0.2)
