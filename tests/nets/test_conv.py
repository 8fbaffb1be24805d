"""Convolutions with a gradient of the bias of their own: against torch's, and against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.nets import conv
from gan_lab.nets.conv import Conv2d, ConvTranspose2d, convolve

CASES = [(3, 1, 1, False), (4, 2, 1, False), (1, 1, 0, False), (4, 2, 1, True), (3, 1, 0, True)]
NAMES = ["3x3", "4x4/2", "1x1", "transposed 4x4/2", "transposed 3x3"]


def tensors(kernel, transposed, channels_last=False):
    torch.manual_seed(0)
    shape = (3, 2, kernel, kernel) if transposed else (2, 3, kernel, kernel)
    found = [torch.randn(s, dtype=torch.float64) for s in ((2, 3, 4, 6), shape, (2,))]
    if channels_last:
        found[:2] = [t.contiguous(memory_format=torch.channels_last) for t in found[:2]]
    return [t.requires_grad_() for t in found]


@pytest.mark.parametrize(("kernel", "stride", "padding", "transposed"), CASES, ids=NAMES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_values_and_gradients_are_torchs(kernel, stride, padding, transposed, channels_last):
    given = tensors(kernel, transposed, channels_last)
    torchs = F.conv_transpose2d if transposed else F.conv2d
    ours, expected = convolve(*given, stride, padding, transposed), torchs(*given, stride, padding)
    assert type(ours.grad_fn).__name__ == "_ConvolutionBackward"
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(expected)
    pairs = zip(torch.autograd.grad(ours, given, probe), torch.autograd.grad(expected, given, probe), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
        assert mine.stride() == theirs.stride()


@pytest.mark.parametrize(("kernel", "stride", "padding", "transposed"), CASES, ids=NAMES)
def test_derivatives_of_first_and_second_order(kernel, stride, padding, transposed):
    given = tensors(kernel, transposed)
    assert gradcheck(lambda *t: convolve(*t, stride, padding, transposed), given)
    assert gradgradcheck(lambda *t: convolve(*t, stride, padding, transposed), given)


@pytest.mark.parametrize("trained", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_only_what_is_asked_for_is_computed(trained, monkeypatch):
    """The convolution's backward pass runs for the input and the weight, and for nothing else."""
    given = [t.detach().requires_grad_(i in trained) for i, t in enumerate(tensors(3, False))]
    masks, real = [], torch.ops.aten.convolution_backward

    class Ops:
        @staticmethod
        def convolution_backward(*args):
            masks.append(args[-1])
            return real(*args)

    monkeypatch.setattr(conv.torch.ops, "aten", Ops)
    convolve(*given, 1, 1).sum().backward()
    assert [t.grad is not None for t in given] == [i in trained for i in range(3)]
    bias_trained = 2 in trained  # else torch's own function runs, which this does not see
    asked = bias_trained and (0 in trained or 1 in trained)
    assert masks == ([[0 in trained, 1 in trained, False]] if asked else [])


def test_jacobians_by_vmap_are_right():
    x, weight, bias = tensors(3, False)
    ours = torch.func.jacrev(lambda x: convolve(x, weight, bias, 1, 1).sum((0, 2, 3)))(x.detach())
    expected = torch.func.jacrev(lambda x: F.conv2d(x, weight, bias, 1, 1).sum((0, 2, 3)))(x.detach())
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (Conv2d(3, 5, 3, padding=1), nn.Conv2d(3, 5, 3, padding=1)),
        (Conv2d(3, 5, 4, stride=2, padding=1, bias=False), nn.Conv2d(3, 5, 4, stride=2, padding=1, bias=False)),
        (ConvTranspose2d(3, 5, 4, 2, 1), nn.ConvTranspose2d(3, 5, 4, 2, 1)),
    ],
    ids=["conv", "no bias", "transposed"],
)
def test_layers_are_torchs_with_the_same_state(ours, torchs):
    assert isinstance(ours, type(torchs))
    torchs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ours(x), torchs(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(x).dtype == torch.bfloat16
        assert torch.equal(ours(x), torchs(x))
    with torch.no_grad():
        assert torch.equal(ours(x), torchs(x))
