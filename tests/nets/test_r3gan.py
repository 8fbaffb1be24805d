"""R3GAN: parameter counts, the start as a linear net, the block against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.nets import R3GANDiscriminator, R3GANGenerator, couples_samples
from gan_lab.nets.r3gan import ResidualBlock, default_widths


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_parameter_counts_at_cifar_widths():
    with torch.device("meta"):
        assert count(R3GANGenerator(32, 3)) == count(R3GANGenerator(32, 3, num_classes=10)) == 20_732_160
        assert count(R3GANDiscriminator(32, 3)) == 20_683_776
        # the published, class-conditional nets: about 20.8M and 21.3M
        assert count(R3GANGenerator(32, 3, conditional=True, num_classes=10)) == 20_781_952
        assert count(R3GANDiscriminator(32, 3, condition="projection", num_classes=10)) == 21_280_512


def test_default_widths():
    assert default_widths(32, 1.0) == [768] * 4
    assert default_widths(64, 1.0) == [768] * 4 + [384]  # FFHQ-64
    assert default_widths(256, 1.0) == [768] * 4 + [384, 192, 96]  # FFHQ-256
    assert default_widths(48, 0.5) == [384, 384, 384, 256]
    assert min(default_widths(256, 0.01)) == 8


@pytest.mark.parametrize("resolution", [8, 32, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(resolution, channels):
    g = R3GANGenerator(resolution, channels, width=1 / 96)
    d = R3GANDiscriminator(resolution, channels, width=1 / 96)
    z = g.sample_z(3, "cpu")
    assert z.shape == (3, 64)
    images = g(z)
    assert images.shape == (3, channels, resolution, resolution)
    assert d(images).shape == (3,)
    assert not couples_samples(g) and not couples_samples(d)


def test_widths_override_and_change_between_stages():
    g = R3GANGenerator(16, 3, widths=[24, 16, 8])
    d = R3GANDiscriminator(16, 3, widths=[24, 16, 8])
    assert [t.weight.shape[:2] for t in g.transitions] == [(16, 24), (8, 16)]
    assert [t.weight.shape[:2] for t in d.transitions] == [(16, 8), (24, 16)]
    assert d(g(g.sample_z(2, "cpu"))).shape == (2,)


@pytest.mark.parametrize(
    "settings, word",
    [
        (dict(widths=[16, 16]), "widths"),
        (dict(widths=[12, 12, 12]), "groups"),
        (dict(blocks_per_stage=0), "blocks_per_stage"),
    ],
)
def test_settings_out_of_range(settings, word):
    for net in (R3GANGenerator, R3GANDiscriminator):
        with pytest.raises(ValueError, match=word):
            net(16, 3, **settings)


@pytest.mark.parametrize("classes", [{}, {"num_classes": -1}])
def test_a_conditional_net_needs_classes(classes):
    for net, conditional in (
        (R3GANGenerator, {"conditional": True}),
        (R3GANDiscriminator, {"condition": "projection"}),
    ):
        with pytest.raises(ValueError, match="num_classes"):
            net(16, 3, **conditional, **classes)


def test_blocks_start_as_the_identity_so_the_nets_start_linear():
    block = ResidualBlock(16, depth=8)
    x = torch.randn(2, 16, 4, 4)
    assert torch.equal(block(x), x)
    g, d = R3GANGenerator(16, 3, width=1 / 48), R3GANDiscriminator(16, 3, width=1 / 48)
    a, b = g.sample_z(2, "cpu"), g.sample_z(2, "cpu")
    torch.testing.assert_close(g(a - 3 * b), g(a) - 3 * g(b))
    x, y = g(a), g(b)
    torch.testing.assert_close(d(x - 3 * y), d(x) - 3 * d(y))


def test_initial_scales():
    block = ResidualBlock(128, depth=8)
    gain = math.sqrt(2 / 1.04) * 8**-0.25
    assert block.mix.groups == 16 and block.mix.weight.shape == (256, 16, 3, 3)
    assert block.expand.weight.std().item() == pytest.approx(gain / math.sqrt(128), rel=0.03)
    assert block.mix.weight.std().item() == pytest.approx(gain / math.sqrt(16 * 9), rel=0.03)
    assert not block.reduce.weight.any()
    d = R3GANDiscriminator(32, 3, width=1 / 6)
    assert d.basis.groups == 128
    assert d.basis.weight.std().item() == pytest.approx(1 / 4, rel=0.06)
    assert R3GANGenerator(32, 3).coefficients.weight.std().item() == pytest.approx(1 / 8, rel=0.03)


def test_the_embedding_of_the_discriminator_starts_small():
    """The reference's gain 1/sqrt(dim) makes a logit, a sum of dim products, as large as without classes."""
    logits = []
    for condition in ("projection", "none"):
        d = R3GANDiscriminator(8, 3, widths=[2048, 16], condition=condition, num_classes=10)
        features = torch.randn(500, 2048)
        logits.append(d.logits(features, torch.randint(10, (500,)) if condition != "none" else None).std())
        if condition != "none":
            assert d.embedding.weight.std().item() == pytest.approx((2048 * 10) ** -0.5, rel=0.02)
    assert (logits[0] / logits[1]).item() == pytest.approx(10**-0.5, rel=0.15)  # 1/sqrt(classes): one row is used


def test_depth_of_the_initial_scale_is_the_number_of_blocks():
    g = R3GANGenerator(16, 3, width=1 / 6, blocks_per_stage=2)
    gain = math.sqrt(2 / 1.04) * 6**-0.25
    assert g.stages[0][0].expand.weight.std().item() == pytest.approx(gain / math.sqrt(128), rel=0.03)


def test_block_against_scipy():
    block = ResidualBlock(8, depth=1, expansion=2, group_width=8).double()
    for p in block.parameters():
        nn.init.normal_(p)
    x = np.random.default_rng(0).standard_normal((8, 5, 5))

    def act(v, bias):
        v = v + bias.detach().numpy()[:, None, None]
        return np.where(v > 0, v, 0.2 * v)

    def one_by_one(v, conv):
        return np.einsum("ihw,oi->ohw", v, conv.weight.detach().numpy()[:, :, 0, 0])

    y = act(one_by_one(x, block.expand), block.bias1)
    kernels = block.mix.weight.detach().numpy()
    mixed = [sum(correlate2d(y[8 * (o // 8) + i], kernels[o, i], mode="same") for i in range(8)) for o in range(16)]
    expected = x + one_by_one(act(np.stack(mixed), block.bias2), block.reduce)
    got = block(torch.from_numpy(x)[None])[0].detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)


def test_labels():
    g = R3GANGenerator(8, 3, width=1 / 96, conditional=True, num_classes=4)
    d = R3GANDiscriminator(8, 3, width=1 / 96, condition="projection", num_classes=4)
    z, y = g.sample_z(4, "cpu"), torch.tensor([0, 1, 2, 3])
    assert not torch.allclose(g(z, y), g(z, y.flip(0)))
    x = g(z, y)
    logits = torch.stack([d(x, torch.full((4,), n)) for n in range(4)], 1)
    features = d.out(d.basis(d.stages[1](d.transitions[0](d.resampler.downsample(d.from_rgb(x))))).flatten(1))
    torch.testing.assert_close(logits, features @ d.embedding.weight)
    torch.testing.assert_close(d.logits(d.features(x), y), logits.diagonal())
    assert g.num_classes == d.num_classes == 4 and R3GANGenerator(8, 3, width=1 / 96, num_classes=4).num_classes == 0
    for net, value in ((g, z), (d, x)):
        with pytest.raises(ValueError, match="needs classes"):
            net(value)


def test_differentiable_twice():
    block = ResidualBlock(2, depth=1, group_width=4).double()
    for p in block.parameters():
        nn.init.normal_(p)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    params = [block.bias1, block.bias2, block.reduce.weight]
    assert gradcheck(lambda x, *_: block(x), (x, *params))
    assert gradgradcheck(lambda x, *_: block(x), (x, *params))
    d = R3GANDiscriminator(8, 1, widths=[2, 2], group_width=4, blocks_per_stage=1).double()
    g = R3GANGenerator(8, 1, widths=[2, 2], group_width=4, blocks_per_stage=1, z_dim=2).double()
    for net in (d, g):
        for p in net.parameters():
            nn.init.normal_(p)
    images = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(d, (images,))
    z = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda z: g(z)[:, :, ::3, ::3], (z,))


def test_bf16_gives_fp32_images_and_logits():
    g, d = R3GANGenerator(16, 3, width=1 / 24), R3GANDiscriminator(16, 3, width=1 / 24)
    z = g.sample_z(4, "cpu")
    images = g(z)
    with torch.autocast("cpu", torch.bfloat16):
        low = g(z)
        assert low.dtype == d(low).dtype == torch.float32
    assert (low - images).std() < 0.03 * images.std()
