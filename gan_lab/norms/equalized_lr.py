"""The equalized learning rate (arXiv:1710.10196, section 4.1)."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.norms.base import check_own_weights, fan_in, weight_layers


class _Times(nn.Module):
    """The parametrization stored -> stored * factor; a layer's value is stored as value / factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, stored: Tensor) -> Tensor:
        return stored * self.factor

    def right_inverse(self, value: Tensor) -> Tensor:
        return value / self.factor


@dataclass(frozen=True)
class EqualizedLR:
    """Store W / (lr_multiplier / sqrt(fan_in)) and multiply it back at run time (arXiv:1710.10196, section 4.1).

    The function stays as it is. Only the optimizer sees weights of another size, so a net states its effective initial
    weights. A layer may have an attribute `lr_multiplier` (StyleGAN2's mapping: 0.01), 1 where it has none; its bias is
    then stored as b / lr_multiplier. ValueError for a weight that two modules share or that has a norm already.
    """

    def apply(self, module: nn.Module) -> nn.Module:
        check_own_weights(module)
        for _, layer in list(weight_layers(module)):
            rate = float(getattr(layer, "lr_multiplier", 1.0))
            parametrize.register_parametrization(layer, "weight", _Times(rate / math.sqrt(fan_in(layer))))
            if rate != 1.0 and layer.bias is not None:
                parametrize.register_parametrization(layer, "bias", _Times(rate))
        return module
