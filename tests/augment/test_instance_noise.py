"""Instance noise: its size, its schedule, and what it leaves alone."""

import pytest
import torch

from gan_lab.augment import InstanceNoise
from gan_lab.schedules import Linear
from gan_lab.training.clock import Clock
from tests.training.short_runs import build


def test_noise_is_normal_of_the_size_that_is_asked_for_and_independent_of_the_image():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 16, 16) * 2 - 1
    noise = InstanceNoise(0.3)(images) - images
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01) and abs(float(noise.mean())) < 0.003
    assert float((noise.abs() < 0.3).float().mean()) == pytest.approx(0.6827, abs=0.005)
    pairs = torch.corrcoef(torch.stack([noise[0::2].flatten(), noise[1::2].flatten(), images[0::2].flatten()]))
    assert pairs.fill_diagonal_(0.0).abs().max() < 0.03


def test_none_at_sigma_0_and_gradients_pass_unchanged():
    images = torch.rand(2, 1, 4, 4, requires_grad=True)
    assert torch.equal(InstanceNoise(0.0)(images), images)
    weights = torch.rand(2, 1, 4, 4)
    (gradient,) = torch.autograd.grad((InstanceNoise(2.0)(images) * weights).sum(), images)
    assert torch.equal(gradient, weights)


def test_the_clock_anneals_it_over_the_run_and_does_not_cut_it_at_1(tiny_data):
    x = build(tiny_data, "augment=instance_noise", "augment.sigma.start=2.0", "augment.sigma.end=0.5")
    clock, found = Clock(x), []
    for x.step in (0, 3, 6):  # of 6 steps
        clock.tick()
        found.append(float(x.augment.p))
    assert found == pytest.approx([2.0, 1.25, 0.5])
    assert float(InstanceNoise(Linear(0.4, 0.0, 10)).p) == pytest.approx(0.4)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="sigma must be at least 0"):
        InstanceNoise(-0.1)
