"""StyleGAN2: parameter counts, every layer against something independent, and two measured facts."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils import parametrize

from gan_lab.nets import StyleGAN2Discriminator, StyleGAN2Generator, couples_samples
from gan_lab.nets.resampling import Resampler
from gan_lab.nets.stylegan2.discriminator import DiscriminatorBlock
from gan_lab.nets.stylegan2.layers import (
    Mapping,
    MinibatchStd,
    ModulatedConv2d,
    SynthesisLayer,
    ToRGB,
    activate,
)
from gan_lab.norms import EqualizedLR, apply_weight_norm

TINY = dict(z_dim=3, w_dim=4, channel_max=3, mapping_layers=1)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def tiny_generator(**settings) -> StyleGAN2Generator:
    return StyleGAN2Generator(8, 2, **{**TINY, **settings})


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# ---- sizes


def test_parameter_counts_of_the_cifar_setting():
    with torch.device("meta"):
        g = StyleGAN2Generator(32, 3, channel_base=32768, mapping_layers=2)
        d = StyleGAN2Discriminator(32, 3, channel_base=32768, architecture="plain")
    assert count(g) == 19_947_539  # 19.95M
    assert count(d) == 20_720_641  # 20.72M


@pytest.mark.parametrize("resolution, styles", [(8, 4), (32, 8), (48, 8), (64, 10)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(resolution, styles, channels):
    g = StyleGAN2Generator(resolution, channels, width=1 / 64)
    d = StyleGAN2Discriminator(resolution, channels, width=1 / 64)
    z = g.sample_z(3, "cpu")
    assert g.styles(z).shape == (3, styles, 512)
    images = g(z)
    assert images.shape == (3, channels, resolution, resolution)
    assert d(images).shape == (3,)


def test_channels_follow_the_rule():
    with torch.device("meta"):
        d = StyleGAN2Discriminator(256, 3, width=0.5)
    assert [b.conv0.in_channels for b in d.blocks] == [32, 64, 128, 256, 256, 256]


@pytest.mark.parametrize(
    "net, settings",
    [
        (StyleGAN2Generator, dict(style_mixing=1.5)),
        (StyleGAN2Generator, dict(noise="loud")),
        (StyleGAN2Generator, dict(mapping_layers=0)),
        (StyleGAN2Discriminator, dict(architecture="skip")),
        (StyleGAN2Discriminator, dict(minibatch_std_group=-1)),
    ],
)
def test_settings_out_of_range(net, settings):
    with pytest.raises(ValueError, match=next(iter(settings)) if "mapping" not in str(settings) else "mapping"):
        net(8, 3, width=1 / 64, **settings)


# ---- modulated convolution


def per_sample(conv: ModulatedConv2d, x: torch.Tensor, w: torch.Tensor) -> np.ndarray:
    """The paper's formulas with a weight of its own for every sample, convolved by scipy."""
    fir = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * 4
    styles = (w @ conv.affine.weight.T + conv.affine.bias).detach().numpy()
    result = []
    for image, s in zip(x.detach().numpy(), styles, strict=True):
        k = conv.weight.detach().numpy() * s[None, :, None, None]
        if conv.demodulate:
            k = k / np.sqrt((k**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        maps = []
        for row in k:
            if conv.up:
                wide = np.zeros((len(image), 2 * image.shape[1] - 1, 2 * image.shape[2] - 1))
                wide[:, ::2, ::2] = image
                full = sum(convolve2d(a, b) for a, b in zip(wide, row, strict=True))
                maps.append(convolve2d(full, fir)[2:-2, 2:-2])
            else:
                mirrored = row[:, ::-1, ::-1]  # torch's convolution is a correlation
                maps.append(sum(convolve2d(a, b, mode="same") for a, b in zip(image, mirrored, strict=True)))
        result.append(np.stack(maps))
    return np.stack(result)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_modulated_conv_equals_weights_per_sample(up, demodulate, dtype, tolerance):
    conv = ModulatedConv2d(3, 5, 3, 4, demodulate=demodulate, up=up).to(dtype)
    x, w = torch.randn(2, 3, 6, 6, dtype=dtype), torch.randn(2, 4, dtype=dtype)
    got = conv(x, w, Resampler().to(dtype)).detach().numpy()
    expected = per_sample(conv.double(), x.double(), w.double())
    assert got.shape == expected.shape == ((2, 5, 12, 12) if up else (2, 5, 6, 6))
    assert np.abs(got - expected).max() < tolerance * np.abs(expected).max()


def test_demodulation_brings_white_input_to_unit_variance():
    conv = ModulatedConv2d(64, 64, 3, 16)
    y = conv(torch.randn(4, 64, 16, 16), 3 * torch.randn(4, 16), Resampler())[..., 1:-1, 1:-1]
    assert 0.93 < y.std() < 1.07


def test_norms_find_the_modulated_conv_and_leave_the_function():
    g = tiny_generator().double()
    z = torch.randn(2, 3, dtype=torch.float64)
    g.eval()
    before = g(z)
    normed = apply_weight_norm(copy.deepcopy(g), EqualizedLR())
    found = [m for m in normed.modules() if isinstance(m, ModulatedConv2d)]
    assert len(found) == 5 and all(parametrize.is_parametrized(m, "weight") for m in found)
    torch.testing.assert_close(normed(z), before, rtol=1e-12, atol=1e-12)


def test_equalized_lr_stores_what_the_paper_draws():
    g = apply_weight_norm(StyleGAN2Generator(8, 3), EqualizedLR())
    raw = {n: p for n, p in g.named_parameters() if n.endswith("weight.original")}
    for name, p in raw.items():
        expected = 100.0 if name.startswith("mapping") else 1.0  # N(0, 1)/lr_multiplier
        assert 0.9 * expected < p.std() < 1.1 * expected, name


# ---- noise, styles, truncation


def test_noise_modes():
    layer = SynthesisLayer(3, 4, 8, 5, up=False)
    x, w, r = torch.randn(2, 3, 8, 8), torch.randn(2, 5), Resampler()
    still = layer(x, w, r, "none")
    assert torch.equal(layer(x, w, r, "random"), still)  # the strength starts at 0
    with torch.no_grad():
        layer.noise_strength.fill_(0.5)
    a, b = layer(x, w, r, "random"), layer(x, w, r, "random")
    assert not torch.equal(a, b)
    torch.manual_seed(3)
    a = layer(x, w, r, "random")
    torch.manual_seed(3)
    assert torch.equal(layer(x, w, r, "random"), a)
    assert torch.equal(layer(x, w, r, "constant"), layer(x, w, r, "constant"))
    # one number per sample and pixel, shared by the channels: undo the activation and compare
    undone = lambda y: torch.where(y > 0, y, y / 0.2) / math.sqrt(2)  # noqa: E731
    added = undone(layer(x, w, r, "constant")) - undone(still)
    torch.testing.assert_close(added, (0.5 * layer.noise_const).expand_as(added), rtol=0, atol=1e-5)
    torch.manual_seed(3)
    added = undone(layer(x, w, r, "random")) - undone(still)
    torch.testing.assert_close(added, added[:, :1].expand_as(added), rtol=0, atol=1e-5)
    assert not torch.allclose(added[0], added[1], atol=1e-2)


def test_mapping_ignores_the_length_of_z():
    mapping = Mapping(8, 16, depth=2).double()
    z = torch.randn(3, 8, dtype=torch.float64)
    torch.testing.assert_close(mapping(10 * z), mapping(z), rtol=0, atol=1e-7)
    assert (mapping(-z) - mapping(z)).abs().max() > 0.1
    by_hand = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in mapping.layers:
        by_hand = activate(by_hand @ layer.weight.T + layer.bias)
    torch.testing.assert_close(mapping(z), by_hand, rtol=1e-6, atol=1e-6)
    assert all(layer.lr_multiplier == 0.01 for layer in mapping.layers)


def test_style_mixing_switches_once_in_training_only():
    g = tiny_generator(style_mixing=1.0)
    z = g.sample_z(3, "cpu")
    w = g.mapping(z)
    cutoffs = set()
    for _ in range(40):
        same = (g.styles(z) == w[:, None]).all(2)  # b l
        assert (same == same[0]).all(), "one cutoff for the batch"
        own = int(same[0].sum())
        assert same[0, :own].all() and not same[0, own:].any()
        cutoffs.add(own)
    assert cutoffs == {1, 2, 3}
    g.eval()
    assert torch.equal(g.styles(z), w[:, None].expand(-1, 4, -1))
    g.train()
    g.style_mixing = 0.0
    assert torch.equal(g.styles(z), w[:, None].expand(-1, 4, -1))
    g.style_mixing = 0.5
    mixed = sum(not torch.equal(g.styles(z)[:, -1], w) for _ in range(400))
    assert 150 < mixed < 250


def test_mean_of_w_moves_in_training_only_and_truncation_pulls_towards_it():
    g = tiny_generator(style_mixing=0.0)
    z = g.sample_z(64, "cpu")
    w = g.mapping(z)
    g.styles(z)
    torch.testing.assert_close(g.w_average, 0.005 * w.mean(0))
    g.eval()
    before = g.w_average.clone()
    image = g(z)
    assert torch.equal(g.w_average, before)
    assert torch.equal(g(z, truncation=1.0), image)
    mean_style = before.expand(64, g.num_styles, -1)
    torch.testing.assert_close(g(z, truncation=0.0), g.synthesis(mean_style))
    half = g.synthesis(0.5 * (mean_style + w[:, None]))
    torch.testing.assert_close(g(z, truncation=0.5), half)


def test_the_image_is_the_sum_over_resolutions():
    g = tiny_generator().eval()
    with torch.no_grad():
        for value, block in zip((1.0, 10.0), g.blocks, strict=True):
            block.to_rgb.conv.weight.zero_()
            block.to_rgb.bias.fill_(value)
    image = g(g.sample_z(1, "cpu"))
    torch.testing.assert_close(image[..., 1:-1, 1:-1], torch.full((1, 2, 6, 6), 11.0))


def test_every_style_reaches_its_own_layers():
    g = tiny_generator().eval()
    base = g.styles(g.sample_z(1, "cpu")).detach()
    with torch.no_grad():
        for block in g.blocks:
            block.to_rgb.conv.weight.zero_()  # leaves the last convolution's output out of the image
    image = g.synthesis(base)
    assert torch.equal(g.synthesis(base + torch.randn_like(base)), image)
    h = tiny_generator().eval()
    image = h.synthesis(base)
    for i in range(h.num_styles):
        other = base.clone()
        other[:, i] += 1.0
        assert not torch.equal(h.synthesis(other), image), i


# ---- discriminator


@pytest.mark.parametrize("scale", [math.sqrt(0.5), 1.0])
def test_residual_block_scales_the_sum(scale):
    block, r = DiscriminatorBlock(3, 5, True, scale), Resampler()
    x = torch.randn(2, 3, 8, 8)
    main = activate(block.conv1(r.blur(activate(block.conv0(x)), 2)))
    short = torch.einsum("bihw,oi->bohw", r.downsample(x), block.shortcut.weight[..., 0, 0])
    torch.testing.assert_close(block(x, r), scale * main + scale * short)
    plain = DiscriminatorBlock(3, 5, False, scale)
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if "shortcut" not in k})
    torch.testing.assert_close(plain(x, r), main)


def test_activation_is_leaky_with_gain():
    x = torch.tensor([-2.0, 0.0, 3.0])
    torch.testing.assert_close(activate(x), math.sqrt(2) * torch.tensor([-0.4, 0.0, 3.0]))
    big = torch.randn(200_000)
    assert 1.02 < activate(big).square().mean() < 1.06


@pytest.mark.parametrize("batch, size", [(8, 4), (4, 4), (6, 3), (5, 1), (3, 3), (1, 1)])
def test_minibatch_std(batch, size):
    x = torch.randn(batch, 3, 2, 2, dtype=torch.float64)
    y = MinibatchStd(4)(x)
    assert torch.equal(y[:, :3], x) and y.shape == (batch, 4, 2, 2)
    for start in range(batch // size):
        members = list(range(start, batch, batch // size))
        expected = np.sqrt(x[members].numpy().var(0) + 1e-8).mean()
        for m in members:
            np.testing.assert_allclose(y[m, 3].numpy(), expected, rtol=1e-12)


def test_coupling_is_declared():
    assert couples_samples(StyleGAN2Discriminator(8, 3, width=1 / 64))
    assert not couples_samples(StyleGAN2Discriminator(8, 3, width=1 / 64, minibatch_std_group=0))
    assert not couples_samples(tiny_generator())


# ---- derivatives and precision


R64 = Resampler().double()
MODULES = {
    "mapping": (lambda: Mapping(3, 4, depth=2), lambda m, x, w: m(w[:, :3])),
    "modulated": (lambda: ModulatedConv2d(2, 3, 3, 4), lambda m, x, w: m(x, w, R64)),
    "modulated up": (lambda: ModulatedConv2d(2, 3, 3, 4, up=True), lambda m, x, w: m(x, w, R64)),
    "layer": (lambda: SynthesisLayer(2, 3, 4, 4, up=False), lambda m, x, w: m(x, w, R64, "constant")),
    "to rgb": (lambda: ToRGB(2, 3, 4), lambda m, x, w: m(x, w, R64)),
    "minibatch std": (lambda: MinibatchStd(2), lambda m, x, w: m(x)),
    "residual block": (lambda: DiscriminatorBlock(2, 3, True, math.sqrt(0.5)), lambda m, x, w: m(x, R64)),
    "plain block": (lambda: DiscriminatorBlock(2, 3, False, 1.0), lambda m, x, w: m(x, R64)),
    "net D": (lambda: StyleGAN2Discriminator(4, 2, channel_max=2), lambda m, x, w: m(x)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_differentiable_twice(name):
    make, call = MODULES[name]
    module = make().double()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))  # away from the kinks and zeros of the start
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    params = [p for p in module.parameters() if p.numel() < 40][:3]

    def function(x, w, *_):
        return call(module, x, w).square() + 0.0 * (x.sum() + w.sum())

    assert gradcheck(function, (x, w, *params))
    assert gradgradcheck(function, (x, w, *params))


def test_generator_differentiable_twice_in_its_styles():
    g = tiny_generator(noise="constant").double().eval()
    styles = torch.randn(1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda s: g.synthesis(s)[:, :, ::3, ::3], (styles,))


def test_bf16_keeps_rgb_logits_and_demodulation_in_fp32():
    g = StyleGAN2Generator(16, 3, width=1 / 16, z_dim=16, w_dim=16).eval()
    d = StyleGAN2Discriminator(16, 3, width=1 / 16)
    z = g.sample_z(4, "cpu")
    images, logits = g(z), d(g(z))
    seen = {}
    g.blocks[1].layers[0].register_forward_hook(lambda m, i, o: seen.update(features=o.dtype))
    g.mapping.register_forward_hook(lambda m, i, o: seen.update(w=o.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        images16, logits16 = g(z), d(images)
    assert seen == {"features": torch.bfloat16, "w": torch.float32}
    assert images16.dtype == logits16.dtype == torch.float32
    assert (images16 - images).std() < 0.03 * images.std()
    assert (logits16 - logits).abs().max() < 0.05 * (1 + logits.abs().max())


# ---- measured at initialization


@torch.no_grad()
def block_rms(scale: float) -> list[float]:
    torch.manual_seed(0)
    d = StyleGAN2Discriminator(256, 3, residual_scale=scale, width=0.5)
    seen: list[float] = []
    for block in d.blocks:
        block.register_forward_hook(lambda m, i, o: seen.append(o.square().mean().sqrt().item()))
    d(torch.randn(4, 3, 256, 256))
    return seen


@pytest.mark.slow
def test_residual_scale_keeps_the_activations_level():
    """Reported: 0.54 -> 0.39 from the first to the last block with 1/sqrt(2), 0.76 -> 3.12 without."""
    scaled, unscaled = block_rms(math.sqrt(0.5)), block_rms(1.0)
    assert len(scaled) == 6
    assert all(0.3 < r < 1.0 for r in scaled)
    assert 0.5 < scaled[-1] / scaled[0] < 1.3
    assert 3.0 < unscaled[-1] / unscaled[0] < 7.5
    growth = [u / s for u, s in zip(unscaled, scaled, strict=True)]
    assert growth == pytest.approx([2 ** (n / 2) for n in range(1, 7)], rel=1e-3)


def mean_path_length(resolution: int, scaled: bool, samples: int = 8) -> float:
    torch.manual_seed(1)
    g = StyleGAN2Generator(resolution, 3).eval()
    styles = g.styles(g.sample_z(samples, "cpu")).detach().requires_grad_()
    images = g.synthesis(styles)
    noise = torch.randn_like(images) / (resolution if scaled else 1.0)
    (gradient,) = torch.autograd.grad((images * noise).sum(), styles)
    return gradient.square().sum(2).mean(1).sqrt().mean().item()


@pytest.mark.long
def test_scaled_path_length_hardly_depends_on_resolution():
    """Reported: 1.25, 1.30, 1.42 at 16, 32, 64 px, against 20.0, 41.7, 90.9 unscaled."""
    lengths = {r: mean_path_length(r, scaled=True) for r in (16, 32, 64)}
    assert all(0.9 < length < 1.7 for length in lengths.values())
    assert lengths[16] < lengths[64] < 1.6 * lengths[16]
    assert mean_path_length(16, scaled=False) == pytest.approx(16 * lengths[16], rel=1e-4)
    assert 14 < mean_path_length(16, scaled=False) < 26


def test_parameter_counts_of_the_conditional_cifar_setting():
    with torch.device("meta"):
        settings = dict(channel_base=32768, num_classes=10)
        assert count(StyleGAN2Generator(32, 3, mapping_layers=2, conditional=True, **settings)) == 20_215_315
        d = StyleGAN2Discriminator(32, 3, architecture="plain", condition="projection", **settings)
        assert count(d) == 23_089_664


def mapped(layers: list[nn.Linear], x: np.ndarray) -> np.ndarray:
    """Fully connected layers with leaky ReLU 0.2 times sqrt(2)."""
    for layer in layers:
        x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        x = np.sqrt(2) * np.where(x > 0, x, 0.2 * x)
    return x


def unit_rms(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(1, keepdims=True))


def embedded(mapping: Mapping, y: np.ndarray) -> np.ndarray:
    """A column of the embedding's weight for each label that a sample has, and the bias; to unit RMS."""
    weight, bias = mapping.embedding.weight.detach().numpy(), mapping.embedding.bias.detach().numpy()
    return unit_rms(np.stack([weight[:, labels].sum(1) + bias for labels in y]))


@pytest.mark.parametrize("norm", [None, EqualizedLR()])
def test_the_mapping_of_a_class_is_appended_to_z(norm):
    mapping = Mapping(5, 7, depth=2, num_classes=4).double()
    nn.init.normal_(mapping.embedding.bias)
    apply_weight_norm(mapping, norm)
    z = torch.randn(3, 5, dtype=torch.float64)
    x = np.concatenate([unit_rms(z.numpy()), embedded(mapping, [[2], [0], [2]])], 1)
    found = mapping(z, torch.tensor([2, 0, 2]))
    np.testing.assert_allclose(found.detach().numpy(), mapped(mapping.layers, x), rtol=1e-6)
    several = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).double()  # more labels than one, and none
    x = np.concatenate([unit_rms(z.numpy()), embedded(mapping, [[1, 2], [], [0, 1, 2, 3]])], 1)
    np.testing.assert_allclose(mapping(z, several).detach().numpy(), mapped(mapping.layers, x), rtol=1e-6)
    with pytest.raises(ValueError, match="needs classes"):
        mapping(z)


@pytest.mark.parametrize("norm", [None, EqualizedLR()])
def test_the_projection_is_a_product_with_the_mapped_class(norm):
    d = StyleGAN2Discriminator(8, 3, width=1 / 32, condition="projection", num_classes=4).double()
    apply_weight_norm(d, norm)
    x, y = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.tensor([3, 0, 3, 1])
    logits, features = d(x, y, return_features=True)
    of_image = features.detach().numpy() @ d.out.weight.detach().numpy().T + d.out.bias.detach().numpy()
    of_class = mapped(d.mapping.layers, embedded(d.mapping, [[3], [0], [3], [1]]))
    assert len(d.mapping.layers) == 8 and of_class.shape[1] == of_image.shape[1] > 1
    wanted = (of_image * of_class).sum(1) / np.sqrt(of_image.shape[1])
    np.testing.assert_allclose(logits.detach().numpy(), wanted, rtol=1e-6)
    assert not torch.allclose(logits, d(x, y.flip(0)))


def test_the_class_reaches_both_styles_that_are_mixed():
    """With z equal everywhere only the class differs: each style layer follows it, before and after the switch."""
    g = StyleGAN2Generator(8, 3, width=1 / 32, z_dim=4, w_dim=6, style_mixing=1.0, conditional=True, num_classes=3)
    z = torch.randn(1, 4).expand(6, -1)
    torch.manual_seed(3)
    styles = g.train().styles(z, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert (styles[0] - styles[1]).abs().amax(1).min() > 1e-3
    images = g.eval()(z, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert not torch.equal(images[0], images[1])


def test_conditional_parts_are_differentiable_twice():
    mapping = Mapping(2, 3, depth=2, num_classes=2).double()
    z, y = torch.randn(2, 2, dtype=torch.float64, requires_grad=True), torch.tensor([1, 0])
    assert gradgradcheck(lambda z, *_: mapping(z, y), (z, mapping.embedding.weight))
    d = StyleGAN2Discriminator(8, 1, width=1 / 128, condition="projection", num_classes=2).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(d(x, y).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), d.mapping.embedding.weight)
    assert torch.isfinite(again).all() and again.abs().sum() > 0
