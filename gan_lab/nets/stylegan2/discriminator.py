"""StyleGAN2's discriminator (arXiv:1912.04958), residual or plain, in plain PyTorch."""

import math
from itertools import pairwise

from torch import Tensor, nn

from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import Discriminator, at_least_float32
from gan_lab.nets.labels import conditional_classes
from gan_lab.nets.layers import to_logits
from gan_lab.nets.resampling import Resampler
from gan_lab.nets.sizes import round_channels, stage_sides
from gan_lab.nets.stylegan2.layers import Mapping, MinibatchStd, activate, conv, linear

ARCHITECTURES = ("residual", "plain")


class DiscriminatorBlock(nn.Module):
    """Two 3x3 convolutions, the second with FIR filter and stride 2; the residual form adds a 1x1 shortcut.

    `residual_scale` multiplies the sum of the two paths: 1/sqrt(2) keeps the variance of two unit-variance
    paths at one.
    """

    def __init__(self, inputs: int, outputs: int, residual: bool, residual_scale: float) -> None:
        super().__init__()
        self.conv0 = conv(inputs, inputs, 3)
        self.conv1 = conv(inputs, outputs, 3, stride=2)
        self.shortcut = conv(inputs, outputs, 1, bias=False) if residual else None
        self.residual_scale = residual_scale

    def forward(self, x: Tensor, resampler: Resampler) -> Tensor:
        """b c h w -> b c' h/2 w/2."""
        y = activate(self.conv0(x))
        y = activate(self.conv1(resampler.blur(y, padding=2)))
        if self.shortcut is None:
            return y
        return (y + self.shortcut(resampler.downsample(x))) * self.residual_scale


class StyleGAN2Discriminator(Discriminator):
    """Images b c h w in [-1, 1] -> logits b.

    arXiv:1912.04958: 1x1 convolution from the image, one block per halving down to side 4 (or 6), minibatch
    standard deviation, 3x3 convolution, fully connected, fully connected to 1. Channels as in the generator.

    - `architecture`: "residual" (configuration E) or "plain" (no shortcuts, the setting for CIFAR-10 of
      arXiv:2006.06676).
    - `residual_scale`: 1/sqrt(2) as in the paper; 1 shows what it is for.
    - `minibatch_std_group`: samples per group, 0 to leave the layer out.
    - `condition`, `embed_dim`: see `heads`, but for "projection", which is the reference code's: the logit is the inner
      product of a vector of the image and one of the class, over the root of their dimension. The class's vector comes
      from a mapping network of 8 layers (arXiv:2006.06676, appendix D).

    ValueError for an unknown architecture or a group below 0.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        channel_base: int = 16384,
        channel_max: int = 512,
        architecture: str = "residual",
        residual_scale: float = math.sqrt(0.5),
        minibatch_std_group: int = 4,
        attention: int | None = None,
        condition: str = "none",
        embed_dim: int = 512,
        self_supervision: str = "none",
        num_classes: int = 0,
    ) -> None:
        super().__init__(conditional_classes(condition != "none", num_classes))
        if architecture not in ARCHITECTURES:
            raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
        if minibatch_std_group < 0:
            raise ValueError(f"minibatch_std_group must be 0 or more, got {minibatch_std_group}")
        sides = stage_sides(resolution)[::-1]
        widths = [round_channels(min(channel_base / side, channel_max) * width) for side in sides]
        last, side = widths[-1], sides[-1]
        self.from_rgb = conv(channels, widths[0], 1)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(a, b, architecture == "residual", residual_scale) for a, b in pairwise(widths)
        )
        self.resampler = Resampler()
        self.attention = make_attention(attention, dict(zip(sides[1:], widths[1:], strict=True)))
        self.minibatch_std = MinibatchStd(minibatch_std_group) if minibatch_std_group else nn.Identity()
        self.conv = conv(last + bool(minibatch_std_group), last, 3)
        self.hidden = linear(last * side * side, last)
        projection = condition == "projection"
        self.out = linear(last, last if projection else 1)
        self.mapping = Mapping(0, last, num_classes=num_classes) if projection else None
        self.make_heads(last, "none" if projection else condition, embed_dim, self_supervision)

    def features(self, x: Tensor) -> Tensor:  # b c h w -> b f
        x = activate(self.from_rgb(x))
        for block in self.blocks:
            x = self.attention(block(x, self.resampler))
        x = activate(self.conv(self.minibatch_std(x)))
        return activate(self.hidden(x.flatten(1)))

    def unconditional_logits(self, features: Tensor) -> Tensor:
        return to_logits(self.out(features))

    def logits(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        if self.mapping is None:
            return super().logits(features, y)
        of_image = at_least_float32(self.out(features))
        of_class = self.mapping(features.new_zeros(len(features), 0), y)
        return (of_image * of_class).sum(1) / math.sqrt(of_image.shape[1])
