"""What all weight norms share: which layers, which dimension, which fan-in; reading and baking weights."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gan_lab.norms import EqualizedLR, SpectralNorm, StrictWeightNorm, WeightNorm
from gan_lab.norms.base import apply_weight_norm, bake, effective_weights, fan_in, out_dim, weight_layers


@pytest.mark.parametrize(
    "layer, dim, fan",
    [
        (nn.Linear(7, 3), 0, 7),
        (nn.Conv2d(6, 4, 3), 0, 54),
        (nn.Conv2d(6, 4, 3, groups=2), 0, 27),
        (nn.Conv1d(5, 2, 4), 0, 20),
        (nn.Conv3d(2, 3, 2), 0, 16),
        (nn.ConvTranspose2d(6, 4, 4, stride=2), 1, 96),
        (nn.ConvTranspose2d(6, 4, 4, groups=2), 1, 48),
    ],
)
def test_dimension_of_outputs_and_fan_in(layer, dim, fan):
    """The fan-in, counted: how many inputs an output reads where kernels do not overlap borders, stride aside."""
    assert (out_dim(layer), fan_in(layer)) == (dim, fan)
    groups = getattr(layer, "groups", 1)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    assert layer.weight.shape[dim] == (outputs // groups if dim else outputs)


def test_layers_are_found_once_also_the_module_itself():
    shared = nn.Conv2d(3, 3, 1)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.BatchNorm2d(3), nn.Sequential(nn.Linear(2, 2)))
    assert [name for name, _ in weight_layers(net)] == ["0", "4.0"]
    assert [name for name, _ in weight_layers(nn.Linear(2, 2))] == [""]


@pytest.mark.parametrize("norm", [SpectralNorm(bidirectional=True, scale=1.4), WeightNorm()])
def test_a_baked_net_computes_the_same_and_has_no_norm(norm):
    torch.manual_seed(0)
    net = apply_weight_norm(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 2)), norm)
    x = torch.randn(4, 3, 8, 8)
    before, weights = net(x), effective_weights(net)
    assert list(weights) == ["0", "2"] and all(w.requires_grad for w in weights.values())
    assert bake(net) is net
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    assert not any("parametrizations" in name for name in net.state_dict())
    assert type(net[0]) is nn.Conv2d
    assert torch.equal(net[0].weight, weights["0"])


def test_no_norm_changes_nothing():
    layer = nn.Linear(2, 2)
    assert apply_weight_norm(layer, None) is layer and set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("norm", [WeightNorm(), EqualizedLR()])
def test_weights_that_a_norm_would_untie_or_take_from_another_are_refused_before_anything_changes(norm):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="^the layer '0' shares its weight with another module"):
        apply_weight_norm(tied, norm)
    embedded = nn.Sequential(nn.Linear(3, 3), nn.Embedding(5, 3), nn.Linear(3, 5))
    embedded[1].weight = embedded[2].weight
    with pytest.raises(ValueError, match="^the layer '2' shares"):
        apply_weight_norm(embedded, norm)
    assert not any(parametrize.is_parametrized(m) for net in (tied, embedded) for m in net.modules())
    for first in (norm, SpectralNorm(), StrictWeightNorm()):
        layer = apply_weight_norm(nn.Linear(3, 3), first)
        with pytest.raises(ValueError, match="^the layer itself already has a norm"):
            apply_weight_norm(layer, norm)
    shared = nn.Linear(3, 3)  # one layer that is used twice is no tie
    apply_weight_norm(nn.Sequential(shared, shared), norm)
    assert parametrize.is_parametrized(shared, "weight")


@pytest.mark.parametrize("norm", [SpectralNorm(), SpectralNorm(scale=2.0), StrictWeightNorm()])
def test_norms_that_store_the_weight_itself_keep_a_tie(norm):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    apply_weight_norm(tied, norm)
    first, second = (layer.parametrizations.weight.original for layer in tied)
    assert first is second and torch.equal(tied[0].weight, tied[1].weight)


@pytest.mark.parametrize("norm", [SpectralNorm(), WeightNorm()])
def test_baking_keeps_frozen_weights_frozen(norm):
    net = apply_weight_norm(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), norm)
    net[0].requires_grad_(False)
    bake(net)
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]


def test_baking_reads_no_cache():
    net, x = apply_weight_norm(nn.Linear(3, 3), WeightNorm()), torch.randn(2, 3)
    with parametrize.cached(), torch.no_grad():
        before = net(x)
        net.parametrizations.weight.original0.mul_(2.0)
        assert torch.equal(net(x), before)  # stale
        torch.testing.assert_close(bake(net)(x) - net.bias, (before - net.bias) * 2)
