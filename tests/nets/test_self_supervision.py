"""Heads of self-supervision: mimicry's parameter counts, worked out by hand, and nets that stay as they were."""

import pytest
import torch
from torch import nn

from gan_lab.nets import BigGANDiscriminator, DCGANDiscriminator, ResNetDiscriminator
from gan_lab.nets.self_supervision import FeaturesWithMaps


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


@pytest.mark.parametrize(("resolution", "maps", "features"), [(32, 128, 128), (64, 512, 1024)])
def test_parameters_are_mimicrys(resolution, maps, features):
    """A classifier of 4; for InfoMax-GAN on either side i -> i, i -> 1024 and a shortcut i -> 1024."""
    with torch.device("meta"):
        plain, rotation, infomax = (
            count(ResNetDiscriminator(resolution, 3, self_supervision=kind)) for kind in ("none", "rotation", "infomax")
        )
    assert rotation - plain == dense(features, 4)
    assert infomax - plain == sum(dense(i, i) + 2 * dense(i, 1024) for i in (maps, features))
    if resolution == 32:
        assert (plain, rotation, infomax) == (1_053_825, 1_054_341, 1_615_233)


@pytest.mark.parametrize("kind", ["rotation", "infomax"])
def test_the_net_without_its_head_is_the_plain_one(kind):
    torch.manual_seed(0)
    plain = ResNetDiscriminator(8, 3, width=0.04)
    torch.manual_seed(0)
    D, x = ResNetDiscriminator(8, 3, width=0.04, self_supervision=kind), torch.randn(3, 3, 8, 8)
    assert torch.equal(D(x), plain(x))
    head = D.self_supervision
    assert all(not p.any() for n, p in head.named_parameters() if n.endswith("bias"))
    logits, features = D(x, return_features=True)
    assert torch.equal(logits, plain(x))
    assert isinstance(features, FeaturesWithMaps) == (kind == "infomax")


def test_features_and_maps_are_cut_together():
    D = BigGANDiscriminator(32, 3, width=0.04, condition="none", self_supervision="infomax")
    x = torch.randn(4, 3, 32, 32)
    _, found = D(x, return_features=True)
    half = found[2:]
    torch.testing.assert_close(half.features, D.features(x[2:]))
    torch.testing.assert_close(half.maps, D.features_and_maps(x[2:])[1])
    whole, local = D.infomax_vectors(half)
    assert whole.shape == (2, 1024) and local.shape == (2, 64, 1024)


def test_local_vectors_are_convolutions_of_the_maps():
    """The linear layers of the maps are 1x1 convolutions, in the order of their pixels."""
    D = ResNetDiscriminator(8, 3, width=0.04, self_supervision="infomax").double()
    features, maps = D.features_and_maps(torch.randn(2, 3, 8, 8, dtype=torch.float64))

    def conv(layer, x):
        return nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)

    p = D.self_supervision.local
    expected = conv(p.out, conv(p.hidden, maps).relu()) + conv(p.shortcut, maps)
    _, local = D.infomax_vectors(FeaturesWithMaps(features, maps))
    torch.testing.assert_close(local, expected.flatten(2).transpose(1, 2))


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="one of none, rotation, infomax, got 'rotations'"):
        DCGANDiscriminator(8, 3, self_supervision="rotations")
    with pytest.raises(ValueError, match="infomax needs a discriminator that gives its maps"):
        DCGANDiscriminator(8, 3, self_supervision="infomax")
