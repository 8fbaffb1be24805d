"""Spectral normalization of many weights at once, in about a quarter of the kernels of one after the other.

Vectors are small and their kernels cost only their launch, so all vectors of a net lie in one flat tensor: one
kernel scales or normalizes all of them. Only what reads a weight is done once for each weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Dims = tuple[int, ...]


@lru_cache(maxsize=1024)
def _order(shape: Dims, strides: Dims, dim: int) -> tuple[Dims, Dims, Dims, Dims]:
    rest = sorted((d for d in range(len(shape)) if d != dim), key=lambda d: -strides[d])
    order = (dim, *rest)
    left, right = (-1, *(1 for _ in rest)), (1, *(shape[d] for d in rest))
    return order, tuple(order.index(d) for d in range(len(shape))), left, right


class View:
    """A weight as a matrix with one row per index of its dimension `dim`.

    The other dimensions are taken in the order they lie in memory, so that both views of a channels_last
    weight, and one of the two of a contiguous weight, come without a copy. "left" vectors have size 1 on all
    dimensions but `dim`, "right" vectors size 1 on `dim`: u and v of the papers.
    """

    __slots__ = ("_inverse", "_left", "_order", "_right", "dim", "matrix", "weight")

    def __init__(self, weight: Tensor, dim: int) -> None:
        self.weight, self.dim = weight, dim
        self._order, self._inverse, self._left, self._right = _order(weight.shape, weight.stride(), dim)
        self.matrix = self.weight.permute(self._order).flatten(1)

    def left(self, flat: Tensor) -> Tensor:
        """A vector with an entry per row, in the shape that broadcasts against the weight."""
        return flat.view(self._left).permute(self._inverse)

    def right(self, flat: Tensor) -> Tensor:
        """A vector with an entry per column, in the shape that broadcasts against the weight."""
        return flat.view(self._right).permute(self._inverse)

    def flat(self, vector: Tensor) -> Tensor:
        """The way back, of either."""
        return vector.permute(self._order).flatten()


@lru_cache(maxsize=256)
def _segments(lengths: Dims, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lengths of the pieces of a flat tensor, and for each of its entries the piece it is in."""
    counts = torch.tensor(lengths, device=device)
    return counts, torch.repeat_interleave(counts)


def _sums(flat: Tensor, lengths: Dims) -> Tensor:
    """The sum of each piece."""
    return torch.segment_reduce(flat, "sum", lengths=_segments(lengths, flat.device)[0], unsafe=True)


def _spread(numbers: Tensor, lengths: Dims) -> Tensor:
    """One number per piece -> one per entry."""
    return numbers[_segments(lengths, numbers.device)[1]]


def _unit(vectors: list[Tensor], old: list[Tensor]) -> tuple[Tensor, ...]:
    """Each vector brought to length one; the old one where its square underflows, as a weight of zeros makes it."""
    lengths = tuple(map(len, vectors))
    flat = torch.cat(vectors)
    power = _spread(_sums(flat * flat, lengths), lengths)
    return torch.where(power.bool(), flat * power.rsqrt(), torch.cat(old)).split(lengths)


def _views(weights: Sequence[Tensor], dims: Sequence[Dims]) -> list[View]:
    return [View(weight, dim) for weight, of_weight in zip(weights, dims, strict=True) for dim in of_weight]


@torch.no_grad()
def advance(weights: Sequence[Tensor], dims: Sequence[Dims], vectors: Sequence[Tensor], steps: int) -> None:
    """`steps` rounds of v <- unit(W^T u), u <- unit(W v) for every view, in place (arXiv:1802.05957, algorithm 1).

    `vectors` are u, v of every view, in order, in the shapes of `View.left` and `View.right`. Both lengths are taken
    out at the end of a round, which changes neither direction. A weight of zeros leaves its vectors as they are.
    """
    views = _views(weights, dims)
    stored = [w.flat(x) for i, w in enumerate(views) for x in vectors[2 * i : 2 * i + 2]]
    old = stored if stored[0].dtype == weights[0].dtype else [x.to(weights[0].dtype) for x in stored]
    for _ in range(steps):
        new = []
        for w, u in zip(views, old[0::2], strict=True):
            v = torch.mv(w.matrix.t(), u)
            new += [torch.mv(w.matrix, v), v]
        old = list(_unit(new, old))
    if all(flat.data_ptr() == x.data_ptr() for flat, x in zip(stored, vectors, strict=True)):
        torch._foreach_copy_(stored, old)
    else:  # a vector lies in memory in another order than its weight: `stored` is a copy
        shaped = [x for w, u, v in zip(views, old[0::2], old[1::2], strict=True) for x in (w.left(u), w.right(v))]
        torch._foreach_copy_(list(vectors), shaped)


class _Normalize(torch.autograd.Function):
    """(scale, eps, dims, u v u v ..., W ...) -> (scale W / sigma ..., scale / sigma), the vectors being constants.

    With S = dsigma/dW, the mean of u v^T over the views of a weight, and f = scale / sigma,
    dW = f g - (<f g, f W> + df f^2) S / scale. The backward pass is made of differentiable operations on the function's
    outputs (f is one for that reason), hence derivatives of any order are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(scale: float, eps: float, dims: tuple[Dims, ...], flat: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        views = _views(weights, dims)
        us, vs = _pieces(flat, views)
        products = torch.cat([torch.mv(w.matrix, v) for w, v in zip(views, vs, strict=True)])
        of_weight = tuple(len(d) * w.shape[d[0]] if len(d) == 1 else w.shape[0] + w.shape[1]
                          for w, d in zip(weights, dims, strict=True))  # fmt: skip
        sigma = _sums(products * flat[: len(products)], of_weight)
        if max(map(len, dims)) > 1:
            sigma = sigma / _counts(dims, sigma)
        factors = F.threshold(sigma, eps, 1.0).reciprocal()
        if scale != 1.0:
            factors = factors * scale
        return (*(w * f for w, f in zip(weights, factors.unbind(), strict=True)), factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.scale, _, ctx.dims, flat, *_ = inputs
        ctx.save_for_backward(flat, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        flat, *normalized, factors = ctx.saved_tensors
        *of_weights, of_factors = grads
        given = [torch.zeros_like(w) if g is None else g for g, w in zip(of_weights, normalized, strict=True)]
        views = _views(normalized, ctx.dims)
        firsts = [views[i] for i in accumulate(map(len, ctx.dims[:-1]), initial=0)]
        scaled = [g * f for g, f in zip(given, factors.unbind(), strict=True)]
        share = torch.stack([torch.dot(w.matrix.flatten(), w.flat(g)) for w, g in zip(firsts, scaled, strict=True)])
        if of_factors is not None:
            share = share + of_factors * factors.square()
        if max(map(len, ctx.dims)) > 1:
            share = share / _counts(ctx.dims, share)
        us, vs = _pieces(flat, views)
        lengths = tuple(sum(w.shape[d] for d in of_weight) for w, of_weight in zip(normalized, ctx.dims, strict=True))
        us = (flat[: sum(lengths)] * _spread(share, lengths)).split([len(u) for u in us])
        pairs = iter(zip(views, us, vs, strict=True))
        total = []
        for grad, of_weight in zip(scaled, ctx.dims, strict=True):
            for _ in of_weight:
                view, u, v = next(pairs)
                grad = torch.addcmul(grad, view.left(u), view.right(v), value=-1.0 / ctx.scale)
            total.append(grad)
        return (None, None, None, None, *total)


def _pieces(flat: Tensor, views: Sequence[View]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The flat tensor of all u and then all v, cut into vectors."""
    rows = [view.weight.shape[view.dim] for view in views]
    columns = [view.weight.numel() // n for view, n in zip(views, rows, strict=True)]
    pieces = flat.split(rows + columns)
    return pieces[: len(views)], pieces[len(views) :]


def _counts(dims: tuple[Dims, ...], like: Tensor) -> Tensor:
    return _count_tensor(tuple(map(len, dims)), like.dtype, like.device)


@lru_cache(maxsize=256)
def _count_tensor(counts: Dims, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(counts, dtype=dtype, device=device)


def normalize(
    weights: Sequence[Tensor], dims: Sequence[Dims], vectors: Sequence[Tensor], scale: float, eps: float
) -> list[Tensor]:
    """scale W / sigma of every weight, sigma the mean of u^T W v over its views; the gradient flows through sigma.

    A weight whose sigma is not above `eps` (all zeros, or u and v of another weight) is only scaled. `vectors` as in
    `advance`; they are copied, so that `advance` cannot pull them away from a pending backward pass.
    """
    views = _views(weights, dims)
    us = [view.flat(u) for view, u in zip(views, vectors[0::2], strict=True)]
    vs = [view.flat(v) for view, v in zip(views, vectors[1::2], strict=True)]
    return list(_Normalize.apply(scale, eps, tuple(dims), torch.cat(us + vs), *weights)[:-1])
