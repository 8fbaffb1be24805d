"""Spectral normalization of one weight tensor: running singular vectors, sigma, and the normalized weight.

A weight is seen as a matrix in two ways (arXiv:2009.02773): "out", with one row per output
channel, and "in", with one row per input channel. The singular vectors of each view are kept in shapes that
broadcast against the weight, so u v^T needs no reshape and a channels_last weight no copy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class View:
    """A weight as a matrix with one row per index of its dimension `dim`.

    The other dimensions are taken in the order they lie in memory, so that both views of a channels_last
    weight, and one of the two of a contiguous weight, come without a copy. "left" vectors have size 1 on all
    dimensions but `dim`, "right" vectors size 1 on `dim`: u and v of the papers.
    """

    def __init__(self, weight: Tensor, dim: int) -> None:
        strides = weight.stride()
        rest = sorted((d for d in range(weight.dim()) if d != dim), key=lambda d: -strides[d])
        self.order = [dim, *rest]
        self.inverse = [self.order.index(d) for d in range(weight.dim())]
        self.matrix = weight.permute(self.order).flatten(1)
        self.rest = [weight.shape[d] for d in rest]

    def left(self, flat: Tensor) -> Tensor:
        """A vector with an entry per row, in the shape that broadcasts against the weight."""
        return flat.view([-1] + [1] * len(self.rest)).permute(self.inverse)

    def right(self, flat: Tensor) -> Tensor:
        """A vector with an entry per column, in the shape that broadcasts against the weight."""
        return flat.view([1, *self.rest]).permute(self.inverse)

    def flat(self, vector: Tensor) -> Tensor:
        """The way back, of either."""
        return vector.permute(self.order).flatten()

    def sigma(self, left: Tensor, right: Tensor) -> Tensor:
        """u^T W v, a scalar."""
        return torch.dot(self.flat(left), torch.mv(self.matrix, self.flat(right)))

    def power_step(self, left: Tensor, right: Tensor, steps: int, eps: float) -> tuple[Tensor, Tensor]:
        """`steps` rounds of v <- unit(W^T u), u <- unit(W v) (arXiv:1802.05957, algorithm 1).

        `eps` times the old vector is added before each normalization: nothing next to any weight but one of
        zeros, which leaves the vectors as they are instead of turning them into zeros or NaN for good.
        """
        u, v = self.flat(left), self.flat(right)
        for _ in range(steps):
            v = torch.addmv(v, self.matrix.t(), u, beta=eps)
            v = v / torch.linalg.vector_norm(v)
            u = torch.addmv(u, self.matrix, v, beta=eps)
            u = u / torch.linalg.vector_norm(u)
        return self.left(u), self.right(v)


@torch.no_grad()
def top_singular(weight: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exact largest singular value of view `dim` and its left and right vector; float64, no graph.

    By the eigenvectors of the smaller Gram matrix, which is many times cheaper than an SVD. Forming it
    squares the condition number, but the *largest* eigenvalue keeps its relative precision. A weight of zeros
    gets some vectors of length one.
    """
    view = View(weight.detach().double(), dim)
    tall = view.matrix.shape[0] > view.matrix.shape[1]
    matrix = view.matrix.t() if tall else view.matrix
    short = torch.linalg.eigh(matrix @ matrix.t()).eigenvectors[:, -1]
    long = matrix.t() @ short
    sigma = torch.linalg.vector_norm(long)
    long = long / sigma if sigma > 0 else torch.full_like(long, long.numel() ** -0.5)
    u, v = (long, short) if tall else (short, long)
    return sigma, view.left(u), view.right(v)


def mean_sigma(weight: Tensor, pairs: list[tuple[Tensor, Tensor]], dims: tuple[int, ...], eps: float) -> Tensor:
    """The mean of u^T W v over the views in `dims`; 1 where it is not above `eps`.

    Such vectors say nothing about the weight (it is all zeros, or was a moment ago), which is then left as it
    is.
    """
    sigmas = [View(weight, dim).sigma(*pair) for pair, dim in zip(pairs, dims, strict=True)]
    sigma = sigmas[0] if len(sigmas) == 1 else (sigmas[0] + sigmas[1]) * 0.5
    return F.threshold(sigma, eps, 1.0)


class _Normalize(torch.autograd.Function):
    """(W, scale, eps, dims, u, v [, u, v]) -> (scale W / sigma, sigma), the vectors being constants.

    With S = dsigma/dW, the mean of u v^T over the views, dW = (scale g - <g, scale W / sigma> S) / sigma. The
    backward pass is made of differentiable operations on this function's inputs and outputs (sigma is one for
    that reason), hence derivatives of any order are right.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        weight: Tensor, scale: float, eps: float, dims: tuple[int, ...], *vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        sigma = mean_sigma(weight, list(zip(vectors[0::2], vectors[1::2], strict=True)), dims, eps)
        return weight / _over(sigma, scale), sigma

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.scale, _, _, *vectors = inputs
        ctx.save_for_backward(*output, *vectors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor | None, grad_sigma: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        normalized, sigma, *vectors = ctx.saved_tensors
        pairs = list(zip(vectors[0::2], vectors[1::2], strict=True))
        total = None
        if grad is not None:
            view = View(normalized, 0)
            inner = torch.dot(view.matrix.flatten(), view.flat(grad)) / sigma
            total = grad / _over(sigma, ctx.scale)
            for left, right in pairs:
                total = torch.addcmul(total, left * inner, right, value=-1.0 / len(pairs))
        if grad_sigma is not None:
            for left, right in pairs:
                term = left * (grad_sigma / len(pairs)) * right
                total = term if total is None else total + term
        return (total, None, None, None, *(None for _ in vectors))


def _over(sigma: Tensor, scale: float) -> Tensor:
    """sigma / scale, without a kernel for the scale 1 of SN and BSN."""
    return sigma if scale == 1.0 else sigma / scale


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
            for name, (left, right) in enumerate(self._stepped(weight), 1):
                getattr(self, f"u_{name}").copy_(left)
                getattr(self, f"v_{name}").copy_(right)

    def _stepped(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        pairs = zip(self._stored(weight.dtype), self.dims, strict=True)
        return [View(weight, dim).power_step(*pair, self.power_iterations, self.eps) for pair, dim in pairs]

    def vectors(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(u, v) of each view for this weight: the running ones, copied so that `advance` cannot pull them
        away from a pending backward pass; the exact ones; or, with a graph, one power step further than the
        running ones.
        """
        if self.exact:
            exact = [top_singular(weight, dim)[1:] for dim in self.dims]
            return [(u.to(weight.dtype), v.to(weight.dtype)) for u, v in exact]
        if self.differentiate_vectors:
            return self._stepped(weight)
        return [(u.clone(), v.clone()) for u, v in self._stored(weight.dtype)]

    def sigmas(self, weight: Tensor) -> list[Tensor]:
        """u^T W v of each view, scalars without a graph."""
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            weight = self._working(weight.detach())
            pairs = zip(self.vectors(weight), self.dims, strict=True)
            return [View(weight, dim).sigma(*pair) for pair, dim in pairs]

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            working = self._working(weight)
            pairs = self.vectors(working)
            if self.differentiate_vectors and not self.exact:
                sigma = mean_sigma(working, pairs, self.dims, self.eps)
                normalized = working / _over(sigma, self.scale)
            else:
                flat = [vector for pair in pairs for vector in pair]
                normalized, _ = _Normalize.apply(working, self.scale, self.eps, self.dims, *flat)
            if self.gamma is not None:
                normalized = normalized * self.gamma
            return normalized.to(weight.dtype)
