"""Searches in latent space: images of a generator are found again, noise stays white, the schedule is the paper's."""

import math

import pytest
import torch

from gan_lab.nets import StyleGAN2Generator
from gan_lab.use import inversion
from gan_lab.use.generate import latents_of
from gan_lab.use.inversion import invert, learning_rate, roughness, squared_errors
from tests.use.test_generate import conditional, dcgan


def frozen(G):
    return G.eval().requires_grad_(False)


def styled():
    torch.manual_seed(0)
    G = frozen(StyleGAN2Generator(8, 3, width=0.1, z_dim=8, w_dim=8, mapping_layers=1))
    for block in G.blocks:
        for layer in block.layers:
            layer.noise_strength.fill_(0.05)
    return G


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(inversion, "STARTS", 16)
    monkeypatch.setattr(inversion, "W_DRAWS", 64)


def images_of(G, seeds, classes=None):
    drawn = latents_of(G, seeds, classes)
    return G(drawn.z, drawn.y)


@pytest.mark.slow
@pytest.mark.parametrize("make", [dcgan, conditional])
def test_images_of_the_generator_are_found_again_in_z(make):
    torch.manual_seed(1)
    G = frozen(make())
    classes = torch.tensor([1, 4, 1]) if G.num_classes else None
    targets = images_of(G, [7, 8, 9], None if classes is None else classes.tolist()).clamp(-1, 1)
    before = torch.random.get_rng_state()
    found = invert(G, targets, classes, steps=60, batch_size=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert found.latents.shape == (3, G.z_dim) and found.noise == ()
    torch.testing.assert_close(found.images, G(found.latents, classes))
    by_hand = ((found.images.clamp(-1, 1) + 1) / 2 - (targets + 1) / 2).square().mean((1, 2, 3))
    torch.testing.assert_close(found.error, by_hand)
    assert (found.error < 0.5 * found.start_error).all()
    again = invert(G, targets[:2], None if classes is None else classes[:2], steps=60, batch_size=2)
    torch.testing.assert_close(again.error, found.error[:2], rtol=1e-3, atol=1e-9)


def test_the_start_in_z_is_the_best_of_the_random_ones():
    G = frozen(dcgan())
    z = torch.randn(16, 20, generator=torch.Generator().manual_seed(3))
    search = inversion.Search(G, G(z[[5, 11]]), None, "z", None, 0.0, 3)
    assert torch.equal(search.latents, z[[5, 11]])


@pytest.mark.slow
@pytest.mark.parametrize("space", ["w", "w+"])
def test_styles_and_noise_are_found(space, monkeypatch):
    G = styled()
    styles = torch.randn(2, 1 if space == "w" else 4, 8) + G.styles(G.sample_z(64, "cpu"))[:, :1].mean(0)
    targets = G.synthesis(styles.expand(-1, 4, -1), [torch.randn(2, 1, s, s) for s in G.noise_sides]) / 4
    targets = targets.clamp(-1, 1)
    found = invert(G, targets, space=space, steps=60)
    assert found.latents.shape == (2, 4, 8)
    assert ((found.latents == found.latents[:, :1]).all()) == (space == "w")
    torch.testing.assert_close(found.images, G.synthesis(found.latents, found.noise))
    assert (found.error < 0.8 * found.start_error).all()
    for maps in found.noise:
        torch.testing.assert_close(maps.mean((1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
        torch.testing.assert_close(maps.square().mean((1, 2, 3)), torch.ones(2))
    monkeypatch.setattr(inversion, "NOISE_WEIGHT", 0.0)
    free = invert(G, targets, space=space, steps=60)
    assert free.error.mean() < found.error.mean()
    assert (free.noise[-1][0] - free.noise[-1][1]).abs().max() > 1e-2  # one for each image


@pytest.mark.slow
def test_more_freedom_gives_smaller_errors():
    G = styled()
    targets = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    errors = {space: invert(G, targets, space=space, steps=60).error.mean() for space in ("w", "w+")}
    assert errors["w+"] < errors["w"]


def test_features_have_their_say():
    G = frozen(dcgan())
    targets = images_of(G, [7, 8])
    mean = lambda images: images.mean((2, 3))  # noqa: E731
    pixels = invert(G, targets, steps=20)
    both = invert(G, targets, steps=20, features=mean, feature_weight=100.0)
    apart = [(mean(one.images) - mean(targets)).norm(dim=1).mean() for one in (pixels, both)]
    assert apart[1] < apart[0]
    search = inversion.Search(G, targets, None, "z", mean, 2.0, 0)
    other = images_of(G, [1, 2])
    by_hand = (other - targets).div(2).square().mean((1, 2, 3))
    by_hand += 2 * (mean(other) - mean(targets)).square().sum(1) / mean(targets).square().sum(1)
    torch.testing.assert_close(search.losses(other), by_hand)


def test_errors_are_those_of_the_clamped_image():
    images = torch.tensor([-3.0, 0.0, 1.0]).view(3, 1, 1, 1)
    assert squared_errors(images, torch.tensor([-1.0, 1.0, -1.0]).view(3, 1, 1, 1)).tolist() == [0.0, 0.25, 1.0]


def test_roughness_is_small_for_white_noise_only():
    white = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(white[..., ::2, ::2], scale_factor=2.0)
    assert roughness(white) < 0.15 and roughness(smooth) > 0.3
    stripes = torch.ones(1, 1, 8, 8)
    stripes[..., 1::2] = -1
    assert float(roughness(stripes)) == pytest.approx(2.0)  # neighbours agree in columns, differ in rows


def test_the_learning_rate_rises_and_falls():
    rates = [learning_rate(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[4:75] == pytest.approx([1.0] * 71) and rates[100] == 0
    assert rates[90] == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 0.4)) and rates[80] > rates[90] > rates[99]


def test_what_cannot_be_searched():
    G = frozen(dcgan())
    with pytest.raises(ValueError, match="has no space w"):
        invert(G, torch.zeros(1, 3, 16, 16), space="w")
    with pytest.raises(ValueError, match="at least 1 step"):
        invert(G, torch.zeros(1, 3, 16, 16), steps=0)
