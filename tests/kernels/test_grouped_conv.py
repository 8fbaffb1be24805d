"""The grouped convolution: torch's numbers and derivatives, with far fewer convolutions in the second ones."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, vmap

from gan_lab.kernels.grouped_conv import depthwise_filter, grouped_conv2d
from scripts.benchmarks.operators import operators


def tensors(seed=0, groups=4, width=3, side=5, dtype=torch.float64):
    torch.manual_seed(seed)
    c = groups * width
    shapes = ((2, c, side, side), (c, width, 3, 3), (c,))
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("groups, size", [(1, 3), (4, 3), (4, 1), (4, 5)])
def test_it_is_torchs_convolution(groups, size):
    x, weight, bias = tensors(groups=groups)
    weight = torch.randn(*weight.shape[:2], size, size, dtype=torch.float64, requires_grad=True)
    ours, theirs = grouped_conv2d(x, weight, bias, groups), F.conv2d(x, weight, bias, padding=size // 2, groups=groups)
    assert torch.equal(ours, theirs)
    seen = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight, bias), seen) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_derivatives_of_two_orders():
    inputs = tensors(groups=2, width=2, side=3)
    assert torch.autograd.gradcheck(lambda *t: grouped_conv2d(*t, 2), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: grouped_conv2d(*t, 2), inputs)


def penalty(convolution, x, weight, bias):
    """A gradient penalty through a nonlinearity; returns its gradient for the weights."""
    y = F.silu(convolution(x, weight, bias, 8)).sum()
    (of_x,) = torch.autograd.grad(y, x, create_graph=True)
    return torch.autograd.grad(of_x.square().sum(), (weight, bias))


def test_a_gradient_penalty_is_that_of_torch_with_fewer_convolutions():
    inputs, plain = tensors(groups=8), lambda x, w, b, groups: F.conv2d(x, w, b, padding=1, groups=groups)
    for a, b in zip(penalty(grouped_conv2d, *inputs), penalty(plain, *inputs), strict=True):
        torch.testing.assert_close(a, b)
    ours = operators(lambda: penalty(grouped_conv2d, *inputs))
    theirs = operators(lambda: penalty(plain, *inputs))
    assert ours["convolution"] + ours["convolution_backward"] <= 6
    assert theirs["convolution"] > 8  # else torch has learned it, and the kernel can go


def test_samples_of_their_own_under_vmap():
    x, weight, bias = (t.detach() for t in tensors())
    each = vmap(grad(lambda w, sample: grouped_conv2d(sample[None], w, bias, 4).square().sum()), in_dims=(None, 0))
    for i, found in enumerate(each(weight, x)):
        w = weight.clone().requires_grad_()
        expected = torch.autograd.grad(F.conv2d(x[i : i + 1], w, bias, padding=1, groups=4).square().sum(), w)[0]
        torch.testing.assert_close(found, expected)


def test_under_autocast_it_computes_in_the_lower_precision_as_torch_does():
    inputs = [t.detach().requires_grad_() for t in tensors(dtype=torch.float32)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = grouped_conv2d(*inputs, 4)
        theirs = F.conv2d(*inputs, padding=1, groups=4)
    assert ours.dtype == theirs.dtype == torch.bfloat16 and torch.equal(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(y.float().sum(), inputs) for y in (ours, theirs)), strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.02)


FILTERS = [
    (dict(stride=2, padding=1), 6), (dict(stride=2, padding=1), 7), (dict(stride=2, padding=1, transposed=True), 3),
    (dict(padding=1), 5), (dict(padding=2), 4),
]  # fmt: skip


@pytest.mark.parametrize("settings, side", FILTERS)
def test_a_depthwise_filter_is_torchs_convolution_with_its_derivatives(settings, side):
    torch.manual_seed(3)
    x = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    transposed = settings.get("transposed", False)
    torchs = F.conv_transpose2d if transposed else F.conv2d
    rest = {key: value for key, value in settings.items() if key != "transposed"}
    ours = depthwise_filter(x, kernel, **settings)
    theirs = torchs(x, kernel.expand(3, 1, 4, 4), groups=3, **rest)
    assert torch.equal(ours, theirs)
    seen = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad(y, x, seen) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.gradcheck(lambda t: depthwise_filter(t, kernel, **settings), x)
    assert torch.autograd.gradgradcheck(lambda t: depthwise_filter(t, kernel, **settings), x)


def test_the_second_derivative_of_a_filter_computes_nothing_for_its_kernel():
    x, kernel = torch.randn(2, 16, 8, 8, requires_grad=True), torch.randn(1, 1, 4, 4)

    def second(convolve):
        def work():
            (of_x,) = torch.autograd.grad(F.silu(convolve(x)).sum(), x, create_graph=True)
            of_x.square().sum().backward()

        return operators(work)["convolution"]

    assert second(lambda t: depthwise_filter(t, kernel, stride=2, padding=1)) <= 6
    theirs = second(lambda t: F.conv2d(t, kernel.expand(16, 1, 4, 4), stride=2, padding=1, groups=16))
    assert theirs >= 16  # else torch has learned it, and the kernel can go


def test_a_filter_of_each_sample_under_vmap():
    x, kernel = torch.randn(3, 2, 6, 6), torch.randn(1, 1, 4, 4)
    settings = dict(stride=2, padding=1)
    found = vmap(grad(lambda t: depthwise_filter(t[None], kernel, **settings).square().sum()))(x)
    for i in range(3):
        t = x[i : i + 1].clone().requires_grad_()
        plain = F.conv2d(t, kernel.expand(2, 1, 4, 4), groups=2, **settings)
        torch.testing.assert_close(found[i : i + 1], torch.autograd.grad(plain.square().sum(), t)[0])


def test_a_filter_of_fp32_has_a_gradient_of_fp32_under_autocast():
    """StyleGAN2 sums its images in fp32; a gradient taken inside autocast had the precision of bf16."""
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 3, 8, 8, requires_grad=True), torch.rand(1, 1, 4, 4)

    def of_x():
        y = depthwise_filter(x, kernel, stride=2, padding=1, transposed=True)
        return y, *torch.autograd.grad(y.square().sum(), x)

    (plain, expected), autocast = of_x(), torch.autocast("cpu", torch.bfloat16)
    with autocast:
        y, found = of_x()
    assert y.dtype == found.dtype == torch.float32
    assert torch.equal(y, plain) and torch.equal(found, expected)
