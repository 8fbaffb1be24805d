"""Reshaping, output conversions and initialization against their plain forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gan_lab.nets.layers import FlattenLinear, init_normal, init_orthogonal, to_feature_maps, to_images, to_logits


def test_images_and_logits_leave_in_fp32():
    x = torch.tensor([[0.5], [-2.0]], dtype=torch.bfloat16)
    assert to_images(x).flatten().tolist() == pytest.approx([math.tanh(0.5), math.tanh(-2.0)], rel=1e-6)
    assert to_logits(x).tolist() == [0.5, -2.0]
    assert to_images(x).dtype == to_logits(x).dtype == torch.float32
    assert to_logits(x.double()).dtype == torch.float64


def test_init_normal():
    net = nn.Sequential(nn.Conv2d(16, 64, 3), nn.ConvTranspose2d(64, 16, 4), nn.Linear(200, 100))
    init_normal(net, 0.02)
    for layer in net:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert layer.bias.abs().max() == 0
    torch.manual_seed(1)
    plain = nn.Linear(200, 100)
    before = plain.weight.detach().clone()
    init_normal(plain, None)
    assert torch.equal(plain.weight, before)
    with pytest.raises(ValueError, match="init_std"):
        init_normal(net, 0.0)


def test_init_orthogonal():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(2, 40, 3), nn.Linear(7, 4)).double()
    init_orthogonal(net)
    for layer in net:
        matrix = layer.weight.detach().flatten(1).numpy()
        singular = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(singular, np.ones(min(matrix.shape)), atol=1e-12)
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_flatten_linear_is_flatten_and_linear(memory_format):
    torch.manual_seed(0)
    ours, torchs = FlattenLinear(2 * 3 * 4, 5).double(), nn.Linear(2 * 3 * 4, 5).double()
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 2, 3, 4, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    expected, probe = torchs(x.flatten(1)), torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)
    mine = torch.autograd.grad(ours(x), [x, *ours.parameters()], probe)
    theirs = torch.autograd.grad(expected, [x, *torchs.parameters()], probe)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert mine[0].is_contiguous(memory_format=torch.channels_last)


def test_feature_maps_are_channels_last():
    x = torch.randn(2, 3 * 4 * 4, requires_grad=True)
    maps = to_feature_maps(x, 4)
    assert torch.equal(maps, x.view(2, 3, 4, 4))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.autograd.grad(maps, x, probe := torch.randn(2, 3, 4, 4))[0], probe.flatten(1))
