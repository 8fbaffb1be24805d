"""The networks of weight-normalized GANs (arXiv:1704.03971; numbers as in stormraiser/GAN-weight-norm).

The convolutions have neither gain nor bias. TReLU or TPReLU (`trelu.py`) shifts the activations instead, and the last
layer of each net has a gain and a bias per channel. The normalization itself is the weight norm `norm=wn_strict`
(`norms/weight_norm.py`), put on from outside. Without it these are nets without a normalization, or, with
`activation_norm=batch`, nets with BatchNorm. The authors' such nets have biases and PReLU in place of the shifted
activations, which can express the same but at padded borders; their last layer has a bias and no gain.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_lab.nets.base import Discriminator, Generator
from gan_lab.nets.layers import to_images, to_logits
from gan_lab.nets.sizes import round_channels, stage_sides
from gan_lab.nets.trelu import ChannelAffine, TPReLU, TReLU
from gan_lab.norms.activation import make_norm


def _activation(kind: str, channels: int) -> nn.Module:
    if kind not in ("tprelu", "trelu"):
        raise ValueError(f"activation must be tprelu or trelu, got {kind!r}")
    return TPReLU(channels) if kind == "tprelu" else TReLU(channels)


def _norms(kind: str, channels: int) -> list[nn.Module]:  # none, so that layers keep the numbers of saved nets
    return [] if kind == "none" else [make_norm(kind, channels)]


def _widths(resolution: int, base: int, width: float) -> list[int]:
    """Return the channels base * 2^i, from the layer next to the image to the one of the smallest side."""
    sides = stage_sides(resolution)
    if len(sides) < 2:
        raise ValueError(f"wn_gan needs images of at least 8 px, got {resolution}")
    return [round_channels(base * 2**i * width) for i in range(len(sides) - 1)]


def _transposed(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """Make a 4x4 transposed convolution of stride 2 with weights uniform within 1/sqrt(inputs * 16).

    Today's PyTorch starts within 1/sqrt(outputs * 16). Under `wn_strict` both compute the same function, but RMSprop
    turns a filter of larger raw weights more slowly.
    """
    layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    nn.init.uniform_(layer.weight, -((inputs * 16) ** -0.5), (inputs * 16) ** -0.5)
    return layer


class WNGANGenerator(Generator):
    """z -> linear -> TPReLU -> 4x4 stride-2 transposed convolutions down to `base` channels -> image.

    The mirror image of the discriminator. The linear layer's initial weights are multiplied by `init_factor`; the
    authors do so with weight norm only, and without any norm 0.01 leaves images that hardly depend on z. Those of a
    transposed convolution are uniform within 1/sqrt(c_in kh kw), the default of the authors' PyTorch. After the last
    one come a gain and a bias per channel, and a sigmoid. Deviation: the authors train on images in [0, 1]; ours are in
    [-1, 1], which is 2 sigmoid - 1. `activation_norm`: a norm before each activation, see `norms.activation.make_norm`.
    ValueError for images under 8 px, an unknown activation or norm.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 128,
        base: int = 64,
        activation: str = "tprelu",
        activation_norm: str = "none",
        init_factor: float = 0.01,
    ) -> None:
        super().__init__(resolution, channels, z_dim)
        widths = _widths(resolution, base, width)[::-1]
        self.side, self.start = stage_sides(resolution)[0], widths[0]
        self.linear = nn.Linear(z_dim, self.start * self.side**2, bias=False)
        with torch.no_grad():
            self.linear.weight.mul_(init_factor)
        self.norm = make_norm(activation_norm, self.start)
        self.activation = _activation(activation, self.start)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [_transposed(a, b), *_norms(activation_norm, b), _activation(activation, b)]
        self.layers = nn.Sequential(*layers)
        self.to_image = _transposed(widths[-1], channels)
        self.affine = ChannelAffine(channels)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: b z_dim -> images b c h w in [-1, 1]."""
        x = self.linear(z).view(-1, self.start, self.side, self.side)
        x = self.affine(self.to_image(self.layers(self.activation(self.norm(x)))))
        return to_images(x / 2.0)  # tanh(x/2) = 2 sigmoid(x) - 1


class WNGANDiscriminator(Discriminator):
    """4x4 stride-2 convolutions, base * 2^i channels, down to a side below 8; one of full size -> logits b.

    The last convolution has a gain and a bias. The authors' sigmoid belongs to the loss here. Images are brought from
    [-1, 1] to the authors' [0, 1] first. `activation_norm`: as in G, on all layers but the first. ValueError for images
    under 8 px, an unknown activation or norm.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        base: int = 64,
        activation: str = "tprelu",
        activation_norm: str = "none",
    ) -> None:
        super().__init__()
        widths = [channels, *_widths(resolution, base, width)]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            norms = _norms(activation_norm, b)  # of the first layer, too, so that an unknown one is refused
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), *(norms if i else ()), _activation(activation, b)]
        self.layers = nn.Sequential(*layers)
        self.to_logit = nn.Conv2d(widths[-1], 1, stage_sides(resolution)[0], bias=False)
        self.affine = ChannelAffine(1)

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f h' w', the side below 8
        return self.layers((x + 1.0) / 2.0)  # type: ignore[no-any-return]

    def logits(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        return to_logits(self.affine(self.to_logit(features)).flatten(1))
