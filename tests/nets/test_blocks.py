"""The resampling convolutions and residual blocks against their naive forms, to the second derivative."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gan_lab.nets import Generator, couples_samples
from gan_lab.nets.blocks import (
    LinearOfMaps,
    PooledConv2d,
    UpsampledConv2d,
    init_normal,
    scaled,
    size_plan,
    to_images,
    to_logits,
    to_maps,
)
from gan_lab.nets.resnet import DownBlock, UpBlock
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


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_numerically(name):
    block = double(CASES[name][0]).eval()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(block, x)


@pytest.mark.parametrize(("name", "scale"), [("pooled", 0.5), ("upsampled", 2)])
def test_output_size(name, scale):
    block = CASES[name][0]()
    assert block(torch.zeros(1, 3, 6, 10)).shape == (1, 4, int(6 * scale), int(10 * scale))


def test_size_plan():
    expected = {8: (4, 1), 12: (6, 1), 16: (4, 2), 24: (6, 2), 32: (4, 3), 48: (6, 3), 64: (8, 3), 96: (6, 4)}
    expected |= {128: (8, 4), 192: (6, 5), 256: (8, 5)}
    for resolution, plan in expected.items():
        assert size_plan(resolution) == plan
    assert size_plan(64, bases=(4, 6)) == (4, 4)
    for wrong, near in ((28, "24 or 32"), (33, "32 or 48"), (4, "use 8"), (100, "96 or 128")):
        with pytest.raises(ValueError, match=f"resolution {wrong} .*{near}"):
            size_plan(wrong)


def test_scaled():
    pairs = list(itertools.product((64, 512), (1.0, 0.5, 0.25)))
    assert [scaled(c, w) for c, w in pairs] == [64, 32, 16, 512, 256, 128]
    assert [scaled(64, w) for w in (0.3, 0.07, 0.05, 0.001)] == [20, 4, 3, 1]
    with pytest.raises(ValueError, match="width"):
        scaled(64, 0.0)


def test_couples_samples():
    assert couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    assert not couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)))
    layer = nn.Identity()
    layer.couples_samples = True
    assert couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), layer))


def test_sample_z_is_standard_normal():
    G = Generator(8, 1, z_dim=50)
    torch.manual_seed(0)
    z = G.sample_z(2000, "cpu")
    assert z.shape == (2000, 50)
    assert z.mean().item() == pytest.approx(0.0, abs=0.01)
    assert z.std().item() == pytest.approx(1.0, abs=0.01)
    with pytest.raises(ValueError, match="z_dim"):
        Generator(8, 1, z_dim=0)


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


def test_power_iteration_reaches_blocks():
    block = double(CASES["down"][0], SpectralNorm())
    with torch.no_grad():
        block.conv_2.parametrizations.weight.original.normal_()
    for _ in range(100):
        advance_power_iteration(block)
    norm = torch.linalg.matrix_norm(block.conv_2.weight.detach().flatten(1), ord=2)
    assert norm.item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_linear_of_maps_is_flatten_and_linear(layout):
    torch.manual_seed(0)
    ours, torchs = LinearOfMaps(2 * 3 * 4, 5).double(), nn.Linear(2 * 3 * 4, 5).double()
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(6, 2, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    expected, probe = torchs(x.flatten(1)), torch.randn(6, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), expected, rtol=1e-12, atol=1e-12)
    mine = torch.autograd.grad(ours(x), [x, *ours.parameters()], probe)
    theirs = torch.autograd.grad(expected, [x, *torchs.parameters()], probe)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert mine[0].is_contiguous(memory_format=torch.channels_last)


def test_maps_of_a_linear_are_in_the_order_of_convolutions():
    x = torch.randn(2, 3 * 4 * 4, requires_grad=True)
    maps = to_maps(x, 4)
    assert torch.equal(maps, x.view(2, 3, 4, 4))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.autograd.grad(maps, x, probe := torch.randn(2, 3, 4, 4))[0], probe.flatten(1))
