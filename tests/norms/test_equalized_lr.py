"""The equalized learning rate by its promise: the same function, weights of unit size in the optimizer."""

import math

import pytest
import torch
from torch import nn

from gan_lab.norms import EqualizedLR, apply_weight_norm, bake


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_equalized_lr_keeps_the_function_and_stores_unit_weights(rate):
    torch.manual_seed(0)
    layer = nn.Linear(400, 300)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(400))
    nn.init.constant_(layer.bias, 0.5)
    layer.lr_multiplier = rate
    x = torch.randn(3, 400)
    before = layer(x)
    apply_weight_norm(layer, EqualizedLR())
    torch.testing.assert_close(layer(x), before)
    raw = layer.parametrizations.weight.original
    assert raw.std().item() == pytest.approx(1 / rate, rel=0.02)
    layer(x).sum().backward()
    expected = x.sum(0) * rate / math.sqrt(400)
    torch.testing.assert_close(raw.grad[7], expected)
    if rate == 1.0:
        assert "bias" not in layer.parametrizations
        torch.testing.assert_close(layer.bias.grad, torch.full((300,), 3.0))
    else:
        stored = layer.parametrizations.bias.original
        torch.testing.assert_close(stored, torch.full((300,), 0.5 / rate))
        torch.testing.assert_close(stored.grad, torch.full((300,), 3.0 * rate))
    bake(layer)
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(6, 4, 3), 54),
        (nn.Conv2d(6, 4, 3, groups=2), 27),
        (nn.ConvTranspose2d(6, 4, 3), 54),
        (nn.ConvTranspose2d(6, 4, 3, groups=2), 27),
        (nn.Linear(5, 2), 5),
    ],
)
def test_equalized_lr_fan_in(layer, fan_in):
    before = layer.weight.detach().clone()
    apply_weight_norm(layer, EqualizedLR())
    torch.testing.assert_close(layer.parametrizations.weight.original, before * math.sqrt(fan_in))
    torch.testing.assert_close(layer.weight.detach(), before)
