"""BigGAN-deep: blocks against their naive forms, parameters counted by hand, where z and the class enter."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradgradcheck

from gan_lab.nets import BigGANDeepDiscriminator, BigGANDeepGenerator
from gan_lab.nets.biggan_deep import DeepDownBlock, DeepUpBlock


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def conv(i: int, o: int, k: int) -> int:
    return i * o * k * k + o


def test_parameters_counted_by_hand():
    """CIFAR setting: width 128, z 128, shared 128, attention at 16 px."""
    c, d = 512, 256  # channels of G and of D
    block_g = (
        conv(c, 128, 1) + 2 * conv(128, 128, 3) + conv(128, c, 1) + 2 * 256 * (c + 3 * 128)  # gains and biases
    )
    attention_g = 2 * c * c // 8 + 2 * c * c // 2 + 1
    linear = 256 * c * 16 + c * 16
    of_g = 10 * 128 + linear + 6 * block_g + attention_g + 2 * c + conv(c, 3, 3)
    block_d = conv(d, 64, 1) + 2 * conv(64, 64, 3) + conv(64, d, 1)
    of_d = conv(3, d, 3) + 6 * block_d + 2 * d * d // 8 + 2 * d * d // 2 + 1 + (d + 1) + 10 * d
    with torch.device("meta"):
        assert count(BigGANDeepGenerator(32, 3, attention=16, num_classes=10)) == of_g
        assert count(BigGANDeepDiscriminator(32, 3, attention=16, num_classes=10)) == of_d


def relu(x, conv):
    return F.conv2d(F.relu(x), conv.weight, conv.bias, padding=conv.padding)


@pytest.mark.parametrize("up", [False, True])
def test_up_block_is_the_naive_form(up):
    block = DeepUpBlock(8, 8 if not up else 4, up, 3).double()
    x, c = torch.randn(4, 8, 4, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)

    def double(v):
        return F.interpolate(v, scale_factor=2.0, mode="nearest") if up else v

    h = relu(block.norms[0](x, c), block.conv_1)
    h = F.conv2d(double(F.relu(block.norms[1](h, c))), block.conv_2.weight, block.conv_2.bias, padding=1)
    h = relu(block.norms[3](relu(block.norms[2](h, c), block.conv_3), c), block.conv_4)
    torch.testing.assert_close(block(x, c), h + double(x[:, : block.outputs]))


@pytest.mark.parametrize(("outputs", "down"), [(8, False), (8, True), (12, True)])
def test_down_block_is_the_naive_form(outputs, down):
    block = DeepDownBlock(8, outputs, down).double()
    x = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    h = F.relu(relu(relu(relu(x, block.conv_1), block.conv_2), block.conv_3))
    skip = x if outputs == 8 else torch.cat([x, F.conv2d(x, block.shortcut.weight, block.shortcut.bias)], 1)
    h, skip = (F.avg_pool2d(h, 2), F.avg_pool2d(skip, 2)) if down else (h, skip)
    torch.testing.assert_close(block(x), F.conv2d(h, block.conv_4.weight, block.conv_4.bias) + skip)


@pytest.mark.parametrize("resolution", [8, 64])
def test_shapes_and_sides(resolution):
    G = BigGANDeepGenerator(resolution, 3, channels_unit=4, z_dim=5, shared_dim=3, num_classes=4)
    D = BigGANDeepDiscriminator(resolution, 3, channels_unit=4, num_classes=4)
    seen = []
    D.blocks[-1].register_forward_hook(lambda m, i, o: seen.append(o.shape[-1]))
    z, y = G.sample_z(2, "cpu"), torch.tensor([0, 3])
    images = G(z, y)
    assert images.shape == (2, 3, resolution, resolution) and D(images, y).shape == (2,) and seen == [4]
    G.eval()
    assert not torch.equal(G(z, y), G(z, y.flip(0)))


def test_differentiable_twice():
    block = DeepDownBlock(4, 8, True).double()
    x = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x, *_: block(x), (x, block.conv_1.weight, block.shortcut.weight))
