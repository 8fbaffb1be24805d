"""The activation norms against their statistics, computed directly."""

import numpy as np
import pytest
import torch

from gan_lab.distributed import collectives
from gan_lab.norms import make_norm
from gan_lab.norms.activation import KINDS, BatchNorm2d, ConditionalBatchNorm2d

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


def conditional(channels=6, num_classes=3):
    norm = ConditionalBatchNorm2d(channels, num_classes).double()
    assert norm.gains.eq(1).all() and not norm.biases.any()
    with torch.no_grad():
        norm.gains.normal_(), norm.biases.normal_()
    return norm


def test_conditional_batch_norm_is_its_formula():
    """Statistics of the whole batch; the gain and bias of each sample's class."""
    x, y, norm = example(), torch.tensor([1, 0, 1, 2]), conditional()
    pixels, gains, biases = x.numpy(), norm.gains.detach().numpy(), norm.biases.detach().numpy()
    mean, std = pixels.mean((0, 2, 3), keepdims=True), np.sqrt(pixels.var((0, 2, 3), keepdims=True) + 1e-5)
    scaled = (pixels - mean) / std * gains[y][:, :, None, None] + biases[y][:, :, None, None]
    np.testing.assert_allclose(norm(x, y).detach().numpy(), scaled, rtol=1e-10, atol=1e-12)
    norm.eval()
    running = (pixels - norm.running_mean.numpy()[:, None, None]) / np.sqrt(
        norm.running_var.numpy()[:, None, None] + 1e-5
    )
    expected = running * gains[y][:, :, None, None] + biases[y][:, :, None, None]
    np.testing.assert_allclose(norm(x, y).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", [BatchNorm2d(6).double(), conditional()], ids=["plain", "conditional"])
def test_the_synchronized_form_of_one_rank_is_the_plain_one(norm, monkeypatch):
    x, classes = example(), (torch.tensor([1, 0, 1, 2]),) if isinstance(norm, ConditionalBatchNorm2d) else ()
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    expected = norm(x, *classes)
    after = {k: v.clone() for k, v in norm.state_dict().items()}
    norm.load_state_dict(before)
    monkeypatch.setattr(collectives, "active", lambda: True)
    monkeypatch.setattr(collectives, "size", lambda: 1)
    monkeypatch.setattr(collectives, "differentiable_mean", lambda value: value)
    torch.testing.assert_close(norm(x, *classes), expected, rtol=1e-12, atol=1e-12)
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, after[name], msg=name)


def test_only_batch_norm_is_conditional():
    assert isinstance(make_norm("batch", 6, num_classes=3), ConditionalBatchNorm2d)
    for kind in set(KINDS) - {"batch"}:
        with pytest.raises(ValueError, match=f"activation_norm=batch, got '{kind}'"):
            make_norm(kind, 6, num_classes=3)
