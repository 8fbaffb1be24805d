"""Layers and functions that several families use: reshaping, output conversions, initialization."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.norms.base import at_least_float32


def to_feature_maps(x: Tensor, side: int) -> Tensor:
    """Reshape b c*side*side to b c side side, in channels_last memory format.

    The convolutions after it use that format; layers in between that meet both formats are many times slower.
    """
    return x.unflatten(1, (-1, side, side)).contiguous(memory_format=torch.channels_last)


class FlattenLinear(nn.Linear):
    """`nn.Linear` after `flatten(1)`, with the same weights: b c h w -> b o.

    It permutes the weight instead of the features, so that these and their gradient stay channels_last.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(1, x.shape[1:]).permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.bias)


def to_logits(x: Tensor) -> Tensor:
    """Squeeze b 1 to b, in fp32 at least, as losses need it."""
    return at_least_float32(x.squeeze(1))


def to_images(x: Tensor) -> Tensor:
    """Apply tanh, in fp32 at least."""
    return torch.tanh(at_least_float32(x))


def init_orthogonal(module: nn.Module) -> None:
    """Draw orthonormal filters for Conv2d and Linear (arXiv:1312.6120), set their biases to 0.

    As a matrix with a row per filter, a weight has W W^T = I, or W^T W = I where there are more filters than inputs.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_normal(module: nn.Module, std: float | None) -> None:
    """Draw weights of convolutions and Linears from N(0, std^2), set their biases to 0; None keeps PyTorch's defaults.

    A fixed std fits the width it was chosen for. In nets a quarter as wide, 0.02 shrinks the signal at every layer;
    PyTorch's defaults depend on the fan-in. ValueError for an `std` that is not above 0.
    """
    if std is None:
        return
    if std <= 0:
        raise ValueError(f"init_std must be above 0, got {std}")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
