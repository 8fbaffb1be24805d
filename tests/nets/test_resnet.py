"""The residual blocks and their resampling convolutions against naive forms, to the second derivative."""

import pytest
import torch
import torch.nn.functional as F

from gan_lab.nets.resampling import PooledConv2d, UpsampledConv2d
from gan_lab.nets.resnet import DownBlock, ResNetDiscriminator, UpBlock
from gan_lab.norms import SpectralNorm, advance_power_iteration, apply_weight_norm


def naive_pooled(layer, x):
    return F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)


def naive_upsampled(layer, x):
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)


def naive_up_block(block, x):
    def up(y):
        return F.interpolate(y, scale_factor=2.0, mode="nearest")

    c = block.conv_1
    h = F.conv2d(up(F.relu(block.norm_1(x))), c.weight, c.bias, padding=1)
    h = block.conv_2(F.relu(block.norm_2(h)))
    return h + block.shortcut(up(x))


def naive_down_block(block, x):
    h = x if block.first else F.relu(block.norm_1(x))
    h = F.relu(block.norm_2(block.conv_1(h)))
    h = F.conv2d(h, block.conv_2.weight, block.conv_2.bias, padding=1)
    h = F.avg_pool2d(h, 2) if block.down else h
    if block.shortcut is None:
        return h + x
    skip = block.shortcut(x)
    return h + (F.avg_pool2d(skip, 2) if block.down else skip)


def test_mean_pooling_divides_the_sum_by_the_pixels():
    """At 32 px the last maps are 8x8: 64 times smaller logits, but for the bias, and 64 times smaller gradients."""
    torch.manual_seed(0)
    summed = ResNetDiscriminator(32, 3, width=0.04).double()
    mean = ResNetDiscriminator(32, 3, width=0.04, pooling="mean").double()
    mean.load_state_dict(summed.state_dict())
    for net in (summed, mean):
        torch.nn.init.constant_(net.linear.bias, 0.7)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    (a, b), (da, db) = zip(*((y, torch.autograd.grad(y.sum(), x)[0]) for y in (summed(x), mean(x))), strict=True)
    torch.testing.assert_close(a - 0.7, 64 * (b - 0.7))
    torch.testing.assert_close(da, 64 * db)
    assert db.abs().max() > 0
    with pytest.raises(ValueError, match="pooling must be sum or mean"):
        ResNetDiscriminator(32, 3, pooling="max")


CASES = {
    "pooled": (lambda: PooledConv2d(3, 4), naive_pooled),
    "upsampled": (lambda: UpsampledConv2d(3, 4), naive_upsampled),
    "up": (lambda: UpBlock(3, 4), naive_up_block),
    "down": (lambda: DownBlock(3, 4, down=True), naive_down_block),
    "first": (lambda: DownBlock(3, 4, down=True, first=True), naive_down_block),
    "plain": (lambda: DownBlock(3, 3, down=False), naive_down_block),
    "widening": (lambda: DownBlock(3, 4, down=False), naive_down_block),
}


def double(make, norm=None):
    torch.manual_seed(0)
    block = make().double()
    with torch.no_grad():
        for name, p in block.named_parameters():
            if name.endswith("bias"):
                p.normal_()
    return apply_weight_norm(block, norm) if norm else block


@pytest.mark.parametrize("norm", [None, SpectralNorm(bidirectional=True)])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_naive_form(name, norm):
    make, naive = CASES[name]
    block = double(make, norm)
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    wanted = [x, *block.parameters()]
    found = []
    for forward in (block, lambda x: naive(block, x)):
        y = forward(x)
        grads = torch.autograd.grad(y.pow(3).sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in grads), wanted)
        # One vector per order: in the gradient of a bias that BatchNorm removes there is only rounding.
        found.append([torch.cat([t.flatten() for t in order]) for order in ([y], grads, second)])
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= 1e-12 * b.norm()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_numerically(name):
    block = double(CASES[name][0]).eval()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, x)


@pytest.mark.parametrize(("name", "scale"), [("pooled", 0.5), ("upsampled", 2)])
def test_output_size(name, scale):
    block = CASES[name][0]()
    assert block(torch.zeros(1, 3, 6, 10)).shape == (1, 4, int(6 * scale), int(10 * scale))


def test_power_iteration_reaches_blocks():
    block = double(CASES["down"][0], SpectralNorm())
    with torch.no_grad():
        block.conv_2.parametrizations.weight.original.normal_()
    for _ in range(100):
        advance_power_iteration(block)
    norm = torch.linalg.matrix_norm(block.conv_2.weight.detach().flatten(1), ord=2)
    assert norm.item() == pytest.approx(1.0, rel=1e-6)
