"""Layers and functions that several families use: reshaping, output conversions, initialization."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.nets.base import at_least_float32


def to_feature_maps(x: Tensor, side: int) -> Tensor:
    """b c*side*side -> b c side side, in memory as the convolutions take it: all layers up to them would else work on
    both orders at once, which is many times slower.
    """
    return x.unflatten(1, (-1, side, side)).contiguous(memory_format=torch.channels_last)


class FlattenLinear(nn.Linear):
    """A Linear on all features of an image at once, b c h w -> b o: `nn.Linear` after `flatten(1)`, with its weights.

    It takes the features as they lie (channels_last), so that neither they nor their gradient change order.
    """

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.unflatten(1, x.shape[1:]).permute(0, 2, 3, 1).flatten(1)
        return F.linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.bias)


def to_logits(x: Tensor) -> Tensor:
    """b 1 -> b, in fp32 at least: losses are not for bf16."""
    return at_least_float32(x.squeeze(1))


def to_images(x: Tensor) -> Tensor:
    """tanh, in fp32 at least."""
    return torch.tanh(at_least_float32(x))


def init_normal(module: nn.Module, std: float | None) -> None:
    """Weights of convolutions and Linears from N(0, std^2), their biases 0; None keeps PyTorch's own start.

    A fixed std belongs to the width it was chosen for: in nets a quarter as wide, 0.02 shrinks the signal at
    every layer, where PyTorch's start goes by the fan-in.
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
