"""Weight normalization against torch's, the strict form against its formula."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from gan_lab.norms import EqualizedLR, StrictWeightNorm, WeightNorm, apply_weight_norm

LAYERS = {
    "conv": (lambda: nn.Conv2d(3, 5, 3), 0),
    "conv_transpose": (lambda: nn.ConvTranspose2d(3, 5, 4, stride=2), 1),
    "linear": (lambda: nn.Linear(7, 4), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_weight_norm_is_torchs(name):
    make, dim = LAYERS[name]
    torch.manual_seed(0)
    ours = make().double()
    theirs = parametrizations.weight_norm(copy.deepcopy(ours), dim=dim)
    before = ours.weight.detach().clone()
    apply_weight_norm(ours, WeightNorm())
    torch.testing.assert_close(ours.weight.detach(), before, rtol=1e-14, atol=0)
    gain, direction = ours.parametrizations.weight.original0, ours.parametrizations.weight.original1
    assert gain.numel() == before.shape[dim]
    with torch.no_grad():
        new_gain, new_direction = torch.randn_like(gain), torch.randn_like(direction)
        for layer in (ours, theirs):
            layer.parametrizations.weight.original0.copy_(new_gain)
            layer.parametrizations.weight.original1.copy_(new_direction)
    grad = torch.randn_like(before)
    for layer in (ours, theirs):
        layer.weight.backward(grad)
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-12, atol=1e-12)
    for original in ("original0", "original1"):
        a, b = (getattr(x.parametrizations.weight, original).grad for x in (ours, theirs))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", [WeightNorm(), StrictWeightNorm(), EqualizedLR()])
@pytest.mark.parametrize("name", LAYERS)
def test_second_derivatives(norm, name):
    layer = apply_weight_norm(LAYERS[name][0]().double(), norm)
    steps = layer.parametrizations.weight
    inputs = [p.detach().clone().requires_grad_() for p in steps.parameters() if p.dim() > 0]
    assert torch.autograd.gradgradcheck(steps[0], inputs)


@pytest.mark.parametrize("eps", [1e-6, 0.25])
def test_strict_weight_norm_formula(eps):
    conv, linear = nn.Conv2d(3, 5, 3, stride=2).double(), nn.Linear(6, 4).double()
    w, m = conv.weight.detach().clone(), linear.weight.detach().clone()
    apply_weight_norm(nn.Sequential(conv, linear), StrictWeightNorm(eps=eps))
    for i in range(5):
        torch.testing.assert_close(conv.weight[i], w[i] / math.sqrt((w[i] ** 2).sum() + eps))
    for i in range(4):
        torch.testing.assert_close(linear.weight[i], m[i] / math.sqrt((m[i] ** 2).sum() + eps))


@pytest.mark.parametrize(("stride", "overlap"), [(2, 4), ((2, 1), 2), (1, 1)])
def test_strict_weight_norm_counts_the_stride_of_a_transposed_convolution(stride, overlap):
    layer = nn.ConvTranspose2d(3, 5, 4, stride=stride).double()
    w = layer.weight.detach().clone()
    apply_weight_norm(layer, StrictWeightNorm())
    for o in range(5):
        expected = w[:, o] / math.sqrt((w[:, o] ** 2).sum() / overlap + 1e-6)
        torch.testing.assert_close(layer.weight[:, o], expected)


def test_strict_transposed_convolution_keeps_the_variance_of_white_input():
    """What the stride factor is for: unit variance in, unit variance out, away from the border."""
    torch.manual_seed(0)
    for stride, expected in ((2, 1.0), (1, 1.0)):
        layer = apply_weight_norm(nn.ConvTranspose2d(8, 64, 4, stride=stride, bias=False), StrictWeightNorm())
        y = layer(torch.randn(16, 8, 20, 20))[:, :, 6:-6, 6:-6]
        assert y.var().item() == pytest.approx(expected, abs=0.05)


def test_strict_weight_norm_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="grouped"):
        apply_weight_norm(nn.ConvTranspose2d(4, 4, 2, groups=2), StrictWeightNorm())
    with pytest.raises(ValueError, match="eps"):
        StrictWeightNorm(eps=-1.0)


def test_wn_of_a_filter_of_zeros_is_that_filter_and_can_be_trained():
    layer = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(layer.weight)
    apply_weight_norm(layer, WeightNorm())
    assert layer.weight.abs().max() == 0
    layer(torch.ones(1, 3, 5, 5)).sum().backward()
    gain = layer.parametrizations.weight.original0.grad
    assert torch.isfinite(gain).all() and gain.abs().min() > 0
