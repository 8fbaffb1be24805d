"""DCGAN, SN-GAN's plain nets and its residual nets: sizes, parameter counts, structure, derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lab.nets import (
    DCGANDiscriminator,
    DCGANGenerator,
    R3GANDiscriminator,
    R3GANGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    SNGANDiscriminator,
    SNGANGenerator,
    couples_samples,
)
from gan_lab.norms import SpectralNorm, apply_weight_norm

FAMILIES = {
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "sngan_cnn": (SNGANGenerator, SNGANDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
}
SIZES = [8, 12, 16, 24, 32, 48, 64, 96, 128]


def count(net):
    return sum(p.numel() for p in net.parameters())


def conv_shapes(net):
    """(c_in, c_out, kernel) of every convolution, in order of definition."""
    kinds = nn.Conv2d | nn.ConvTranspose2d
    return [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_size(family, resolution, channels):
    make_G, make_D = FAMILIES[family]
    G, D = make_G(resolution, channels, width=0.04), make_D(resolution, channels, width=0.04)
    images = G(G.sample_z(2, "cpu"))
    assert images.shape == (2, channels, resolution, resolution)
    assert images.abs().max() <= 1
    assert (G.resolution, G.channels) == (resolution, channels)
    logits = D(images)
    assert logits.shape == (2,)
    logits.sum().backward()
    for name, p in [*G.named_parameters(), *D.named_parameters()]:
        assert p.grad is not None, name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", [0, 1])
def test_a_size_outside_the_rule_names_the_nearest(family, side):
    with pytest.raises(ValueError, match="24 or 32"):
        FAMILIES[family][side](28, 3)


def test_resnet_parameter_counts_are_mimicrys():
    assert count(ResNetGenerator(32, 3)) == 4_276_739
    assert count(ResNetDiscriminator(32, 3)) == 1_053_825


def test_dcgan_may_double_by_nearest_neighbours_and_convolve():
    G = DCGANGenerator(32, 3, width=0.0625, init_std=0.3, upsampling="nearest").double().eval()
    z = torch.randn(2, 100, dtype=torch.float64)
    x = G.linear(z).reshape(2, -1, 4, 4)
    for norm, layer in zip(G.norms, G.deconvs, strict=True):
        x = F.conv2d(F.interpolate(norm(x).relu(), scale_factor=2), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(G(z), x.tanh())
    assert conv_shapes(G) == [(32, 16, 3), (16, 8, 3), (8, 3, 3)]
    plain = DCGANGenerator(32, 3, width=0.0625)
    assert conv_shapes(plain) == [(32, 16, 4), (16, 8, 4), (8, 3, 4)]
    with pytest.raises(ValueError, match="transposed or nearest, got 'bilinear'"):
        DCGANGenerator(32, 3, upsampling="bilinear")


def test_dcgan_may_have_a_mapping_network_and_a_hidden_layer():
    torch.manual_seed(0)
    G = DCGANGenerator(16, 3, width=0.05, mapping_layers=2, w_dim=120, conditional=True, num_classes=200).double()
    z, y = torch.randn(3, 100, dtype=torch.float64), torch.tensor([0, 7, 199])
    w = torch.cat([z, 2 * F.one_hot(y, 200)], 1)
    for layer in G.mapping:
        w = w @ layer.weight.T + layer.bias
        w = torch.where(w > 0, w, 0.2 * w)
    x = G.linear(w).view(3, -1, 4, 4)
    for norm, deconv in zip(G.norms, G.deconvs, strict=True):
        x = F.conv_transpose2d(norm(x, y).clamp(min=0), deconv.weight, deconv.bias, stride=2, padding=1)
    torch.testing.assert_close(G(z, y), x.tanh())
    assert [tuple(layer.weight.shape) for layer in G.mapping] == [(120, 300), (120, 120)]
    (read,) = G.latent_weights()
    torch.testing.assert_close(read, G.mapping[0].weight[:, :100])

    D = DCGANDiscriminator(16, 3, width=0.05, activation_norm="none", init_std=0.2, hidden_features=7).double()
    x = images = torch.rand(3, 3, 16, 16, dtype=torch.float64)
    for conv in D.convs:
        x = F.leaky_relu(F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1), 0.2)
    x = F.leaky_relu(x.flatten(1) @ D.hidden.weight.T + D.hidden.bias, 0.2)
    assert x.shape == (3, 7)
    torch.testing.assert_close(D(images), x @ D.linear.weight[0] + D.linear.bias)
    D = DCGANDiscriminator(16, 3, width=0.05, hidden_features=7, condition="projection", num_classes=4)
    assert D.class_head.projection.weight.shape == (4, 7)
    with pytest.raises(ValueError, match="mapping_layers must be at least 0 and w_dim at least 1, got -1 and 128"):
        DCGANGenerator(16, 3, mapping_layers=-1)
    with pytest.raises(ValueError, match="hidden_features must be at least 0, got -5"):
        DCGANDiscriminator(16, 3, hidden_features=-5)


def test_sngan_cnn_layers():
    assert conv_shapes(SNGANGenerator(32, 3)) == [(512, 256, 4), (256, 128, 4), (128, 64, 4), (64, 3, 3)]
    thin = [(3, 64, 3), (64, 64, 4), (64, 128, 3), (128, 128, 4), (128, 256, 3), (256, 256, 4), (256, 512, 3)]
    for resolution, base in ((32, 4), (48, 6), (64, 8)):
        D = SNGANDiscriminator(resolution, 3)
        assert conv_shapes(D) == thin
        assert D.linear.in_features == 512 * base**2
    assert conv_shapes(SNGANDiscriminator(128, 3))[7:] == [(512, 512, 4), (512, 512, 3)]
    assert conv_shapes(SNGANGenerator(128, 3))[:2] == [(512, 512, 4), (512, 256, 4)]
    assert all(m.padding == (1, 1) for m in D.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.slow
def test_resnet_widths():
    def widths(net):
        return [b.shortcut.in_channels if b.shortcut else 0 for b in net.blocks], net.blocks[-1].conv_2.out_channels

    assert widths(ResNetGenerator(48, 3)) == ([512, 256, 128], 64)
    assert widths(ResNetGenerator(64, 3)) == ([1024, 512, 256, 128], 64)
    assert widths(ResNetGenerator(128, 3)) == ([1024, 1024, 512, 256, 128], 64)
    assert ResNetGenerator(128, 3).base == 4
    assert widths(ResNetDiscriminator(48, 3)) == ([3, 64, 128, 256, 512], 1024)
    assert widths(ResNetDiscriminator(128, 3)) == ([3, 64, 128, 256, 512, 0], 1024)
    for resolution, downs in ((32, 2), (48, 4), (64, 4), (96, 5), (128, 5)):
        D = ResNetDiscriminator(resolution, 3, width=0.02)
        assert [b.down for b in D.blocks].count(True) == downs
        assert [b.first for b in D.blocks].count(True) == 1 and D.blocks[0].first


def test_dcgan_widths():
    assert conv_shapes(DCGANGenerator(64, 3)) == [(1024, 512, 4), (512, 256, 4), (256, 128, 4), (128, 3, 4)]
    assert conv_shapes(DCGANDiscriminator(64, 3)) == [
        (3, 128, 4),
        (128, 256, 4),
        (256, 512, 4),
        (512, 1024, 4),
    ]
    assert DCGANGenerator(64, 3).z_dim == 100


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "instance", "pixel", "none"])
@pytest.mark.parametrize("family", FAMILIES)
def test_activation_norm_is_a_choice_of_both_nets(family, kind):
    make_G, make_D = FAMILIES[family]
    G = make_G(16, 3, width=0.05, activation_norm=kind)
    D = make_D(16, 3, width=0.05, activation_norm=kind)
    assert couples_samples(D) == couples_samples(G) == (kind == "batch")
    assert D(G(G.sample_z(2, "cpu"))).isfinite().all()


def test_default_activation_norms():
    assert [couples_samples(make_D(16, 3, width=0.05)) for _, make_D in FAMILIES.values()] == [
        True,
        False,
        False,
    ]
    assert all(couples_samples(make_G(16, 3, width=0.05)) for make_G, _ in FAMILIES.values())


def test_initialization():
    D = SNGANDiscriminator(32, 3)
    for conv in (*D.convs, D.linear):
        assert conv.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert conv.bias.abs().max() == 0
    filters = SNGANDiscriminator(8, 3, init="orthogonal").double().convs[2].weight.detach().flatten(1)  # 512 * 9 inputs
    torch.testing.assert_close(filters @ filters.t(), torch.eye(len(filters), dtype=filters.dtype), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="init must be normal or orthogonal"):
        SNGANDiscriminator(8, 3, init="xavier")
    block = ResNetGenerator(32, 3).blocks[0]
    for layer, gain, fans in ((block.conv_1, 2, 9 * 512), (block.shortcut, 1, 512)):
        assert layer.weight.std().item() == pytest.approx((gain * 2 / fans) ** 0.5, rel=0.02)
        assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_width_changes_all_layers(family):
    for make in FAMILIES[family]:
        narrow, wide = make(32, 3, width=0.125), make(32, 3, width=0.25)
        assert 0.2 * count(wide) < count(narrow) < 0.5 * count(wide)
        with pytest.raises(ValueError, match="width"):
            make(32, 3, width=0.0)


@pytest.mark.parametrize("norm", [None, SpectralNorm(bidirectional=True)])
@pytest.mark.parametrize("family", FAMILIES)
def test_second_derivative_of_the_discriminator(family, norm):
    D = FAMILIES[family][1](8, 1, width=0.02, activation_norm="none").double()
    with torch.no_grad():  # away from the kink of the activations at 0
        for p in D.parameters():
            p.normal_(std=0.5)
    D = apply_weight_norm(D, norm)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    loss = g.square().sum()
    name, p = max(D.named_parameters(), key=lambda item: item[1].numel())
    (analytic,) = torch.autograd.grad(loss, p)
    direction, step = torch.randn_like(p), 1e-6
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            p.add_(direction, alpha=sign * step)
        (g,) = torch.autograd.grad(D(x).sum(), x)
        values.append(g.square().sum().item())
        with torch.no_grad():
            p.sub_(direction, alpha=sign * step)
    numeric = (values[0] - values[1]) / (2 * step)
    assert (analytic * direction).sum().item() == pytest.approx(numeric, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_channels_last_and_bf16(family):
    make_G, make_D = FAMILIES[family]
    G, D = make_G(16, 3, width=0.1), make_D(16, 3, width=0.1, activation_norm="none")
    z = G.sample_z(4, "cpu")
    reference = D(G(z))
    G, D = G.to(memory_format=torch.channels_last), D.to(memory_format=torch.channels_last)
    torch.testing.assert_close(D(G(z)), reference, rtol=1e-3, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = G(z)
        logits = D(images)
    assert images.dtype == logits.dtype == torch.float32


class MixedOrders(TorchDispatchMode):
    """Notes every kernel that is given large maps in two orders of memory, and in which order those alone lie."""

    def __init__(self):
        super().__init__()
        self.found, self.seen = [], 0

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        maps = [t for t in args if isinstance(t, torch.Tensor) and t.dim() == 4 and len(t) == 6 and t.shape[1] > 3]
        real = [t for t in maps if t.shape[2] > 1 and 0 not in t.stride()]  # not one number for all pixels
        orders = {t.is_contiguous(memory_format=torch.channels_last) for t in real}
        self.seen += len(maps)
        if len(orders) > 1:
            self.found.append((str(kernel), [t.stride() for t in maps]))
        return kernel(*args, **(kwargs or {}))


def naive_dcgan(G, D, z):
    """arXiv:1511.06434, section 3: norm and ReLU before every deconvolution, leaky ReLU 0.2 throughout D."""
    x = G.linear(z).view(len(z), -1, G.base, G.base)
    for norm, deconv in zip(G.norms, G.deconvs, strict=True):
        x = F.conv_transpose2d(norm(x).clamp(min=0), deconv.weight, deconv.bias, stride=2, padding=1)
    images = x.tanh()
    x = images
    for conv, norm in zip(D.convs, D.norms, strict=True):
        x = norm(F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1))
        x = torch.where(x > 0, x, 0.2 * x)
    return images, x.flatten(1) @ D.linear.weight[0] + D.linear.bias


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_dcgan_is_the_naive_form(norm):
    torch.manual_seed(0)
    settings = dict(width=0.1, activation_norm=norm, init_std=0.2)
    G, D = DCGANGenerator(32, 3, **settings).double(), DCGANDiscriminator(32, 3, **settings).double()
    z = G.sample_z(4, "cpu").double()
    expected_images, expected = naive_dcgan(G, D, z)
    images = G(z)
    torch.testing.assert_close(images, expected_images, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(D(images), expected, rtol=1e-10, atol=1e-12)
    everything = [*G.parameters(), *D.parameters()]
    ours = torch.autograd.grad(D(images).sin().sum(), everything)
    for mine, naive in zip(ours, torch.autograd.grad(expected.sin().sum(), everything), strict=True):
        torch.testing.assert_close(mine, naive, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("family", [*FAMILIES, "r3gan"])
def test_no_kernel_is_given_maps_in_two_orders(family):
    """An elementwise kernel takes many times as long then."""
    makers = {**FAMILIES, "r3gan": (R3GANGenerator, R3GANDiscriminator)}[family]
    G, D = (make(32, 3, width=0.25).to(memory_format=torch.channels_last) for make in makers)
    with MixedOrders() as watch:
        D(G(G.sample_z(6, "cpu"))).sum().backward()
    assert watch.seen > 20
    assert not watch.found
