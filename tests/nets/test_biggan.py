"""BigGAN: parameter counts of the benchmark, how z and the class enter, the start, second derivatives."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradgradcheck

from gan_lab.nets import BigGANDiscriminator, BigGANGenerator, ResNetDiscriminator, ResNetGenerator
from gan_lab.norms import SpectralNorm, apply_weight_norm, effective_weights
from gan_lab.norms.activation import VectorConditionalBatchNorm2d


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_parameter_counts():
    with torch.device("meta"):
        assert count(BigGANGenerator(32, 3, attention=16, num_classes=10)) == 9_416_196
        assert count(BigGANDiscriminator(32, 3, attention=16, num_classes=10)) == 2_415_170
        assert count(BigGANGenerator(128, 3, z_dim=120, attention=64, num_classes=1000)) == 70_433_988
        assert count(BigGANDiscriminator(128, 3, attention=64, num_classes=1000)) == 87_982_370
        # SAGAN and SN-GAN with projection: the residual nets
        classes = dict(num_classes=10)
        for attention, of_g, of_d in ((None, 4_304_387, 1_055_105), (16, 4_386_308, 1_075_586)):
            assert count(ResNetGenerator(32, 3, attention=attention, conditional=True, **classes)) == of_g
            assert count(ResNetDiscriminator(32, 3, attention=attention, condition="projection", **classes)) == of_d


@pytest.mark.parametrize(
    ("resolution", "z_dim", "of_g", "of_d"),
    [
        (8, 6, [4, 4], [2, 2, 2, 2]),
        (32, 8, [4] * 4, [2] * 4),
        (48, 8, [4] * 4, [4] * 4),
        (64, 10, [16, 8, 4, 2, 1], [1, 2, 4, 8, 16]),
        (128, 12, [16, 16, 8, 4, 2, 1], [1, 2, 4, 8, 16, 16]),
        (256, 14, [16, 16, 8, 8, 4, 2, 1], [1, 2, 4, 8, 8, 16, 16]),
    ],
)  # fmt: skip
def test_widths_follow_the_papers_tables(resolution, z_dim, of_g, of_d):
    with torch.device("meta"):
        G = BigGANGenerator(resolution, 3, channels_unit=4, z_dim=z_dim, num_classes=5)
        D = BigGANDiscriminator(resolution, 3, channels_unit=4, num_classes=5)
    assert [b.conv_1.in_channels for b in G.blocks] + [G.blocks[-1].conv_2.out_channels] == [4 * m for m in of_g]
    assert [b.conv_2.out_channels for b in D.blocks] == [4 * m for m in of_d]
    assert all(b.conv_1.out_channels == b.conv_2.out_channels for b in D.blocks) and not D.blocks[-1].down


def tiny(**settings):
    return BigGANGenerator(8, 3, channels_unit=2, z_dim=6, shared_dim=5, num_classes=4, **settings).double()


@pytest.mark.parametrize("resolution", [8, 32])
def test_shapes(resolution):
    G = BigGANGenerator(resolution, 3, channels_unit=2, z_dim=24, num_classes=4)
    D = BigGANDiscriminator(resolution, 3, channels_unit=2, num_classes=4)
    y = torch.tensor([0, 3])
    images = G(G.sample_z(2, "cpu"), y)
    assert images.shape == (2, 3, resolution, resolution) and images.abs().max() <= 1 and D(images, y).shape == (2,)


def test_a_norm_is_linear_in_the_shared_embedding_and_its_chunk_of_z():
    G = tiny()
    norm, seen = G.blocks[0].norm_1, []
    norm.register_forward_hook(lambda m, inputs, output: seen.append((*inputs, output)))
    z, y = torch.randn(3, 6, dtype=torch.float64), torch.tensor([2, 0, 2])
    G.train()(z, y)
    x, c, found = (v.detach().numpy() for v in seen[0])
    expected_c = np.concatenate([G.embedding.weight.detach().numpy()[y], z.numpy()[:, 3:]], 1)
    np.testing.assert_allclose(c, expected_c)
    normalized = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + norm.eps)
    gain, bias = (c @ layer.weight.detach().numpy().T for layer in (norm.gain, norm.bias_of))
    np.testing.assert_allclose(found, (1 + gain[:, :, None, None]) * normalized + bias[:, :, None, None], rtol=1e-8)


def test_shares_of_classes_are_embeddings_between():
    G = tiny().eval()
    z = torch.randn(2, 6, dtype=torch.float64)
    whole = torch.eye(4, dtype=torch.float64)[[1, 3]]
    torch.testing.assert_close(G(z, whole), G(z, torch.tensor([1, 3])))


def test_weights_start_orthogonal_and_both_nets_take_spectral_norm():
    G, D = tiny(), BigGANDiscriminator(8, 3, channels_unit=2, num_classes=4).double()
    for net in (G, D):
        for name, weight in effective_weights(net).items():
            singular = np.linalg.svd(weight.detach().flatten(1).numpy(), compute_uv=False)
            np.testing.assert_allclose(singular, np.ones_like(singular), atol=1e-6, err_msg=name)
        apply_weight_norm(net, SpectralNorm(exact=True))
    names = list(effective_weights(G))
    assert "blocks.0.norm_1.gain" in names and not any("embedding" in name for name in names)
    assert "class_head.projection" in effective_weights(D)


def test_differentiable_twice():
    norm = VectorConditionalBatchNorm2d(2, 3).double()
    x, c = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 2, 2, 2), (3, 3)))
    assert gradgradcheck(lambda x, c, *_: norm(x, c), (x, c, norm.gain.weight, norm.bias_of.weight))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(z_dim=81), "z_dim must be a multiple of 4"),
        (dict(attention=32, num_classes=0), "needs num_classes"),
        (dict(attention=4), "attention must be a side of the net's maps, 8, 16, 32, got 4"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        BigGANGenerator(32, 3, channels_unit=2, **({"num_classes": 3} | settings))
    with pytest.raises(ValueError, match="needs num_classes"):
        BigGANDiscriminator(32, 3)
    with pytest.raises(ValueError, match="up to 384 px, got 512"):
        BigGANDiscriminator(512, 3, num_classes=2)
