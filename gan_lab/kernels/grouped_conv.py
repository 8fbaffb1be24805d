"""Grouped convolutions whose second derivatives take one kernel each.

Torch's own second derivative of a convolution runs through the groups one by one, also for a weight that needs no
gradient. With R1 and R2, an update of R3GAN's D called 3,963 convolutions; it now calls 135. On a CPU, where a call
costs little beside its arithmetic, a whole step at width 1/8 takes 0.92 of the time; no GPU has measured it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _GroupedConvolution(torch.autograd.Function):
    """(x, weight, bias, groups) -> the convolution of stride 1 that keeps the side.

    The gradient for x is a transposed convolution, whose derivatives are ordinary first ones.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2, groups=groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.groups = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (grad,), (x, weight), (for_x, for_weight, for_bias, _) = grads, ctx.saved_tensors, ctx.needs_input_grad
        of_x, of_weight, padding = None, None, weight.shape[2] // 2
        if for_x:
            of_x = F.conv_transpose2d(grad, weight, padding=padding, groups=ctx.groups)
        if for_weight:
            settings = (None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], ctx.groups, [False, True, False])
            of_weight = torch.ops.aten.convolution_backward(grad, x, weight, *settings)[1]
        return of_x, of_weight, grad.sum((0, 2, 3)) if for_bias else None, None


def grouped_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=k // 2, groups=groups)` of a k x k kernel, k odd: b i h w -> b o h w."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    found: Tensor = _GroupedConvolution.apply(x, weight, bias, groups)
    return found


class _Depthwise(torch.autograd.Function):
    """(x, kernel, stride, padding, transposed, extra) -> each channel filtered by the kernel (1 1 k k).

    The gradient is the same function, transposed. `extra` is the output padding of a transposed filter.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: Tensor, stride: int, padding: int, transposed: bool, extra: list[int]) -> Tensor:
        c = x.shape[1]
        weight = kernel.to(x.dtype).expand(c, 1, *kernel.shape[2:])
        with torch.autocast(x.device.type, enabled=False):  # in the dtype of x also where it is its own gradient
            if transposed:
                return F.conv_transpose2d(x, weight, None, stride, padding, extra, groups=c)
            return F.conv2d(x, weight, None, stride, padding, groups=c)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, kernel, ctx.stride, ctx.padding, ctx.transposed, _ = inputs
        k, pairs = kernel.shape[2], zip(x.shape[2:], output.shape[2:], strict=True)
        ctx.extra = [n - ((out - 1) * ctx.stride - 2 * ctx.padding + k) for n, out in pairs]
        ctx.save_for_backward(kernel)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        extra = [0, 0] if ctx.transposed else ctx.extra
        back = _Depthwise.apply(grads[0], ctx.saved_tensors[0], ctx.stride, ctx.padding, not ctx.transposed, extra)
        return back, None, None, None, None, None


def depthwise_filter(x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0, transposed: bool = False) -> Tensor:
    """Filter each channel of x (b c h w) by one fixed kernel (1 1 k k), as `F.conv2d` or `F.conv_transpose2d`."""
    found: Tensor = _Depthwise.apply(x, kernel, stride, padding, transposed, [0, 0])
    return found
