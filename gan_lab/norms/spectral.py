"""Spectral normalization (SN), scaled (SSN), bidirectional (BSN), and both (BSSN): the norm of one weight.

The equation is in `SpectralNorm`. `spectral_net.py` treats all layers of a net at once: one step of the power iteration
per update, one computation of all weights per update, and their sigmas.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab import linalg
from gan_lab.kernels import spectral as kernel
from gan_lab.kernels.spectral import Layout, View
from gan_lab.norms.base import at_least_float32, out_dim, weight_layers

MOST_CHANGES = 20
"""Changes of a weight (an optimizer's step is one or two) without a step of the power iteration, before a warning."""


@dataclass(frozen=True)
class SpectralNorm:
    """Divide each weight by its largest singular value, or by the mean of two (arXiv:1802.05957, arXiv:2009.02773).

        SN, SSN     W_eff = scale * W / sigma_1                     (arXiv:1802.05957, equation 8; SSN: scale != 1)
        BSN, BSSN   W_eff = scale * W / ((sigma_1 + sigma_2) / 2)   (arXiv:2009.02773; `bidirectional=True`)

    sigma_1 is the largest singular value of W as the matrix (c_out, c_in kh kw), sigma_2 that of (c_in, c_out kh kw).
    Each is estimated as u^T W v by power iteration (arXiv:1802.05957, algorithm 1). Biases are not scaled.

    power_iterations: rounds per `advance_power_iteration`. exact: compute the singular vectors of the present weight at
    every read, for tests and monitoring. differentiate_vectors: let the gradient flow through u and v, as the BSN
    authors' code does; a read then takes `power_iterations` differentiable rounds from the stored vectors, and stores
    nothing. learn_scale: "net" or "layer" adds one trained factor, initially 1, to the net or to each layer.

    Deviations: u and v start as the exact singular vectors instead of random ones, so there is no warm-up. If sigma is
    at most `eps`, as of a weight of zeros, the weight is multiplied by `scale` and not divided. Computed in fp32
    whatever the precision, fp64 for fp64 weights. With `exact`, derivatives beyond the first treat u and v as
    constants. ValueError for a setting out of range.
    """

    bidirectional: bool = False
    scale: float = 1.0
    power_iterations: int = 1
    exact: bool = False
    differentiate_vectors: bool = False
    learn_scale: Literal["none", "net", "layer"] = "none"
    eps: float = 1e-12

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")
        if self.power_iterations < 1:
            raise ValueError(f"power_iterations must be at least 1, got {self.power_iterations}")
        if self.learn_scale not in ("none", "net", "layer"):
            raise ValueError(f"learn_scale must be none, net or layer, got {self.learn_scale!r}")
        if self.eps <= 0:
            raise ValueError(f"eps must be above 0, got {self.eps}")

    def apply(self, module: nn.Module) -> nn.Module:
        gamma: nn.Parameter | None = None
        for _, layer in list(weight_layers(module)):
            weight: Tensor = layer.weight  # type: ignore[assignment]
            if self.learn_scale == "layer" or (self.learn_scale == "net" and gamma is None):
                gamma = nn.Parameter(torch.ones((), device=weight.device))
            spectral = SpectralWeight(weight.detach(), out_dim(layer), self, gamma)
            parametrize.register_parametrization(layer, "weight", spectral)
        return module


class SpectralWeight(nn.Module):
    """The parametrization W -> scale * gamma * W / sigma that `SpectralNorm` puts on one layer.

    `out_dim` is the weight's dimension of output channels, `gamma` the trained factor or None. Reading the weight never
    changes the vectors; `advance_power_iteration` does. Buffers `u_1, v_1` belong to the view (c_out, c_in kh kw),
    `u_2, v_2` to (c_in, c_out kh kw), in shapes that broadcast against the weight: u v^T then needs no reshape, and a
    channels_last weight no copy. The two views of a 1x1 kernel or a Linear are transposes of each other, so one pair
    serves both.
    """

    def __init__(self, weight: Tensor, out_dim: int, norm: SpectralNorm, gamma: nn.Parameter | None = None) -> None:
        super().__init__()
        self.bidirectional, self.scale, self.eps = norm.bidirectional, norm.scale, norm.eps
        self.power_iterations = norm.power_iterations
        self.exact, self.differentiate_vectors = norm.exact, norm.differentiate_vectors
        both = norm.bidirectional and weight[0, 0].numel() > 1
        self.dims = (out_dim, 1 - out_dim) if both else (out_dim,)
        for number, dim in enumerate(self.dims, 1):
            _, left, right = top_singular(weight, dim)
            dtype = torch.promote_types(weight.dtype, torch.float32)
            self.register_buffer(f"u_{number}", left.to(weight.device, dtype))
            self.register_buffer(f"v_{number}", right.to(weight.device, dtype))
        self.gamma = gamma
        self._layout: tuple[tuple[Any, ...], Layout] | None = None  # with the addresses it was made for
        self.advanced_at = 0  # the weight's version when the vectors last took a step
        self.precomputed: Tensor | None = None  # scale * W / sigma, while `cached_weights` holds it

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can record a read of the weight: exact vectors are computed on the CPU."""
        return not self.exact

    @property
    def uses_stored_vectors(self) -> bool:
        """Whether sigma is computed from the buffers, so that many layers can be normalized together."""
        return not (self.exact or self.differentiate_vectors)

    def stored_vectors(self) -> list[Tensor]:
        """Return u_1, v_1 [, u_2, v_2]: the buffers themselves."""
        return list(self._buffers.values())  # type: ignore[arg-type]

    def layout(self, weight: Tensor) -> Layout:
        """Return the weight's views with the stored vectors. Reused while both stay at their addresses."""
        vectors = self.stored_vectors()
        if not isinstance(weight, nn.Parameter):  # computed, or a tensor of torch.func, which has no address
            return Layout(weight, self.dims, vectors)
        where = (weight.stride(), weight.dtype, *map(kernel.address, (weight, *vectors)))
        if None in where:
            return Layout(weight, self.dims, vectors)
        if self._layout is None or self._layout[0] != where:
            made = Layout(weight, self.dims, vectors)
            if not made.follows:
                return made
            self._layout = (where, made)
        return self._layout[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_layout": None}  # a copy has other addresses

    def vectors(self, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (u, v) of each view: the stored ones, the exact ones, or (with a graph) a step on from the stored."""
        if self.exact:
            exact = [top_singular(weight, dim)[1:] for dim in self.dims]
            return [(u.to(weight), v.to(weight)) for u, v in exact]
        stored = [vector.to(weight.dtype) for vector in self.stored_vectors()]
        pairs = list(zip(stored[0::2], stored[1::2], strict=True))
        if not self.differentiate_vectors:
            return pairs
        views = [View(weight, dim) for dim in self.dims]
        return [
            power_step(view, u, v, self.power_iterations, self.eps) for view, (u, v) in zip(views, pairs, strict=True)
        ]

    def sigmas(self, weight: Tensor) -> list[Tensor]:
        """Return u^T W v of each view, scalars without a graph."""
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            return self._sigmas(at_least_float32(weight.detach()))

    def _sigmas(self, weight: Tensor) -> list[Tensor]:
        pairs = zip(self.vectors(weight), self.dims, strict=True)
        return [sigma_of(weight, dim, u, v) for (u, v), dim in pairs]

    def precomputed_result(self, weight: Tensor) -> Tensor | None:
        """Return `precomputed` if it is all that `forward` would return, else None."""
        whole = self.precomputed is not None and self.gamma is None and self.precomputed.dtype == weight.dtype
        return self.precomputed if whole else None

    def forward(self, weight: Tensor) -> Tensor:
        if (found := self.precomputed_result(weight)) is not None:
            return found
        with torch.autocast(weight.device.type, enabled=False):
            normalized = self.precomputed
            if normalized is None:
                self._check_advanced(weight)
                normalized = self._normalized(at_least_float32(weight))
            if self.gamma is not None:
                normalized = normalized * self.gamma
            return normalized.to(weight.dtype)

    def _check_advanced(self, weight: Tensor) -> None:
        """Warn, once, if training has changed the weight many times and the vectors have never followed."""
        if self.exact or not (self.training and torch.is_grad_enabled() and isinstance(weight, nn.Parameter)):
            return
        if not torch.compiler.is_compiling() and weight._version - self.advanced_at > MOST_CHANGES:
            _warn_of_stale_vectors()

    def _normalized(self, weight: Tensor) -> Tensor:
        """scale * W / sigma; only scale * W where sigma is not above eps: such u and v do not describe the weight."""
        if self.differentiate_vectors and not self.exact:
            sigmas = self._sigmas(weight)
            sigma = F.threshold(sum(sigmas[1:], sigmas[0]) / len(sigmas), self.eps, 1.0)
            return weight / (sigma / self.scale)
        if self.exact:
            layout = Layout(weight, self.dims, [vector for pair in self.vectors(weight) for vector in pair])
        else:
            layout = self.layout(weight)
        return kernel.normalize([weight], [layout], self.scale, self.eps)[0]


@cache
def _warn_of_stale_vectors() -> None:
    warnings.warn(
        "a spectral norm's weight has changed often and its singular vectors have not followed: sigma is stale; call "
        "gan_lab.norms.advance_power_iteration(net) once per optimizer step of the net",
        stacklevel=2,
    )


@torch.no_grad()
def top_singular(weight: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the exact (sigma, u, v) of the view with rows along `dim`: largest singular value, float64, no graph.

    Computed from the eigenvectors of the smaller Gram matrix, many times cheaper than an SVD. The Gram matrix squares
    the condition number, but its *largest* eigenvalue keeps its relative precision. A weight of zeros gets some vectors
    of length one.
    """
    view = View(linalg.as_float64(weight), dim)
    tall = view.matrix.shape[0] > view.matrix.shape[1]
    matrix = view.matrix.t() if tall else view.matrix
    short = linalg.eigh(matrix @ matrix.t())[1][:, -1].contiguous()  # `View.right` needs it contiguous
    long = matrix.t() @ short
    sigma = torch.linalg.vector_norm(long)
    long = long / sigma if sigma > 0 else torch.full_like(long, long.numel() ** -0.5)
    u, v = (long, short) if tall else (short, long)
    return sigma, view.left(u), view.right(v)


def sigma_of(weight: Tensor, dim: int, u: Tensor, v: Tensor) -> Tensor:
    """Return u^T W v of the view with rows along `dim`, a scalar."""
    view = View(weight, dim)
    return torch.dot(view.flat(u), torch.mv(view.matrix, view.flat(v)))


def power_step(view: View, left: Tensor, right: Tensor, rounds: int, eps: float) -> tuple[Tensor, Tensor]:
    """Return u, v after `rounds` of v <- unit(W^T u), u <- unit(W v), with a graph (arXiv:1802.05957, algorithm 1)."""
    u, v = view.flat(left), view.flat(right)
    for _ in range(rounds):
        v = torch.addmv(v, view.matrix.t(), u, beta=eps)  # the old vector times eps: a weight of zeros keeps it
        v = v / torch.linalg.vector_norm(v)
        u = torch.addmv(u, view.matrix, v, beta=eps)
        u = u / torch.linalg.vector_norm(u)
    return view.left(u), view.right(v)
