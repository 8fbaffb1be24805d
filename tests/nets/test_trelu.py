"""TReLU, TPReLU and the affine of each channel, by hand and to the second derivative."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.nets.trelu import ChannelAffine, TPReLU, TReLU


def test_trelu_and_tprelu_by_hand():
    x = torch.tensor([[-3.0, 0.5], [2.0, 4.0]])
    t = TReLU(2)
    assert torch.equal(t(x), torch.tensor([[0.0, 0.5], [2.0, 4.0]]))
    with torch.no_grad():
        t.offset.copy_(torch.tensor([-1.0, 3.0]))
    assert torch.equal(t(x), torch.tensor([[-1.0, 3.0], [2.0, 4.0]]))
    p = TPReLU(2)
    assert torch.equal(p.slope, torch.full((2,), 0.25)) and not p.offset.any()
    with torch.no_grad():
        p.offset.copy_(torch.tensor([-1.0, 3.0]))
        p.slope.copy_(torch.tensor([0.5, -7.0]))  # below 0 counts as 0
    torch.testing.assert_close(p(x), torch.tensor([[-2.0, 3.0], [2.0, 4.0]]))
    with torch.no_grad():
        p.slope.copy_(torch.tensor([0.5, 7.0]))  # above 1 counts as 1: the identity
    torch.testing.assert_close(p(x)[:, 1], x[:, 1])
    maps = x[:, :, None, None].expand(2, 2, 3, 3)
    torch.testing.assert_close(p(maps), p(x)[:, :, None, None].expand(2, 2, 3, 3))


def test_affine_starts_as_the_identity():
    x = torch.randn(2, 3, 4, 4)
    layer = ChannelAffine(3)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.gain.copy_(torch.tensor([1.0, 2.0, 3.0]))
        layer.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    torch.testing.assert_close(layer(x)[:, 2], 3 * x[:, 2] - 1)


@pytest.mark.parametrize("make", [TReLU, TPReLU, ChannelAffine])
def test_differentiable_twice(make):
    layer = make(3).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    params = list(layer.parameters())
    assert gradcheck(lambda x, *_: layer(x), (x, *params))
    assert gradgradcheck(lambda x, *_: layer(x).square(), (x, *params))
