"""WN-GAN: the activations, the sizes, and the paper's theorem built and compared."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradgradcheck

from gan_lab.nets import WNGANDiscriminator, WNGANGenerator, couples_samples
from gan_lab.nets.trelu import ChannelAffine, TPReLU, TReLU
from gan_lab.norms import StrictWeightNorm, apply_weight_norm, effective_weights


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def relu_net(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def as_strict(net: nn.Sequential, activation: type) -> nn.Sequential:
    """The same function with unit-length filters: arXiv:1704.03971's construction, layer by layer.

    Each strict layer's output is (h / s) + a, where h is the ReLU net's. The next layer takes the factors s
    into its weights before they are normalized, and the constant W (s a) into its own shift.
    """
    scale, shift = None, None
    layers: list[nn.Module] = []
    linears = [layer for layer in net if isinstance(layer, nn.Linear)]
    for i, layer in enumerate(linears):
        w, b = layer.weight.detach(), layer.bias.detach()
        if scale is not None:
            b = b - w @ (scale * shift)
            w = w * scale
        free = nn.Linear(w.shape[1], w.shape[0], bias=False).double()
        with torch.no_grad():
            free.weight.copy_(w)
        length = torch.sqrt(w.square().sum(1) + 1e-6)
        layers.append(apply_weight_norm(free, StrictWeightNorm()))
        if i + 1 < len(linears):
            t = activation(w.shape[0]).double()
            with torch.no_grad():
                t.offset.copy_(-b / length)
                if hasattr(t, "slope"):
                    t.slope.zero_()
            layers.append(t)
            scale, shift = length, t.offset.detach()
        else:
            last = ChannelAffine(w.shape[0]).double()
            with torch.no_grad():
                last.gain.copy_(length)
                last.bias.copy_(b)
            layers.append(last)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("activation", [TReLU, TPReLU])
def test_strict_nets_express_what_linear_relu_and_bias_do(activation):
    net = relu_net([5, 16, 16, 8, 2])
    strict = as_strict(net, activation)
    x = 2 * torch.randn(500, 5, dtype=torch.float64)
    expected = net(x)
    assert expected.std() > 0.05
    torch.testing.assert_close(strict(x), expected, rtol=0, atol=1e-12)
    for weight in effective_weights(strict).values():
        assert (weight.square().sum(1) - 1).abs().max() < 1e-3
    hidden = torch.stack([(m(v) > m.offset).double().mean() for m, v in _inputs(strict, x)])
    assert (hidden > 0.1).all() and (hidden < 0.9).all(), "both sides of every kink are exercised"


def _inputs(net: nn.Sequential, x: torch.Tensor) -> list[tuple[nn.Module, torch.Tensor]]:
    found = []
    for layer in net:
        if isinstance(layer, TReLU | TPReLU):
            found.append((layer, x))
        x = layer(x)
    return found


def test_sizes_follow_the_paper():
    d, g = WNGANDiscriminator(32, 3), WNGANGenerator(32, 3)
    convs = [m for m in d.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [64, 128, 256, 1]
    assert convs[-1].kernel_size == (4, 4)
    assert [(m.in_channels, m.out_channels) for m in g.modules() if isinstance(m, nn.ConvTranspose2d)] == [
        (256, 128),
        (128, 64),
        (64, 3),
    ]
    biased = [m for m in [*d.modules(), *g.modules()] if getattr(m, "bias", None) is not None]
    assert [type(m) for m in biased] == [ChannelAffine, ChannelAffine]
    assert sum(p.numel() for p in d.parameters()) == 48 * 64 + 16 * (64 * 128 + 128 * 256 + 256) + 2 * 448 + 2
    assert sum(p.numel() for p in g.parameters()) == (128 * 4096 + 16 * (256 * 128 + 128 * 64 + 64 * 3) + 2 * 448 + 6)


@pytest.mark.parametrize("resolution", [8, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range(resolution, channels):
    g = WNGANGenerator(resolution, channels, width=1 / 16)
    d = WNGANDiscriminator(resolution, channels, width=1 / 16)
    images = g(g.sample_z(3, "cpu"))
    assert images.shape == (3, channels, resolution, resolution) and images.abs().max() < 1
    assert d(images).shape == (3,)
    assert not couples_samples(g) and not couples_samples(d)


def test_output_is_a_sigmoid_brought_to_our_range():
    g = WNGANGenerator(8, 3, width=1 / 16)
    with torch.no_grad():
        g.linear.weight.mul_(100)
    seen = {}
    g.affine.register_forward_hook(lambda m, i, o: seen.update(out=o))
    images = g(g.sample_z(4, "cpu"))
    torch.testing.assert_close(images, 2 * torch.sigmoid(seen["out"]) - 1)
    assert images.std() > 0.01


def test_initial_linear_is_a_hundredth():
    g = WNGANGenerator(32, 3)
    bound = 0.01 / np.sqrt(128)
    assert 0.95 * bound < g.linear.weight.abs().max() <= bound
    whole = WNGANGenerator(32, 3, init_factor=1.0).linear.weight.abs().max()
    assert 95 * bound < whole <= 100 * bound


def test_transposed_convolutions_start_as_in_the_authors_pytorch():
    """Uniform within 1/sqrt(c_in kh kw), which is 1.41 and 4.6 times smaller than today's 1/sqrt(c_out kh kw)."""
    g = WNGANGenerator(32, 3)
    bounds = {}
    for layer in (m for m in g.modules() if isinstance(m, nn.ConvTranspose2d)):
        bound = 1 / np.sqrt(layer.in_channels * 16)
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / np.sqrt(3), rel=0.03)
        torch.nn.ConvTranspose2d.reset_parameters(layer)
        bounds[layer.out_channels] = (layer.weight.abs().max() / bound).item()
    assert bounds == {128: pytest.approx(2**0.5, rel=0.01), 64: pytest.approx(2**0.5, rel=0.01), 3: pytest.approx(
        (64 / 3) ** 0.5, rel=0.02)}  # fmt: skip


def test_the_discriminator_sees_images_between_0_and_1():
    d = WNGANDiscriminator(8, 3, base=8)
    seen = []
    d.layers[0].register_forward_hook(lambda m, inputs, o: seen.append(inputs[0]))
    x = torch.tensor([-1.0, -0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    d(x)
    assert seen[0][0, :, 0, 0].tolist() == [0.0, 0.25, 1.0]


def test_strict_norm_fixes_the_scale_of_every_filter():
    d = WNGANDiscriminator(16, 3, width=1 / 8).double()
    g = WNGANGenerator(16, 3, width=1 / 8).double()
    for net in (d, g):
        apply_weight_norm(net, StrictWeightNorm(eps=0.0))
    x, z = torch.randn(4, 3, 16, 16, dtype=torch.float64), g.sample_z(4, "cpu").double()
    logits, images = d(x), g(z)
    with torch.no_grad():
        for net in (d, g):
            for p in (p for n, p in net.named_parameters() if n.endswith("original")):
                p.mul_(7.0)
    torch.testing.assert_close(d(x), logits, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(g(z), images, rtol=1e-9, atol=1e-12)
    for name, weight in effective_weights(d).items():
        torch.testing.assert_close(weight.square().sum((1, 2, 3)), torch.ones(len(weight)).double(), msg=name)


def test_nets_differentiable_twice():
    d, g = WNGANDiscriminator(8, 1, base=2).double(), WNGANGenerator(8, 1, base=2, z_dim=2).double()
    with torch.no_grad():
        g.linear.weight.mul_(100)
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(d, (x,))
    z = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda z: g(z)[:, :, ::3, ::3], (z,))


def test_bf16_gives_fp32_images_and_logits():
    g, d = WNGANGenerator(16, 3, width=1 / 8), WNGANDiscriminator(16, 3, width=1 / 8)
    with torch.autocast("cpu", torch.bfloat16):
        images = g(g.sample_z(2, "cpu"))
        assert images.dtype == d(images).dtype == torch.float32


def test_batch_norm_stands_before_every_activation_but_that_of_d_s_first_layer():
    d = WNGANDiscriminator(16, 3, width=1 / 8, activation_norm="batch")
    g = WNGANGenerator(16, 3, width=1 / 8, activation_norm="batch")
    with torch.no_grad():
        g.linear.weight.mul_(100)
    seen = []
    for net in (d, g):
        for name, module in net.named_modules():
            if isinstance(module, TPReLU):
                module.register_forward_hook(lambda m, inputs, o, name=name: seen.append((name, inputs[0])))
    d(3 * torch.randn(64, 3, 16, 16) + 1)
    (_, first), *others = seen
    assert others and first.mean((0, 2, 3)).abs().max() > 0.1
    g(g.sample_z(64, "cpu"))
    assert len(seen) - len(others) == 1 + len([m for m in g.modules() if isinstance(m, TPReLU)]) > 2
    for name, x in seen[1:]:
        assert x.mean((0, 2, 3)).abs().max() < 1e-5, name
        assert (x.var((0, 2, 3), correction=0) - 1).abs().max() < 0.02, name
    plain = WNGANDiscriminator(16, 3, width=1 / 8), WNGANGenerator(16, 3, width=1 / 8)
    assert not any(isinstance(m, nn.BatchNorm2d) for net in plain for m in net.modules())


def test_settings_out_of_range():
    for net in (WNGANGenerator, WNGANDiscriminator):
        with pytest.raises(ValueError, match="8 px"):
            net(4, 3)
        with pytest.raises(ValueError, match="activation"):
            net(16, 3, activation="relu")
        with pytest.raises(ValueError, match="activation_norm"):
            net(16, 3, activation_norm="spectral")
    with pytest.raises(ValueError, match="slope"):
        TPReLU(3, slope=2.0)
