"""Convolutions, and ways around what is slow in them on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Convolution(torch.autograd.Function):
    """(x, weight, bias, ...) -> (convolution, x activated in place, or None without `slope`), faster than torch's two.

    oneDNN computes the gradients of weight and bias in one kernel, which on channels_last tensors takes up to 1.7 times
    as long as the weight's gradient and a sum. The activation's gradient takes the place of the convolution's, which
    nobody else has seen. The backward pass is made of differentiable operations: derivatives of any order are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, slope: float | None, stride: int, padding: int, transposed: bool
    ) -> tuple[Tensor, Tensor | None]:
        if slope is not None:
            activate_(x, slope)
        return _forward(x, weight, bias, stride, padding, transposed), x if slope is not None else None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        x, weight, _, ctx.slope, ctx.stride, ctx.padding, ctx.transposed = inputs
        if ctx.slope is not None:
            ctx.mark_dirty(x)
        ctx.save_for_backward(x, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad, of_activated = grads
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = None, None, None
        if grad is not None:
            for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
            if for_x and not ctx.transposed:
                of_x = _sooner(grad, weight, ctx.stride, ctx.padding)
                for_x = of_x is None
            if for_x or for_weight:
                stride, padding, dilation, output_padding = [ctx.stride] * 2, [ctx.padding] * 2, [1, 1], [0, 0]
                settings = (None, stride, padding, dilation, ctx.transposed, output_padding, 1)
                mask = [for_x, for_weight, False]
                rest, of_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, *settings, mask)
                of_x = rest if for_x else of_x
            of_bias = grad.sum((0, 2, 3)) if for_bias else None
        if of_activated is not None:
            of_x = of_activated if of_x is None else of_x + of_activated
        if ctx.slope is not None and of_x is not None:
            of_x = _activation_backward(of_x, x, ctx.slope, own=of_x is not of_activated)
        return of_x, of_weight, of_bias, None, None, None, None


def activate_(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU of this slope, in place; ReLU if it is 0."""
    return F.leaky_relu(x, slope, inplace=True) if slope else F.relu(x, inplace=True)


def _activation_backward(grad: Tensor, activated: Tensor, slope: float, own: bool) -> Tensor:
    """The gradient before the activation; in place of the one after it where that is our `own` and not needed."""
    ops = torch.ops.aten
    kernel, settings = (ops.leaky_relu_backward, (slope, True)) if slope else (ops.threshold_backward, (0,))
    keys = torch._C._dispatch_key_set(grad)  # vmap, in either of torch's ways, cannot write into a given tensor
    if own and not torch.is_grad_enabled() and "Batched" not in keys and "FuncTorch" not in keys:
        return kernel.grad_input(grad, activated, *settings, grad_input=grad)
    return kernel(grad, activated, *settings)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool) -> Tensor:
    if transposed:
        return F.conv_transpose2d(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool) -> Tensor:
    if not transposed and _few(x, weight, stride, padding):
        return _four_at_once(x, weight, bias)
    if transposed and _small(x, weight, stride, padding):
        return _by_rows(x, weight, bias)
    return _plain(x, weight, bias, stride, padding, transposed)


def _sooner(grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor | None:
    """The gradient for the input of a convolution, or None where oneDNN is as fast."""
    turned = weight.transpose(0, 1)
    if _few(grad, turned, stride, padding):
        return _four_at_once(grad, turned.flip(2, 3), None)
    if not torch.is_grad_enabled() and _small(grad, weight, stride, padding):
        return _by_rows(grad, weight, None)
    return None


def _few(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether this convolution (weight: o i k k) is one that `_four_at_once` computes, and sooner than oneDNN."""
    o, i, *kernel = weight.shape
    return o <= 4 and i >= 16 and kernel == [3, 3] and stride == padding == 1 and not (x.shape[2] % 2 or x.shape[3] % 2)


def _four_at_once(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution (padding 1) of sides that are even, by one of 4x4 and stride 2 for each 2x2 of the outputs.

    Exact. oneDNN computes 16 output channels even if 3 are wanted; here they are 12. b i h w -> b o h w.
    """
    shifted = [F.pad(weight, (right, 1 - right, down, 1 - down)) for down in (0, 1) for right in (0, 1)]
    y = F.conv2d(x, torch.cat(shifted), None if bias is None else bias.repeat(4), stride=2, padding=1)
    y = y.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1)).transpose(2, 3)  # b h/2 2 w/2 2 o
    return y.reshape(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


def _small(x: Tensor, weight: Tensor, stride: int, padding: int) -> bool:
    """Whether this transposed convolution (weight: i o k k) is one that `_by_rows` computes, and sooner than oneDNN."""
    i, _, *kernel = weight.shape
    pixels = x.shape[2] * x.shape[3]
    alike = kernel == [4, 4] and (stride, padding) == (2, 1) and weight.permute(0, 2, 3, 1).is_contiguous()
    return alike and i >= 256 and pixels <= 16 and len(x) * pixels >= 256


def _by_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 4x4 transposed convolution of stride 2 (padding 1) as a matrix product for each row of the kernel, whose parts
    are then added where they overlap.

    Exact. oneDNN goes along the rows of a map, which are too short for it at 4x4. b i h w -> b o 2h 2w.
    """
    (b, i, h, w), o = x.shape, weight.shape[1]
    once = None if bias is None else F.pad(bias.expand(2, o), (0, 0, 1, 1)).flatten()  # each output has one of these
    above, even, odd, below = (
        F.conv_transpose2d(x, weight[:, :, k].transpose(1, 2).reshape(i, -1, 1, 1), once if k in (1, 2) else None)
        .permute(0, 2, 3, 1)
        .unflatten(3, (4, o))  # b h w 4 o
        for k in range(4)
    )
    even[:, 1:] += below[:, :-1]
    odd[:, :-1] += above[:, 1:]
    y = torch.stack([even[..., 1:3, :], odd[..., 1:3, :]], 2)  # b h 2 w 2 o
    for r, row in enumerate((even, odd)):
        y[:, :, r, 1:, 0] += row[:, :, :-1, 3]
        y[:, :, r, :-1, 1] += row[:, :, 1:, 0]
    return y.view(b, 2 * h, 2 * w, o).permute(0, 3, 1, 2)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int = 1,
    padding: int = 0,
    transposed: bool = False,
    slope: float | None = None,
) -> Tensor:
    """`F.conv2d`, or `F.conv_transpose2d` if `transposed`, of one group: b i h w -> b o h' w'.

    With `slope`, x first goes through a leaky ReLU (0: ReLU), in place.
    """
    ours = x.is_cpu and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    trained = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))
    if slope is not None and (not (ours and trained) or x._is_view()):  # two results, of which one changes a view
        x, slope = activate_(x, slope), None
    if not ours:
        return _plain(x, weight, bias, stride, padding, transposed)
    if trained:
        return _Convolution.apply(x, weight, bias, slope, stride, padding, transposed)[0]
    return _forward(x, weight, bias, stride, padding, transposed)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with a square kernel, zero padding and one group. b i h w -> b o h' w'.

    `slope` is that of a leaky ReLU (0: ReLU) which the input goes through first, in place.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)

    def forward(self, x: Tensor, slope: float | None = None) -> Tensor:
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), slope=slope)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with a square kernel and one group; `slope` as in `Conv2d`. b i h w -> b o h' w'."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)

    def forward(self, x: Tensor, slope: float | None = None) -> Tensor:  # type: ignore[override]
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), transposed=True, slope=slope)
