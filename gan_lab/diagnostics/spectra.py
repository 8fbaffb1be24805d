"""Singular values and variances of a net's weights."""

import math

import torch
from torch import Tensor, nn

from gan_lab import linalg
from gan_lab.kernels.spectral import View
from gan_lab.linalg import as_float64
from gan_lab.norms import effective_weights, spectral_sigmas, weight_layers
from gan_lab.norms.base import fan_in, out_dim


@torch.no_grad()
def largest_singular_value(weight: Tensor, dim: int) -> float:
    """Return the largest singular value, in float64, of the weight as a matrix whose rows are dimension `dim`.

    It is the root of the largest eigenvalue of the smaller Gram matrix, which is exact to relative rounding. NaN for a
    weight that is not finite.
    """
    matrix = View(as_float64(weight), dim).matrix
    if not bool(torch.isfinite(matrix).all()):
        return math.nan
    gram = matrix @ matrix.t() if matrix.shape[0] <= matrix.shape[1] else matrix.t() @ matrix
    return math.sqrt(max(float(linalg.eigvalsh(gram)[-1]), 0.0))


@torch.no_grad()
def exact_sigmas(net: nn.Module) -> dict[str, tuple[float, float]]:
    """Return layer -> largest singular values of its effective weight as (c_out, c_in kh kw) and (c_in, c_out kh kw).

    For a grouped convolution, c_in is that of one group, as in the norms.
    """
    found: dict[str, tuple[float, float]] = {}
    weights = effective_weights(net)
    for name, layer in weight_layers(net):
        weight, dim = weights[name], out_dim(layer)
        out = largest_singular_value(weight, dim)
        transposes = weight[0, 0].numel() == 1  # for a 1x1 kernel or a Linear, one matrix is the transpose of the other
        found[name] = (out, out if transposes else largest_singular_value(weight, 1 - dim))
    return found


@torch.no_grad()
def sigma_product(net: nn.Module) -> float:
    """Return the product over layers of the running estimate of sigma that the raw weight is divided by.

    A layer without a spectral norm contributes the exact largest singular value of its effective weight as (c_out,
    c_in kh kw). With spectral norms, the product shows how much the raw weights have grown. Without any, it is an
    estimate of the Lipschitz constant of the net: a bound for fully connected nets only.
    """
    running, weights = spectral_sigmas(net), effective_weights(net)
    return math.prod(
        float(running[name]["sigma"]) if name in running else largest_singular_value(weights[name], out_dim(layer))
        for name, layer in weight_layers(net)
    )


@torch.no_grad()
def variances(net: nn.Module) -> dict[str, float]:
    """Return layer -> population variance of the entries of its effective weight."""
    return {name: float(as_float64(weight).var(correction=0)) for name, weight in effective_weights(net).items()}


def variance_references(layer: nn.Module) -> dict[str, float]:
    """Return the three reference variances of arXiv:2009.02773, for scale 1 (scale c multiplies them by c^2).

    sn: 1/max(m, n) for the m x n matrix (c_out, c_in kh kw), the largest possible for a matrix of sigma 1.
    bsn: 2/(fan_in + fan_out), as in Xavier's initialization.
    wn: 1/fan_in, as in LeCun's initialization and for filters of norm 1.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    rows = weight.shape[out_dim(layer)]
    into, out = fan_in(layer), fan_out(layer)
    return {"sn": 1.0 / max(rows, weight.numel() // rows), "bsn": 2.0 / (into + out), "wn": 1.0 / into}


def fan_out(layer: nn.Module) -> int:
    """Return the fan-out of a convolution or linear layer: c_out / groups * kernel area."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    if out_dim(layer) == 1:  # (c_in, c_out / groups, kh, kw)
        return weight[0].numel()
    return weight.shape[0] // int(getattr(layer, "groups", 1)) * weight[0, 0].numel()
