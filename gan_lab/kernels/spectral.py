"""Spectral normalization of many weights at once, in about a quarter of the kernels of one after the other.

Vectors are small and their kernels cost only their launch, so all vectors of a net lie in one flat tensor: one
kernel scales or normalizes all of them. Only what reads a weight is done once for each weight.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Dims = tuple[int, ...]


@lru_cache(maxsize=1024)
def _order(shape: Dims, strides: Dims, dim: int) -> tuple[Dims, ...]:
    """The dimensions in the order of the matrix and the way back, their sizes in that order, the shapes of "left" and
    "right" vectors, and the strides of the latter.
    """
    rest = sorted((d for d in range(len(shape)) if d != dim), key=lambda d: -strides[d])
    left, right = tuple(-1 if d == dim else 1 for d in range(len(shape))), [*shape]
    right[dim] = 1
    steps = [1] * len(shape)
    for d, inner in zip(reversed(rest[:-1]), reversed(rest[1:]), strict=True):
        steps[d] = steps[inner] * shape[inner]
    order = (dim, *rest)
    inverse = tuple(order.index(d) for d in range(len(shape)))
    return order, inverse, tuple(shape[d] for d in order), left, tuple(right), tuple(steps)


class View:
    """A weight as a matrix with one row per index of its dimension `dim`.

    The other dimensions are taken in the order they lie in memory, so that both views of a channels_last
    weight, and one of the two of a contiguous weight, come without a copy. "left" vectors have size 1 on all
    dimensions but `dim`, "right" vectors size 1 on `dim`: u and v of the papers.
    """

    __slots__ = ("_inverse", "_left", "_order", "_right", "_split", "_strides", "dim", "weight")

    def __init__(self, weight: Tensor, dim: int) -> None:
        self.weight, self.dim = weight, dim
        found = _order(weight.shape, weight.stride(), dim)
        self._order, self._inverse, self._split, self._left, self._right, self._strides = found

    @property
    def matrix(self) -> Tensor:
        return self.of(self.weight)

    def of(self, tensor: Tensor) -> Tensor:
        """The matrix of another tensor of the weight's shape, its entries in the same order."""
        return tensor.permute(self._order).flatten(1)

    def back(self, matrix: Tensor) -> Tensor:
        """A matrix -> a tensor of the weight's shape."""
        return matrix.view(self._split).permute(self._inverse)

    def left(self, flat: Tensor) -> Tensor:
        """A vector with an entry per row, in the shape that broadcasts against the weight."""
        return flat.view(self._left)

    def right(self, flat: Tensor) -> Tensor:
        """A vector (contiguous) with an entry per column, in the shape that broadcasts against the weight."""
        return flat.as_strided(self._right, self._strides)

    def flat(self, vector: Tensor) -> Tensor:
        """The way back, of either; of a tensor of the weight's shape, its entries in the same order."""
        return vector.permute(self._order).flatten()


@lru_cache(maxsize=256)
def _segments(lengths: Dims, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lengths of the pieces of a flat tensor, and for each of its entries the piece it is in."""
    with torch.inference_mode(False):  # a later backward pass may save what is kept here
        counts = torch.tensor(lengths, device=device)
        return counts, torch.repeat_interleave(counts, output_size=sum(lengths))


def _sums(flat: Tensor, lengths: Dims) -> Tensor:
    """The sum of each piece."""
    if flat.device.type == "mps":  # torch has no segment_reduce there
        return flat.new_zeros(len(lengths)).index_add(0, _segments(lengths, flat.device)[1], flat)
    return torch.segment_reduce(flat, "sum", lengths=_segments(lengths, flat.device)[0], unsafe=True)


def _spread(numbers: Tensor, lengths: Dims) -> Tensor:
    """One number per piece -> one per entry."""
    return numbers[_segments(lengths, numbers.device)[1]]


def _unit(vectors: Sequence[Tensor], old: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each vector brought to length one; the old one where its square underflows, as a weight of zeros makes it."""
    lengths = tuple(map(len, vectors))
    flat = torch.cat(list(vectors))
    power = _spread(_sums(flat * flat, lengths), lengths)
    return torch.where(power.bool(), flat * power.rsqrt(), torch.cat(list(old))).split(lengths)


def _views(weights: Sequence[Tensor], dims: Sequence[Dims]) -> list[View]:
    return [View(weight, dim) for weight, of_weight in zip(weights, dims, strict=True) for dim in of_weight]


def address(tensor: Tensor) -> int | None:
    """Where its data lie; None for a tensor of torch.func, which has no data of its own."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return None


class Layout:
    """A weight as the matrix of each of its views, and u, v of each view as flat vectors in the order of its entries.

    `vectors` are u, v of every view, in order, in the shapes of `View.left` and `View.right`. `follows` says that
    nothing here is a copy, so that it stays right when weight and vectors change in place.
    """

    __slots__ = ("dims", "flats", "follows", "matrices", "transposed", "vectors", "views")

    def __init__(self, weight: Tensor, dims: Dims, vectors: Sequence[Tensor]) -> None:
        self.dims, self.vectors = dims, vectors
        self.views = [View(weight.detach(), dim) for dim in dims]
        self.matrices = [view.matrix for view in self.views]
        self.transposed = [matrix.t() for matrix in self.matrices]
        self.flats = [self.views[i // 2].flat(vector.to(weight.dtype)) for i, vector in enumerate(vectors)]
        pairs = [(matrix, weight) for matrix in self.matrices] + list(zip(self.flats, vectors, strict=True))
        self.follows = all(address(mine) == address(given) is not None for mine, given in pairs)

    def store(self) -> None:
        """Put flat vectors that are copies into `vectors`."""
        for i, (flat, vector) in enumerate(zip(self.flats, self.vectors, strict=True)):
            view = self.views[i // 2]
            vector.copy_(view.right(flat) if i % 2 else view.left(flat))


@torch.no_grad()
def advance(layouts: Sequence[Layout], steps: int) -> None:
    """`steps` rounds of v <- unit(W^T u), u <- unit(W v) for every view, in place (arXiv:1802.05957, algorithm 1).

    Both lengths are taken out at the end of a round, which changes neither direction. A weight of zeros leaves its
    vectors as they are.
    """
    pairs = [pair for x in layouts for pair in zip(x.matrices, x.transposed, strict=True)]
    stored = [flat for x in layouts for flat in x.flats]
    old: Sequence[Tensor] = stored
    for _ in range(steps):
        new = []
        for (matrix, transposed), u in zip(pairs, old[0::2], strict=True):
            v = torch.mv(transposed, u)
            new += [torch.mv(matrix, v), v]
        old = _unit(new, old)
    torch._foreach_copy_(stored, list(old))
    for x in layouts:
        if not x.follows:
            x.store()


class _Normalize(torch.autograd.Function):
    """(scale, eps, dims, u v u v ..., W ...) -> (scale W / sigma ..., scale / sigma), the vectors being constants.

    With S = dsigma/dW, the mean of u v^T over the views of a weight, and f = scale / sigma,
    dW = f (g - (<g, f W> + df f) S / scale). The backward pass is made of differentiable operations on the function's
    outputs (f is one for that reason), hence derivatives of any order are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(scale: float, eps: float, dims: tuple[Dims, ...], flat: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        views = _views(weights, dims)
        rows, columns, of_weight = _sizes(tuple(w.shape for w in weights), dims)
        vs = flat.split((sum(rows), *columns))[1:]
        products = torch.cat([torch.mv(w.matrix, v) for w, v in zip(views, vs, strict=True)])
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
        rows, columns, of_weight = _sizes(tuple(w.shape for w in normalized), ctx.dims)
        all_us, *vs = flat.split((sum(rows), *columns))
        if numbers_at_hand(factors) and of_factors is None and not torch.is_grad_enabled():
            pairs = zip(views, all_us.split(rows), vs, strict=True)
            return (None, None, None, None, *_one_by_one(ctx.scale, ctx.dims, given, pairs, factors.tolist()))
        firsts = [views[i] for i in accumulate(map(len, ctx.dims[:-1]), initial=0)]
        share = torch.stack([torch.dot(w.flat(w.weight), w.flat(g)) for w, g in zip(firsts, given, strict=True)])
        if of_factors is not None:
            share = share + of_factors * factors
        if max(map(len, ctx.dims)) > 1:
            share = share / _counts(ctx.dims, share)
        us = (all_us * _spread(share, of_weight)).split(rows)
        pairs = iter(zip(views, us, vs, strict=True))
        total = []
        for grad, factor, of_one in zip(given, factors.unbind(), ctx.dims, strict=True):
            for _ in of_one:
                view, u, v = next(pairs)
                grad = torch.addcmul(grad, view.left(u), view.right(v), value=-1.0 / ctx.scale)
            total.append(grad.mul_(factor))
        return (None, None, None, None, *total)


def numbers_at_hand(tensor: Tensor) -> bool:
    """Whether the program can read numbers of it without waiting for a device, or freezing them in a recorded graph."""
    return tensor.is_cpu


def _one_by_one(
    scale: float,
    dims: tuple[Dims, ...],
    grads: Sequence[Tensor],
    pairs: Iterator[tuple[View, Tensor, Tensor]],
    factors: Sequence[float],
) -> Iterator[Tensor]:
    """The same gradients, weight after weight: each is still in a CPU's cache when it is read again, and its factor
    is a number here, so that no pass of its own multiplies by it.
    """
    for grad, factor, of_one in zip(grads, factors, dims, strict=True):
        total, share, beta = grad, None, factor
        for _ in of_one:
            view, u, v = next(pairs)
            if share is None:
                share = torch.dot(view.flat(view.weight), view.flat(grad))
            alpha = -factor / (scale * len(of_one))
            total = view.back(torch.addr(view.of(total), u * share, v, beta=beta, alpha=alpha))
            beta = 1.0
        yield total


@lru_cache(maxsize=256)
def _sizes(shapes: tuple[Dims, ...], dims: tuple[Dims, ...]) -> tuple[Dims, Dims, Dims]:
    """Rows and columns of every view, and the sum of the rows of each weight's views."""
    pairs = [(shape, dim) for shape, of_weight in zip(shapes, dims, strict=True) for dim in of_weight]
    rows = tuple(shape[dim] for shape, dim in pairs)
    columns = tuple(math.prod(shape) // n for (shape, _), n in zip(pairs, rows, strict=True))
    return rows, columns, tuple(sum(shape[d] for d in own) for shape, own in zip(shapes, dims, strict=True))


def _counts(dims: tuple[Dims, ...], like: Tensor) -> Tensor:
    return _count_tensor(tuple(map(len, dims)), like.dtype, like.device)


@lru_cache(maxsize=256)
def _count_tensor(counts: Dims, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(counts, dtype=dtype, device=device)


def normalize(weights: Sequence[Tensor], layouts: Sequence[Layout], scale: float, eps: float) -> list[Tensor]:
    """scale W / sigma of every weight, sigma the mean of u^T W v over its views; the gradient flows through sigma.

    A weight whose sigma is not above `eps` (all zeros, or u and v of another weight) is only scaled. The vectors are
    copied, so that `advance` cannot pull them away from a pending backward pass.
    """
    us = [u for x in layouts for u in x.flats[0::2]]
    vs = [v for x in layouts for v in x.flats[1::2]]
    return list(_Normalize.apply(scale, eps, tuple(x.dims for x in layouts), torch.cat(us + vs), *weights)[:-1])
