"""Gradients of a net with respect to its effective weights, its raw (trained) weights, and its inputs."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.norms import effective_weights, weight_layers
from gan_lab.norms.spectral import SpectralWeight


@dataclass(frozen=True)
class Gradients:
    """The result of `gradients`, detached. Layers whose weight is not trained are left out."""

    effective: dict[str, Tensor]  # layer -> gradient of the weight that its forward uses
    raw: dict[str, list[Tensor]]  # layer -> gradients of the trained tensors that this weight is computed from
    inputs: list[Tensor]


def raw_weights(net: nn.Module) -> dict[str, list[Tensor]]:
    """Return layer name -> the trained tensors that its weight is computed from.

    Without a norm: the weight itself. With a norm: its input. With weight normalization: lengths and directions.
    """
    found: dict[str, list[Tensor]] = {}
    for name, layer in weight_layers(net):
        if parametrize.is_parametrized(layer, "weight"):
            found[name] = list(layer.parametrizations.weight.parameters(recurse=False))  # type: ignore[union-attr]
        else:
            found[name] = [layer.weight]  # type: ignore[list-item]
    return found


def gradients(net: nn.Module, scalar: Callable[[], Tensor], inputs: Sequence[Tensor] = ()) -> Gradients:
    """Differentiate `scalar()`, which runs `net`, with respect to the weights of `net` and `inputs`.

    `inputs` must require a gradient. Biases and gains of activation norms are not included. No `.grad` is changed.
    """
    with torch.enable_grad(), parametrize.cached():
        effective = effective_weights(net)  # before the forward, which then uses these cached tensors
        effective = {name: weight for name, weight in effective.items() if weight.requires_grad}
        raw = {name: [w for w in raw_weights(net)[name] if w.requires_grad] for name in effective}
        wanted = [*effective.values(), *(w for weights in raw.values() for w in weights), *inputs]
        found = iter(torch.autograd.grad(scalar(), wanted, materialize_grads=True))
    return Gradients(
        effective={name: next(found) for name in effective},
        raw={name: [next(found) for _ in weights] for name, weights in raw.items()},
        inputs=[next(found) for _ in inputs],
    )


def layer_norms(by_layer: dict[str, Tensor] | dict[str, list[Tensor]]) -> dict[str, float]:
    """Return layer -> Frobenius norm of its gradient."""
    return {name: total_norm([g] if isinstance(g, Tensor) else g) for name, g in by_layer.items()}


def total_norm(tensors: Iterable[Tensor]) -> float:
    """Return the L2 norm of all tensors, concatenated."""
    return float(torch.nn.utils.get_total_norm([t.detach() for t in tensors]))


def gradient_bound(D: nn.Module) -> float:
    """Return an upper bound of |dD(x)/dW| / |x| over all effective weights W: sqrt(L) c^(L-1) for L equal layers.

    The gradient of one layer's weight is at most |x| times the product of the other layers' spectral norms
    (arXiv:2009.02773, on exploding gradients). c is the scale of the norm, times its learned factor, or 1 for a layer
    without a spectral norm.

    The bound holds for fully connected nets without biases whose layers have spectral norm c and whose activations are
    1-Lipschitz with f(0) = 0. For other nets it is only a reference: the spectral norm of a convolution can be up to
    sqrt(kh kw) times that of its reshaped kernel.
    """
    scales = [_scale(layer) for _, layer in weight_layers(D)]
    return math.hypot(*(math.prod(scales[:i] + scales[i + 1 :]) for i in range(len(scales))))


def _scale(layer: nn.Module) -> float:
    """Return the spectral norm that a layer's weight is normalized to, 1 without a spectral norm."""
    scale = 1.0
    if parametrize.is_parametrized(layer, "weight"):
        for step in layer.parametrizations.weight:  # type: ignore[union-attr,operator]
            if isinstance(step, SpectralWeight):
                scale = step.scale * (1.0 if step.gamma is None else abs(float(step.gamma.detach())))
    return scale
