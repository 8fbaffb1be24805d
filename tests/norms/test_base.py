"""What all weight norms share: which layers, which dimension, which fan-in; reading and baking weights."""

import pytest
import torch
from torch import nn

from gan_lab.norms import SpectralNorm, WeightNorm
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
