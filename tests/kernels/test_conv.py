"""Convolutions that go around what is slow in torch's: against torch's, and against finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.kernels import conv
from gan_lab.kernels.conv import Conv2d, ConvTranspose2d, convolve

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


@pytest.mark.slow
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
    asked = 0 in trained or 1 in trained
    assert masks == ([[0 in trained, 1 in trained, False]] if asked else [])


def test_jacobians_by_vmap_are_right():
    x, weight, bias = tensors(3, False)
    ours = torch.func.jacrev(lambda x: convolve(x, weight, bias, 1, 1).sum((0, 2, 3)))(x.detach())
    expected = torch.func.jacrev(lambda x: F.conv2d(x, weight, bias, 1, 1).sum((0, 2, 3)))(x.detach())
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def both_ways(inputs, outputs, sides=(4, 6), bias=True, channels_last=True):
    torch.manual_seed(1)
    shapes = [(2, inputs, *sides), (outputs, inputs, 3, 3), (outputs,)]
    found = [torch.randn(s, dtype=torch.float64) for s in shapes[: 3 if bias else 2]]
    if channels_last:
        found[:2] = [t.contiguous(memory_format=torch.channels_last) for t in found[:2]]
    return [t.requires_grad_() for t in found]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 3), (17, 1), (20, 4), (3, 16), (1, 18), (16, 5), (15, 3)])
def test_few_channels_come_out_as_many_do(inputs, outputs, bias, channels_last, monkeypatch):
    """Images from 16 channels or more, or gradients of images: four pixels at once, as the count of calls says."""
    given = both_ways(inputs, outputs, bias=bias, channels_last=channels_last)
    calls, real = [], conv._four_at_once
    monkeypatch.setattr(conv, "_four_at_once", lambda *a: calls.append(1) or real(*a))
    ours = convolve(*given, *([] if bias else [None]), 1, 1)
    expected = F.conv2d(*given, padding=1)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(convolve(*given, *([] if bias else [None]), 1, 1), ours)
    probe = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, given, probe) for y in (ours, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    images_out, images_in = outputs <= 4 and inputs >= 16, inputs <= 4 and outputs >= 16
    assert len(calls) == 2 * images_out + images_in


@pytest.mark.parametrize("shapes", [(16, 2, (2, 4)), (2, 16, (4, 2)), (16, 2, (3, 4))], ids=["out", "in", "odd"])
def test_few_channels_have_derivatives_of_second_order(shapes):
    given = both_ways(*shapes)
    assert gradcheck(lambda *t: convolve(*t, 1, 1), given, fast_mode=True)
    assert gradgradcheck(lambda *t: convolve(*t, 1, 1), given, fast_mode=True)


SMALL = (16, 256, 4, 4, 3)  # b i h w o
SIZES = [SMALL, (43, 256, 2, 3, 3), (15, 256, 4, 4, 3), (16, 255, 4, 4, 3), (16, 256, 4, 5, 3)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("b", "i", "h", "w", "o"), SIZES)
def test_small_maps_come_out_as_large_ones_do(b, i, h, w, o, bias, monkeypatch):
    """Doubled, and as the gradient of halving; by rows where they are small and many, as the count of calls says."""
    torch.manual_seed(0)
    sizes, last = [(b, i, h, w), (i, o, 4, 4), (o,)], torch.channels_last
    given = [torch.randn(size, dtype=torch.float64) for size in sizes[: 3 if bias else 2]]
    given = [(t.contiguous(memory_format=last) if t.dim() == 4 else t).requires_grad_() for t in given]
    calls, real = [], conv._by_rows
    monkeypatch.setattr(conv, "_by_rows", lambda *a: calls.append(1) or real(*a))
    ours = convolve(*given, *([] if bias else [None]), 2, 1, transposed=True)
    expected = F.conv_transpose2d(*given, stride=2, padding=1)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    assert ours.is_contiguous(memory_format=last)
    probe = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, given, probe) for y in (ours, expected))
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)
    assert len(calls) == (b * h * w >= 256 and i >= 256 and h * w <= 16)

    calls.clear()
    image = torch.randn(b, o, 2 * h, 2 * w, dtype=torch.float64).contiguous(memory_format=last).requires_grad_()
    halved = convolve(image, given[1], None, 2, 1)
    probe = torch.randn_like(halved)
    expected = torch.autograd.grad(F.conv2d(image, given[1], stride=2, padding=1), image, probe)[0]
    assert not calls
    torch.testing.assert_close(torch.autograd.grad(halved, image, probe, retain_graph=True)[0], expected)
    assert len(calls) == (b * h * w >= 256 and i >= 256 and h * w <= 16)
    (again,) = torch.autograd.grad(halved, image, probe, create_graph=True)
    torch.testing.assert_close(again, expected)
    (second,) = torch.autograd.grad(again.square().sum(), given[1])
    (straight,) = torch.autograd.grad(F.conv2d(image, given[1], stride=2, padding=1), image, probe, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(straight.square().sum(), given[1])[0])


def test_small_maps_under_vmap():
    torch.manual_seed(0)
    b, i, h, w, o = SMALL
    x, weight = torch.randn(2, b, i, h, w, dtype=torch.float64), torch.randn(i, o, 4, 4, dtype=torch.float64)
    weight = weight.contiguous(memory_format=torch.channels_last)
    for trained in (False, True):
        bias = torch.randn(o, dtype=torch.float64, requires_grad=trained)
        ours = torch.func.vmap(lambda x, bias=bias: convolve(x, weight, bias, 2, 1, transposed=True))(x)
        expected = torch.stack([F.conv_transpose2d(one, weight, bias, stride=2, padding=1) for one in x])
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def reference(x, weight, bias, kernel, stride, padding, transposed, slope):
    x = F.leaky_relu(x, slope) if slope else F.relu(x)
    return (F.conv_transpose2d if transposed else F.conv2d)(x, weight, bias, stride, padding)


@pytest.mark.slow
@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_an_activation_before_it_is_torchs(case, slope):
    kernel, stride, padding, transposed = case
    given = tensors(kernel, transposed)
    before = given[0] * 1.0
    ours = convolve(before, *given[1:], stride, padding, transposed, slope)
    assert type(ours.grad_fn).__name__ == "_ConvolutionBackward"
    assert torch.equal(before, F.leaky_relu(given[0], slope)), "in place"
    expected = reference(*given, *case, slope)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(expected)
    mine, theirs = (torch.autograd.grad(y, given, probe) for y in (ours, expected))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda x, *t: convolve(x * 1.0, *t, stride, padding, transposed, slope), given)
    assert gradgradcheck(lambda x, *t: convolve(x * 1.0, *t, stride, padding, transposed, slope), given)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_an_activation_is_right_where_others_use_it_too(slope):
    """The activated tensor, of which the caller has the name, may be read; its gradient is nobody's to change."""
    given = tensors(3, False)
    before = given[0] * 1.0
    loss = (convolve(before, *given[1:], 1, 1, slope=slope) ** 2).sum() + (probe := torch.randn_like(before)).mul(
        before
    ).sum()
    kept = probe.clone()
    activated = F.leaky_relu(given[0], slope)
    expected = (F.conv2d(activated, *given[1:], padding=1) ** 2).sum() + (probe * activated).sum()
    torch.testing.assert_close(loss, expected)
    pairs = zip(torch.autograd.grad(loss, given), torch.autograd.grad(expected, given), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in pairs)
    assert torch.equal(probe, kept)
    before = given[0] * 1.0
    convolve(before, *given[1:], 1, 1, slope=slope)  # whose result is not used
    (found,) = torch.autograd.grad(before, given[:1], probe)
    assert torch.equal(probe, kept)
    torch.testing.assert_close(found, probe * torch.where(given[0] > 0, 1.0, slope))


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_gradient_takes_the_place_of_the_convolutions(slope, monkeypatch):
    """One tensor less in each backward pass; not where a second derivative is to come."""
    seen, real = [], torch.ops.aten.convolution_backward

    class Ops:
        leaky_relu_backward, threshold_backward = torch.ops.aten.leaky_relu_backward, torch.ops.aten.threshold_backward

        @staticmethod
        def convolution_backward(*args):
            seen.append(real(*args))
            return seen[-1]

    monkeypatch.setattr(conv.torch.ops, "aten", Ops)
    for second in (False, True):
        seen.clear()
        given = tensors(3, False)
        before = given[0] * 1.0
        of_x = []
        before.register_hook(of_x.append)
        y = convolve(before, *given[1:], 1, 1, slope=slope)
        torch.autograd.grad(y.sum(), given, create_graph=second)
        assert (of_x[0].data_ptr() == seen[0][0].data_ptr()) is not second


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_an_activation_of_a_view_and_without_gradients(slope):
    given = tensors(3, False)
    x, weight, bias = given
    expected = reference(*given, 3, 1, 1, False, slope)
    view = (x * 1.0).transpose(2, 3).contiguous().transpose(2, 3)
    ours = convolve(view, weight, bias, 1, 1, slope=slope)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    pairs = zip(torch.autograd.grad(ours.sum(), given), torch.autograd.grad(expected.sum(), given), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in pairs)
    with torch.no_grad():
        torch.testing.assert_close(convolve(x * 1.0, weight, bias, 1, 1, slope=slope), expected)
    with torch.autocast("cpu", torch.bfloat16):
        low = convolve(x.float() * 1.0, weight.float(), bias.float(), 1, 1, slope=slope)
        assert low.dtype == torch.bfloat16
        torch.testing.assert_close(low.double(), expected, rtol=0.05, atol=0.1)
    by_vmap, straight = (
        torch.func.jacrev(f)(x.detach())
        for f in (
            lambda x: convolve(x * 1.0, weight, bias, 1, 1, slope=slope).sum((0, 2, 3)),
            lambda x: reference(x, weight, bias, 3, 1, 1, False, slope).sum((0, 2, 3)),
        )
    )
    torch.testing.assert_close(by_vmap, straight, rtol=1e-12, atol=1e-12)
    y = convolve(x * 1.0, weight, bias, 1, 1, slope=slope)
    probes = torch.randn(3, *y.shape, dtype=y.dtype)
    (many,) = torch.autograd.grad(y, x, probes, is_grads_batched=True, retain_graph=True)
    for probe, found in zip(probes, many, strict=True):
        torch.testing.assert_close(found, torch.autograd.grad(y, x, probe, retain_graph=True)[0])


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
