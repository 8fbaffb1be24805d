"""Weight normalization: each filter divided by its length, with a trained gain (`WeightNorm`) or without one."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.norms.base import check_own_weights, out_dim, weight_layers


def _filter_lengths(weight: Tensor, dim: int) -> Tensor:
    """Euclidean length of each output channel's filter, broadcastable against the weight."""
    rest = [d for d in range(weight.dim()) if d != dim]
    return torch.linalg.vector_norm(weight, dim=rest, keepdim=True)


class _GainAndDirection(nn.Module):
    """(g, v) -> g v / |v| per output channel, with v the initial weight and g its initial lengths."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, gain: Tensor, direction: Tensor) -> Tensor:
        return direction * (gain / _filter_lengths(direction, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        lengths = _filter_lengths(weight, self.dim)
        # A filter of zeros has no direction; with a random one and gain 0 it is the same filter, and can be trained.
        return lengths, torch.where(lengths > 0, weight, torch.randn_like(weight))


@dataclass(frozen=True)
class WeightNorm:
    """w = g v / |v| per output channel, g and v trained (arXiv:1602.07868, equation 2).

    Applying it leaves the function as it is (no data-dependent initialization). Equal to
    `torch.nn.utils.parametrizations.weight_norm`, with dim=1 for transposed convolutions. ValueError for a weight that
    two modules share or that has a norm already.
    """

    def apply(self, module: nn.Module) -> nn.Module:
        check_own_weights(module)
        for _, layer in list(weight_layers(module)):
            parametrize.register_parametrization(layer, "weight", _GainAndDirection(out_dim(layer)))
        return module


class _UnitFilters(nn.Module):
    """w -> w / sqrt(sum w^2 / overlap + eps) per output channel."""

    def __init__(self, dim: int, overlap: int, eps: float) -> None:
        super().__init__()
        self.dim, self.overlap, self.eps = dim, overlap, eps

    def forward(self, weight: Tensor) -> Tensor:
        rest = [d for d in range(weight.dim()) if d != self.dim]
        power = weight.square().sum(rest, keepdim=True) / self.overlap
        return weight * torch.rsqrt(power + self.eps)


@dataclass(frozen=True)
class StrictWeightNorm:
    """w / |w| per output channel, without a gain (arXiv:1704.03971).

    |w| = sqrt(sum w^2 + eps). In a transposed convolution of stride (s_h, s_w) an output pixel sees only one in s_h s_w
    of the kernel's taps, so there |w| = sqrt(sum w^2 / (s_h s_w) + eps). The biases and the affine last layer of the
    paper belong to the net (`generator=wn_gan`). ValueError for a grouped transposed convolution or an eps below 0.
    """

    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise ValueError(f"eps must be at least 0, got {self.eps}")

    def apply(self, module: nn.Module) -> nn.Module:
        for name, layer in list(weight_layers(module)):
            dim = out_dim(layer)
            if dim == 1 and layer.groups != 1:
                raise ValueError(
                    f"wn_strict does not support grouped transposed convolutions ({name or 'the layer itself'})"
                )
            overlap = math.prod(layer.stride) if dim == 1 else 1  # type: ignore[arg-type]
            parametrize.register_parametrization(layer, "weight", _UnitFilters(dim, overlap, self.eps))
        return module
