"""Spectral normalization of one weight tensor: running singular vectors, sigma, and the normalized weight.

A weight is seen as a matrix in two ways (arXiv:2009.02773): "out", with one row per output
channel, and "in", with one row per input channel. The singular vectors of each view are kept in shapes that
broadcast against the weight, so u v^T needs no reshape and a channels_last weight no copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def unfold_rows(weight: Tensor, dim: int) -> tuple[Tensor, list[int]]:
    """`weight` as the matrix (size of `dim`) x (all the rest), and the order its dimensions were taken in.

    Both views of a channels_last weight and the first one of a contiguous weight come without a copy.
    """
    rest = [d for d in range(weight.dim()) if d != dim]
    strides = weight.stride()
    rest.sort(key=lambda d: -strides[d])
    order = [dim, *rest]
    return weight.permute(order).flatten(1), order


def _times_right(weight: Tensor, right: Tensor, dim: int) -> Tensor:
    """The matrix of view `dim` times the vector `right` (1 on `dim`); the result has 1 everywhere else."""
    matrix, order = unfold_rows(weight, dim)
    product = torch.mv(matrix, right.permute(order).flatten())
    return product.view([-1 if d == dim else 1 for d in range(weight.dim())])


def _times_left(weight: Tensor, left: Tensor, dim: int) -> Tensor:
    """The transposed matrix of view `dim` times the vector `left`; the result has 1 on `dim`."""
    matrix, order = unfold_rows(weight, dim)
    product = torch.mv(matrix.t(), left.flatten()).view([1, *(weight.shape[d] for d in order[1:])])
    return product.permute([order.index(d) for d in range(weight.dim())])


def _unit(vector: Tensor, fallback: Tensor, eps: float) -> Tensor:
    """`vector` at length one, or `fallback` where it has none to speak of (a weight of zeros has no
    direction).
    """
    length = torch.linalg.vector_norm(vector)
    return torch.where(length > eps, vector / length.clamp_min(eps), fallback)


def top_singular(weight: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exact largest singular value of view `dim` and its vectors, broadcastable against the weight; float64,
    no graph.

    By the eigenvectors of the smaller Gram matrix, which is many times cheaper than an SVD. Forming it
    squares the condition number, but the *largest* eigenvalue keeps its relative precision.
    """
    with torch.no_grad():
        w = weight.detach().double()
        matrix, order = unfold_rows(w, dim)
        tall = matrix.shape[0] > matrix.shape[1]
        gram = matrix.t() @ matrix if tall else matrix @ matrix.t()
        vector = torch.linalg.eigh(gram).eigenvectors[:, -1]
        if tall:
            right = vector.view([1, *(w.shape[d] for d in order[1:])]).permute(
                [order.index(d) for d in range(w.dim())]
            )
            left = _times_right(w, right, dim)
            sigma = torch.linalg.vector_norm(left)
            return sigma, _unit(left, torch.full_like(left, left.numel() ** -0.5), 1e-300), right.contiguous()
        left = vector.view([-1 if d == dim else 1 for d in range(w.dim())])
        right = _times_left(w, left, dim)
        sigma = torch.linalg.vector_norm(right)
        return sigma, left, _unit(right, torch.full_like(right, right.numel() ** -0.5), 1e-300).contiguous()


def power_step(
    weight: Tensor, left: Tensor, right: Tensor, dim: int, steps: int, eps: float
) -> tuple[Tensor, Tensor]:
    """`steps` rounds of v <- unit(W^T u), u <- unit(W v) (arXiv:1802.05957, algorithm 1)."""
    for _ in range(steps):
        right = _unit(_times_left(weight, left, dim), right, eps)
        left = _unit(_times_right(weight, right, dim), left, eps)
    return left, right


def bilinear(weight: Tensor, left: Tensor, right: Tensor, dim: int) -> Tensor:
    """u^T W v of view `dim`, a scalar."""
    return torch.dot(left.flatten(), _times_right(weight, right, dim).flatten())


class _Normalize(torch.autograd.Function):
    """(W, scale, eps, [dim, u, v], [dim, u, v]) -> (scale W / sigma, sigma), u and v constants.

    sigma is the mean of u^T W v over the views that are given, with dsigma/dW = S = mean of u v^T, so that dW
    = (scale g - <g, scale W / sigma> S) / sigma. The backward pass is made of differentiable operations on
    this function's inputs and outputs (sigma is one for that reason), hence derivatives of any order are
    right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        weight: Tensor, scale: float, eps: float, dims: tuple[int, ...], *vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        pairs = zip(vectors[0::2], vectors[1::2], dims, strict=True)
        sigma = torch.stack([bilinear(weight, u, v, d) for u, v, d in pairs]).mean() if len(dims) > 1 else (
            bilinear(weight, vectors[0], vectors[1], dims[0])
        )  # fmt: skip
        # Vectors that fit no longer (a weight that was all zeros a moment ago) say nothing: the weight stays
        # as it is.
        sigma = torch.where(sigma > eps, sigma, torch.ones_like(sigma))
        return weight * (scale / sigma), sigma

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.scale, _, _, *vectors = inputs
        ctx.save_for_backward(*output, *vectors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_sigma: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        normalized, sigma, *vectors = ctx.saved_tensors
        lefts, rights = vectors[0::2], vectors[1::2]
        slope, total = grad_sigma, None
        if grad is not None:
            inner = (grad * normalized).sum() / sigma
            slope = -inner if slope is None else slope - inner
            total = grad * (ctx.scale / sigma)
        if slope is not None:
            slope = slope / len(lefts)
            for left, right in zip(lefts, rights, strict=True):
                total = slope * left * right if total is None else torch.addcmul(total, slope * left, right)
        return (total, None, None, None, *(None for _ in vectors))


class SpectralWeight(nn.Module):
    """The parametrization W -> scale * gamma * W / sigma that `SpectralNorm` puts on one layer.

    `out_dim` is the weight's dimension of output channels. Reading the weight never changes the vectors;
    `advance` does. Buffers `u_1, v_1` belong to the "out" view, `u_2, v_2` to the "in" view. The two views of
    a 1x1 kernel or a Linear are transposes of each other, so one pair serves both there.
    """

    def __init__(
        self,
        weight: Tensor,
        out_dim: int,
        *,
        bidirectional: bool,
        scale: float,
        power_iterations: int,
        exact: bool,
        differentiate_vectors: bool,
        eps: float,
        gamma: nn.Parameter | None,
    ) -> None:
        super().__init__()
        self.bidirectional, self.scale, self.power_iterations = bidirectional, scale, power_iterations
        self.exact, self.differentiate_vectors, self.eps = exact, differentiate_vectors, eps
        both = bidirectional and weight[0, 0].numel() > 1
        self.dims = (out_dim, 1 - out_dim) if both else (out_dim,)
        for name, dim in enumerate(self.dims, 1):
            _, left, right = top_singular(weight, dim)
            kind = torch.promote_types(weight.dtype, torch.float32)
            self.register_buffer(f"u_{name}", left.to(kind))
            self.register_buffer(f"v_{name}", right.to(kind))
        self.gamma = gamma

    def _working(self, weight: Tensor) -> Tensor:
        return weight.to(torch.promote_types(weight.dtype, torch.float32))

    def _stored(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        names = range(1, len(self.dims) + 1)
        return [(getattr(self, f"u_{n}").to(dtype), getattr(self, f"v_{n}").to(dtype)) for n in names]

    @torch.no_grad()
    def advance(self, weight: Tensor) -> None:
        """One optimizer step's worth of power iteration towards `weight`, kept in the buffers."""
        if self.exact:
            return
        weight = self._working(weight.detach())
        with torch.autocast(weight.device.type, enabled=False):
            for name, (pair, dim) in enumerate(zip(self._stored(weight.dtype), self.dims, strict=True), 1):
                left, right = power_step(weight, *pair, dim, self.power_iterations, self.eps)
                getattr(self, f"u_{name}").copy_(left)
                getattr(self, f"v_{name}").copy_(right)

    def vectors(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(u, v) of each view for this weight: the running ones, copied so that `advance` cannot pull them
        away from a pending backward pass; the exact ones; or one more power step with a graph.
        """
        if self.exact:
            return [tuple(x.to(weight.dtype) for x in top_singular(weight, d)[1:]) for d in self.dims]  # type: ignore[misc]
        if self.differentiate_vectors:
            pairs = zip(self._stored(weight.dtype), self.dims, strict=True)
            return [power_step(weight, *pair, d, self.power_iterations, self.eps) for pair, d in pairs]
        return [(u.clone(), v.clone()) for u, v in self._stored(weight.dtype)]

    def sigmas(self, weight: Tensor) -> list[Tensor]:
        """u^T W v of each view, scalars without a graph."""
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            weight = self._working(weight.detach())
            pairs = zip(self.vectors(weight), self.dims, strict=True)
            return [bilinear(weight, *pair, d) for pair, d in pairs]

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            working = self._working(weight)
            pairs = self.vectors(working)
            if self.differentiate_vectors and not self.exact:
                sigma = torch.stack(
                    [bilinear(working, *p, d) for p, d in zip(pairs, self.dims, strict=True)]
                ).mean()
                normalized = working * (
                    self.scale / torch.where(sigma > self.eps, sigma, torch.ones_like(sigma))
                )
            else:
                flat = [x for pair in pairs for x in pair]
                normalized, _ = _Normalize.apply(working, self.scale, self.eps, self.dims, *flat)
            if self.gamma is not None:
                normalized = normalized * self.gamma
            return normalized.to(weight.dtype)
