"""Images of a generator that is not being trained at the moment."""

import pytest
import torch

from gan_lab.nets import R3GANGenerator, StyleGAN2Generator
from gan_lab.nets.sampling import generate, sampler
from tests.training.short_runs import build

CPU = torch.device("cpu")


def test_images_are_made_in_evaluation_mode_and_the_mode_comes_back(tiny_data):
    x = build(tiny_data)
    assert x.G.training and not x.G_ema.training
    before, z = {k: v.clone() for k, v in x.G.state_dict().items()}, x.G.sample_z(4, "cpu")
    images = generate(x.G, z)
    assert x.G.training and all(torch.equal(v, before[k]) for k, v in x.G.state_dict().items())
    assert torch.equal(images, generate(x.G_ema, z)) and not images.requires_grad
    assert not torch.equal(images, x.G(z).float())  # by the batch's statistics

    def fails(z, y=None):
        assert not x.G.training
        raise RuntimeError("no")

    x.G.forward = fails
    with pytest.raises(RuntimeError):
        generate(x.G, z)
    assert x.G.training


def test_a_sampler_draws_z_and_classes_and_hands_the_classes_out():
    G = R3GANGenerator(resolution=32, channels=3, num_classes=5, conditional=True, width=0.0625)
    torch.manual_seed(0)
    images, y = sampler(G, CPU)(6)
    torch.manual_seed(0)
    z, expected = G.sample_z(6, CPU), G.sample_y(6, CPU)
    assert images.shape == (6, 3, 32, 32) and torch.equal(y, expected) and y.max() < 5
    assert torch.equal(images, generate(G, z, expected)) and G.training


def test_truncation_reaches_g():
    G = StyleGAN2Generator(resolution=32, channels=3, width=0.0625)
    pictures = []
    for truncation in (1.0, 0.0001):
        torch.manual_seed(0)
        pictures.append(sampler(G, CPU, truncation)(4))
    far, near = (float((p - p.mean(0)).square().mean()) for p in pictures)
    assert near < far / 2
