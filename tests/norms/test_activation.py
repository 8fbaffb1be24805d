"""The activation norms against their statistics, computed directly."""

import pytest
import torch

from gan_lab.norms import make_norm
from gan_lab.norms.activation import KINDS

DIMS = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}


def example(channels=6):
    torch.manual_seed(0)
    return torch.randn(4, channels, 5, 5, dtype=torch.float64) * 3.0 + torch.randn(1, channels, 1, 1).double()


@pytest.mark.parametrize("kind", DIMS)
def test_mean_and_variance(kind):
    x, dims = example(), DIMS[kind]
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, unbiased=False)
    norm = make_norm(kind, 6).double()
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-5).sqrt())
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 7.0)), norm.bias.copy_(torch.arange(6.0))
    expected = (x - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (6, 6), (34, 17), (37, 1)])
def test_group_norm_takes_the_largest_number_of_groups_that_divides(channels, groups):
    assert make_norm("group", channels).num_groups == groups


def test_pixel_norm():
    x = example()
    expected = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(make_norm("pixel", 6)(x), expected)
    assert make_norm("pixel", 6)(x).square().mean(1).sub(1).abs().max() < 1e-6


def test_none_is_the_identity_and_others_are_refused():
    x = example()
    assert make_norm("none", 6)(x) is x
    with pytest.raises(ValueError, match=r"batch, layer.*'bacth'"):
        make_norm("bacth", 6)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind):
    norm = make_norm(kind, 4).double()
    x = example(4)[:2, :, :2, :2].contiguous().requires_grad_()
    assert torch.autograd.gradgradcheck(norm, x)
