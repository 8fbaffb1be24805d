"""Spectral normalization of one weight tensor: running singular vectors, sigma, and the normalized weight.

A weight is seen as a matrix in two ways (arXiv:2009.02773): "out", with one row per output
channel, and "in", with one row per input channel. The singular vectors of each view are kept in shapes that
broadcast against the weight, so u v^T needs no reshape and a channels_last weight no copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab import linalg
from gan_lab.kernels import spectral as joint
from gan_lab.kernels.spectral import Layout, View

_FULL = (torch.float32, torch.float64)


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
    short = linalg.eigh(matrix @ matrix.t())[1][:, -1].contiguous()  # as `View.right` takes it
    long = matrix.t() @ short
    sigma = torch.linalg.vector_norm(long)
    long = long / sigma if sigma > 0 else torch.full_like(long, long.numel() ** -0.5)
    u, v = (long, short) if tall else (short, long)
    return sigma, view.left(u), view.right(v)


def sigma_of(weight: Tensor, dim: int, left: Tensor, right: Tensor) -> Tensor:
    """u^T W v of one view, a scalar."""
    view = View(weight, dim)
    return torch.dot(view.flat(left), torch.mv(view.matrix, view.flat(right)))


def mean_sigma(weight: Tensor, pairs: list[tuple[Tensor, Tensor]], dims: tuple[int, ...], eps: float) -> Tensor:
    """The mean of u^T W v over the views in `dims`; 1 where it is not above `eps`.

    Such vectors say nothing about the weight (it is all zeros, or was a moment ago), which is then left as it
    is.
    """
    sigmas = [sigma_of(weight, dim, *pair) for pair, dim in zip(pairs, dims, strict=True)]
    sigma = sigmas[0] if len(sigmas) == 1 else (sigmas[0] + sigmas[1]) * 0.5
    return F.threshold(sigma, eps, 1.0)


def power_step(view: View, left: Tensor, right: Tensor, steps: int, eps: float) -> tuple[Tensor, Tensor]:
    """What `joint.advance` does, for one view, out of place and with a graph."""
    u, v = view.flat(left), view.flat(right)
    for _ in range(steps):
        v = torch.addmv(v, view.matrix.t(), u, beta=eps)
        v = v / torch.linalg.vector_norm(v)
        u = torch.addmv(u, view.matrix, v, beta=eps)
        u = u / torch.linalg.vector_norm(u)
    return view.left(u), view.right(v)


def _over(sigma: Tensor, scale: float) -> Tensor:
    """sigma / scale, without a kernel for the scale 1 of SN and BSN."""
    return sigma if scale == 1.0 else sigma / scale


class SpectralWeight(nn.Module):
    """The parametrization W -> scale * gamma * W / sigma that `SpectralNorm` puts on one layer.

    `out_dim` is the weight's dimension of output channels. Reading the weight never changes the vectors;
    `advance_together` does. Buffers `u_1, v_1` belong to the "out" view, `u_2, v_2` to the "in" view. The two views of
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
        self._layout: tuple[tuple[Any, ...], Layout] | None = None  # with where in memory it was made from
        self.ready: Tensor | None = None  # scale * W / sigma, where `normalized_together` has computed it

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can record a read of the weight: exact vectors are computed on the CPU."""
        return not self.exact

    @property
    def joint(self) -> bool:
        """Whether u and v are the stored ones, so that many layers can be normalized together."""
        return not (self.exact or self.differentiate_vectors)

    def stored_vectors(self) -> list[Tensor]:
        """u_1, v_1 [, u_2, v_2]: the buffers themselves."""
        return list(self._buffers.values())  # type: ignore[arg-type]

    def layout(self, weight: Tensor) -> Layout:
        """The weight with the stored vectors; that of the last call where both still lie where they did."""
        vectors = self.stored_vectors()
        if not isinstance(weight, nn.Parameter):  # computed, or a tensor of torch.func, which has no address
            return Layout(weight, self.dims, vectors)
        where = (weight.stride(), weight.dtype, *[x.data_ptr() for x in (weight, *vectors)])
        if self._layout is None or self._layout[0] != where:
            made = Layout(weight, self.dims, vectors)
            if not made.follows:
                return made
            self._layout = (where, made)
        return self._layout[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layout": None}  # a copy lies elsewhere

    def _working(self, weight: Tensor) -> Tensor:
        return weight if weight.dtype in _FULL else weight.to(torch.promote_types(weight.dtype, torch.float32))

    def _stored(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        names = range(1, len(self.dims) + 1)
        return [(getattr(self, f"u_{n}").to(dtype), getattr(self, f"v_{n}").to(dtype)) for n in names]

    def _stepped(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        pairs = zip(self._stored(weight.dtype), self.dims, strict=True)
        return [power_step(View(weight, dim), *pair, self.power_iterations, self.eps) for pair, dim in pairs]

    def vectors(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(u, v) of each view for this weight: the running ones, the exact ones, or, with a graph, one power step
        further than the running ones.
        """
        if self.exact:
            exact = [top_singular(weight, dim)[1:] for dim in self.dims]
            return [(u.to(weight.dtype), v.to(weight.dtype)) for u, v in exact]
        if self.differentiate_vectors:
            return self._stepped(weight)
        return self._stored(weight.dtype)

    def sigmas(self, weight: Tensor) -> list[Tensor]:
        """u^T W v of each view, scalars without a graph."""
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            weight = self._working(weight.detach())
            pairs = zip(self.vectors(weight), self.dims, strict=True)
            return [sigma_of(weight, dim, *pair) for pair, dim in pairs]

    def finished(self, weight: Tensor) -> Tensor | None:
        """`ready`, where it is all that `forward` would return."""
        whole = self.ready is not None and self.gamma is None and self.ready.dtype == weight.dtype
        return self.ready if whole else None

    def forward(self, weight: Tensor) -> Tensor:
        if (found := self.finished(weight)) is not None:
            return found
        with torch.autocast(weight.device.type, enabled=False):
            normalized = self._normalized(weight) if self.ready is None else self.ready
            if self.gamma is not None:
                normalized = normalized * self.gamma
            return normalized.to(weight.dtype)

    def _normalized(self, weight: Tensor) -> Tensor:
        working = self._working(weight)
        if self.joint:
            return normalize_together([(self, working)])[0]
        pairs = self.vectors(working)
        if self.exact:
            vectors = [vector for pair in pairs for vector in pair]
            return joint.normalize([working], [Layout(working, self.dims, vectors)], self.scale, self.eps)[0]
        return working / _over(mean_sigma(working, pairs, self.dims, self.eps), self.scale)


Steps = list[tuple[SpectralWeight, Tensor]]


def _grouped(steps: Steps, *settings: str) -> Iterable[Steps]:
    """Those with the same settings, on one device and of one dtype: what one call can do together."""
    groups: dict[Any, Steps] = {}
    for step, weight in steps:
        key = (weight.device, weight.dtype, *(getattr(step, name) for name in settings))
        groups.setdefault(key, []).append((step, weight))
    return groups.values()


def normalize_together(steps: Steps) -> list[Tensor]:
    """scale * W / sigma for every (norm, weight), in the same order; the norms must share `scale` and `eps`."""
    first = steps[0][0]
    return joint.normalize([w for _, w in steps], [s.layout(w) for s, w in steps], first.scale, first.eps)


@contextmanager
def normalized_together(steps: Steps) -> Iterator[None]:
    """Inside, reading these weights gives what one function computed for all of them."""
    steps = [(s, s._working(w)) for s, w in steps if s.joint]
    try:
        for group in _grouped(steps, "scale", "eps"):
            with torch.autocast(group[0][1].device.type, enabled=False):
                for (step, _), ready in zip(group, normalize_together(group), strict=True):
                    step.ready = ready
        yield
    finally:
        for step, _ in steps:
            step.ready = None


@torch.no_grad()
def advance_together(steps: Steps) -> None:
    """One optimizer step's worth of power iteration of every norm towards its weight, kept in the buffers."""
    steps = [(s, s._working(w)) for s, w in steps if not s.exact]
    for group in _grouped(steps, "power_iterations"):
        with torch.autocast(group[0][1].device.type, enabled=False):
            joint.advance([s.layout(w) for s, w in group], group[0][0].power_iterations)
