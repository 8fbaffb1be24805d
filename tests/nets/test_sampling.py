"""Images of a generator that is not being trained at the moment."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrize

from gan_lab.errors import UserError
from gan_lab.nets import DCGANGenerator, Generator, R3GANGenerator, StyleGAN2Generator
from gan_lab.nets.sampling import generate, sampler, with_standing_statistics
from gan_lab.norms import WeightNorm, apply_weight_norm, bake
from gan_lab.norms.activation import BatchNorm2d
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


class Normed(Generator):
    """z as an image of 1x2 pixels, normalized; keeps what it was given in training mode."""

    def __init__(self):
        super().__init__(2, 2, 4)
        self.norm = BatchNorm2d(2)
        self.norm.running_mean.fill_(9.0)
        self.scale, self.seen = torch.nn.Parameter(torch.tensor(2.0)), []

    def forward(self, z, y=None):
        x = (self.scale * z).view(-1, 2, 1, 2)
        if self.training:
            self.seen.append(x.detach().numpy())
        return self.norm(x)


def test_standing_statistics_are_means_over_batches():
    G = Normed().train()
    found = with_standing_statistics(G, batches=3, batch_size=5, seed=1)
    batches = found.seen
    assert [b.shape for b in batches] == [(5, 2, 1, 2)] * 3 and not np.array_equal(batches[0], batches[1])
    means = [b.mean((0, 2, 3)) for b in batches]
    variances = [b.var((0, 2, 3), ddof=1) for b in batches]  # 10 numbers a channel
    np.testing.assert_allclose(found.norm.running_mean, np.mean(means, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.norm.running_var, np.mean(variances, 0), rtol=1e-5)
    assert not found.training and G.training and G.norm.running_mean.tolist() == [9.0, 9.0] and G.seen == []
    z = torch.randn(3, 4)
    expected = (2 * z.view(-1, 2, 1, 2).numpy() - np.mean(means, 0)[:, None, None]) / np.sqrt(
        np.mean(variances, 0)[:, None, None] + 1e-5
    )
    np.testing.assert_allclose(generate(found, z), expected, rtol=1e-4, atol=1e-5)
    again, other = (with_standing_statistics(G, 3, 5, seed=seed).norm.running_mean for seed in (1, 2))
    assert torch.equal(again, found.norm.running_mean) and not torch.equal(other, again)


def test_standing_statistics_need_batch_norms(tiny_data):
    with pytest.raises(UserError, match="R3GANGenerator has no batch norms"):
        with_standing_statistics(R3GANGenerator(8, 3, width=0.02), 2, 4)
    words = ("metrics=shapes", "metrics.standing_statistics=2", "generator=r3gan", "width=0.03")
    with pytest.raises(UserError, match="R3GANGenerator has no batch norms"):
        build(tiny_data, *words)


def test_standing_statistics_of_a_normed_net_are_those_of_its_weights_without_torchs_cache(monkeypatch):
    G = apply_weight_norm(DCGANGenerator(16, 3, width=0.0625, z_dim=20, init_std=0.2), WeightNorm())
    expected = with_standing_statistics(bake(copy.deepcopy(G)), 2, 10)
    monkeypatch.setattr(parametrize, "cached", None)  # one for all threads, also for one that trains
    found = with_standing_statistics(G, 2, 10)
    assert parametrize.is_parametrized(G.linear) and not parametrize.is_parametrized(found.linear)
    z, wanted = torch.randn(2, 20), expected.state_dict()
    assert all(torch.equal(wanted[k], v) for k, v in found.state_dict().items())
    assert torch.equal(found(z), expected(z)) and not torch.equal(found(z), G.eval()(z))
