"""Convolutions whose bias costs little to train on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Convolution(torch.autograd.Function):
    """A convolution with a bias, whose gradient is summed apart from the weight's.

    oneDNN computes both in one kernel, which on channels_last tensors takes up to 1.7 times as long as the weight's
    gradient and the sum. The backward pass is made of differentiable operations: derivatives of any order are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, transposed: bool) -> Tensor:
        return _plain(x, weight, bias, stride, padding, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.stride, ctx.padding, ctx.transposed = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        of_x, of_weight = None, None
        if for_x or for_weight:
            stride, padding, dilation, output_padding = [ctx.stride] * 2, [ctx.padding] * 2, [1, 1], [0, 0]
            settings = (None, stride, padding, dilation, ctx.transposed, output_padding, 1)
            mask = [for_x, for_weight, False]
            of_x, of_weight, _ = torch.ops.aten.convolution_backward(grad, x, weight, *settings, mask)
        return of_x, of_weight, grad.sum((0, 2, 3)) if for_bias else None, None, None, None


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool) -> Tensor:
    if transposed:
        return F.conv_transpose2d(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, transposed: bool = False
) -> Tensor:
    """`F.conv2d`, or `F.conv_transpose2d` if `transposed`, of one group: b i h w -> b o h' w'."""
    trained = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if trained and x.device.type == "cpu" and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling()):
        return _Convolution.apply(x, weight, bias, stride, padding, transposed)
    return _plain(x, weight, bias, stride, padding, transposed)


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` with a square kernel, zero padding and one group. b i h w -> b o h' w'."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with a square kernel and one group. b i h w -> b o h' w'."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), transposed=True)
