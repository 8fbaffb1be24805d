"""Kernels of normalizing all weights of D for one D step, forward and backward, counted by the profiler."""

import pytest
import torch

from gan_lab.kernels import spectral as joint
from gan_lab.nets.resnet import ResNetDiscriminator
from gan_lab.norms import weight_layers
from scripts.benchmarks import norm
from scripts.benchmarks.harness import Bench
from scripts.benchmarks.kernels import count_kernels, kernel_names
from scripts.benchmarks.norm import NORMS, hook_in_step, hook_twice, ours, ours_in_step

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def hook():
    return count_kernels(hook_twice(ResNetDiscriminator, CPU), CPU)


@pytest.mark.parametrize("at_hand", [True, False], ids=["CPU's way", "GPU's way"])
def test_spectral_norm_takes_a_quarter_of_the_kernels_of_the_hook_at_two_forwards(hook, at_hand, monkeypatch):
    monkeypatch.setattr(joint, "numbers_at_hand", lambda tensor: at_hand)
    assert count_kernels(ours(NORMS["SN"], ResNetDiscriminator, CPU), CPU) <= 0.25 * hook


def test_both_reshapes_take_less_than_half(hook):
    assert count_kernels(ours(NORMS["BSSN"], ResNetDiscriminator, CPU), CPU) <= 0.45 * hook


def test_the_hook_works_on_every_layer_twice(hook):
    """495 on 11 layers at the time of writing: the count is of everything, not of a part that happens to be small."""
    layers = len(list(weight_layers(ResNetDiscriminator(32, 3))))
    assert layers == 11
    assert 20 * 2 * layers < hook < 25 * 2 * layers
    assert kernel_names(hook_twice(ResNetDiscriminator, CPU), CPU)["dot"] == 2 * layers


def test_what_is_counted():
    a, b = torch.randn(4, 4), torch.randn(4)

    def work():
        (a @ b).exp_()  # a matrix-vector product and an exponential
        a.t().reshape(2, 8)[0].detach()  # a copy, because the transposed matrix lies otherwise; the rest are views
        torch.dot(b, b)
        a.float()  # nothing to do

    names = kernel_names(work, CPU)
    assert sum(names.values()) == 4, names
    assert names["dot"] == names["exp_"] == 1


def test_ours_reads_each_weight_as_often_as_it_must():
    """Three products with the weight (two of the power iteration, one for sigma) and one inner product per layer."""
    names = kernel_names(ours(NORMS["SN"], ResNetDiscriminator, CPU), CPU)
    assert names["dot"] == 11
    assert sum(n for name, n in names.items() if name.startswith("addmv")) == 33


class Counter(Bench):
    """Counts the kernels of what it is asked to time."""

    def seconds(self, work):
        return float(sum(kernel_names(work, CPU, again=False).values()))


@pytest.mark.slow
def test_what_is_timed_within_a_step_is_the_norm_and_nothing_else(hook, monkeypatch):
    monkeypatch.setattr(norm, "BATCH", 2)
    inside = hook_in_step(Counter(), ResNetDiscriminator)
    assert inside() == inside() == hook
    mine = ours_in_step(Counter(), NORMS["SN"], ResNetDiscriminator)
    mine()  # the first of a process prepares the constants that later ones share
    assert mine() == mine() == count_kernels(ours(NORMS["SN"], ResNetDiscriminator, CPU), CPU)
