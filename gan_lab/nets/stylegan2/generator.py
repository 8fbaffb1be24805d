"""StyleGAN2's generator with skip connections (arXiv:1912.04958), in plain PyTorch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import integers, normal, uniform
from gan_lab.nets.attention import make_attention
from gan_lab.nets.base import StyledGenerator
from gan_lab.nets.labels import conditional_classes
from gan_lab.nets.resampling import Resampler
from gan_lab.nets.sizes import round_channels, stage_sides
from gan_lab.nets.stylegan2.layers import NOISE_MODES, Mapping, SynthesisLayer, ToRGB

W_AVERAGE_DECAY = 0.995  # of the running mean of w, per forward (reference code)


class SynthesisBlock(nn.Module):
    """The layers of one resolution: an upsampling one (not in the first block), a plain one, and ToRGB."""

    def __init__(self, inputs: int, outputs: int, side: int, channels: int, w_dim: int, first: bool) -> None:
        super().__init__()
        layers = [] if first else [SynthesisLayer(inputs, outputs, side, w_dim, up=True)]
        layers.append(SynthesisLayer(outputs, outputs, side, w_dim, up=False))
        self.layers = nn.ModuleList(layers)
        self.to_rgb = ToRGB(outputs, channels, w_dim)

    def forward(
        self, x: Tensor, rgb: Tensor | None, styles: Tensor, resampler: Resampler, noise: Sequence[str | Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Features and image so far -> the same at this resolution; styles: b (len(layers) + 1) w_dim.

        noise: of each layer, a mode or a map (b 1 side side).
        """
        for i, layer in enumerate(self.layers):
            x = layer(x, styles[:, i], resampler, noise[i])
        y = self.to_rgb(x, styles[:, len(self.layers)], resampler)
        if rgb is not None:
            with torch.autocast(y.device.type, enabled=False):  # the sum over resolutions is the image: keep it fp32
                y = y + resampler.upsample(rgb)
        return x, y


class StyleGAN2Generator(StyledGenerator):
    """Mapping network, modulated convolutions with noise, and an image summed over resolutions.

    arXiv:1912.04958, configuration E without progressive growing ("skip"). At side s there are
    min(channel_base/s, channel_max) * width channels, rounded down to a multiple of 8. The start is a learned constant
    of side 4 (6 for resolutions 6 * 2^k). One style per convolution and one for the last ToRGB: l = 2 * (number of
    sides).

    - `style_mixing`: in training, the probability that the layers after a random one take the styles of a second z;
      drawn once per batch, as in the reference code.
    - `noise`: "random" (torch's global generator), "constant" (buffers) or "none"; may be changed on the object. A call
      may give the maps instead: one (b 1 side side) for each of `noise_sides`.
    - `truncation` < 1 in a call moves styles towards the running mean of w, which only training mode updates.

    - `conditional`: the mapping network is given the class, too (see `Mapping`).

    Images have no output nonlinearity: values beyond [-1, 1] occur and are clamped where images are quantized.
    ValueError for a setting out of range.
    """

    supports_truncation = True
    draws_in_training = True
    takes_label_vectors = True
    w_average: Tensor

    def __init__(
        self,
        resolution: int,
        channels: int,
        *,
        width: float = 1.0,
        z_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        style_mixing: float = 0.9,
        noise: str = "random",
        attention: int | None = None,
        conditional: bool = False,
        num_classes: int = 0,
    ) -> None:
        super().__init__(resolution, channels, z_dim, conditional_classes(conditional, num_classes))
        if not 0.0 <= style_mixing <= 1.0:
            raise ValueError(f"style_mixing is a probability, from 0 to 1, got {style_mixing}")
        if noise not in NOISE_MODES:
            raise ValueError(f"noise must be one of {', '.join(NOISE_MODES)}, got {noise!r}")
        self.style_mixing, self.noise = style_mixing, noise
        sides = stage_sides(resolution)
        widths = [round_channels(min(channel_base / side, channel_max) * width) for side in sides]
        self.num_styles = 2 * len(sides)
        self.noise_sides = tuple(side for i, side in enumerate(sides) for _ in range(1 if i == 0 else 2))
        self.mapping = Mapping(z_dim, w_dim, mapping_layers, mapping_lr_multiplier, self.num_classes)
        self.start = nn.Parameter(torch.randn(widths[0], sides[0], sides[0]))
        self.blocks = nn.ModuleList(
            SynthesisBlock(widths[max(i - 1, 0)], widths[i], side, channels, w_dim, first=i == 0)
            for i, side in enumerate(sides)
        )
        self.resampler = Resampler()
        self.attention = make_attention(attention, dict(zip(sides, widths, strict=True)))
        self.register_buffer("w_average", torch.zeros(w_dim))

    def styles(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z: b z_dim -> b l w_dim; in training, mixed with the styles of a second z (`style_mixing`)."""
        w = self.mapping(z, y)
        if self.training:
            with torch.no_grad():
                self.w_average.lerp_(
                    collectives.mean(w.detach().mean(0).to(self.w_average.dtype)), 1.0 - W_AVERAGE_DECAY
                )
        styles = w[:, None].expand(-1, self.num_styles, -1)
        if self.training and self.style_mixing > 0:
            other = self.mapping(normal(z.shape, device=z.device, dtype=z.dtype), y)[:, None]
            layer = torch.arange(self.num_styles, device=z.device)
            cutoff = integers(1, self.num_styles, (), batch_dim=None, device=z.device)
            mixed = (uniform((), batch_dim=None, device=z.device) < self.style_mixing) & (layer >= cutoff)
            styles = torch.where(mixed[None, :, None], other, styles)
        return styles

    def latent_weights(self) -> list[Tensor]:
        """Return the weights (c_in w_dim) of the layers' style affines, those of ToRGB left out."""
        return [layer.conv.affine.weight for block in self.blocks for layer in block.layers]  # type: ignore[union-attr]

    @property
    def draws_noise(self) -> bool:
        return self.noise == "random"

    def synthesis(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """styles: b l w_dim (noise: maps b 1 side side) -> images b c h w, fp32 or wider."""
        maps = [self.noise] * len(self.noise_sides) if noise is None else noise
        x = self.start.expand(styles.shape[0], -1, -1, -1)  # not len(): a torch.export program keeps any batch
        rgb: Tensor | None = None
        for i, block in enumerate(self.blocks):
            # ToRGB shares its style with the first convolution of the next resolution
            x = self.attention(x)
            x, rgb = block(x, rgb, styles[:, (own := slice(max(2 * i - 1, 0), 2 * i + 2))], self.resampler, maps[own])
        assert rgb is not None
        return rgb

    def truncated(self, styles: Tensor, truncation: float | Tensor) -> Tensor:
        """Move styles towards the running mean of w: 1 changes nothing, 0 gives the mean."""
        if not isinstance(truncation, Tensor) and truncation == 1.0:
            return styles
        return self.w_average.to(styles.dtype).lerp(styles, truncation)

    def forward(
        self,
        z: Tensor,
        y: Tensor | None = None,
        truncation: float | Tensor = 1.0,
        noise: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """z: b z_dim (noise: maps b 1 side side) -> images b c h w; `truncation`: see `truncated`."""
        return self.synthesis(self.truncated(self.styles(z, y), truncation), noise)
