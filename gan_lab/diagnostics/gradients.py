"""Gradients of D by the weights its forward uses, by the weights the optimizer sees, and by the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.norms import effective_weights, weight_layers
from gan_lab.norms.spectral import SpectralWeight


@dataclass(frozen=True)
class Gradients:
    """What `gradients` found, without a graph; layers whose weight is not trained are missing."""

    effective: dict[str, Tensor]  # layer -> the gradient by the weight that its forward uses
    raw: dict[str, list[Tensor]]  # layer -> the gradients by the tensors that are trained in its place
    inputs: list[Tensor]


def raw_weights(net: nn.Module) -> dict[str, list[Tensor]]:
    """Layer name -> the trained tensors its weight is made of: the weight itself where there is no norm, what
    enters the norm, or, with weight normalization, lengths and directions.
    """
    found: dict[str, list[Tensor]] = {}
    for name, layer in weight_layers(net):
        if parametrize.is_parametrized(layer, "weight"):
            chain: Any = layer.parametrizations.weight  # type: ignore[union-attr]
            one = chain.is_tensor
            found[name] = [chain.original] if one else [getattr(chain, f"original{i}") for i in range(chain.ntensors)]
        else:
            found[name] = [layer.weight]  # type: ignore[list-item]
    return found


def gradients(net: nn.Module, scalar: Callable[[], Tensor], inputs: Sequence[Tensor] = ()) -> Gradients:
    """Differentiate `scalar()`, which runs `net`, by the weights of `net` and by `inputs`; no `.grad` is touched.

    `inputs` must require a gradient. Biases and the gains of activation norms are no weights here.
    """
    with torch.enable_grad(), parametrize.cached():
        effective = effective_weights(net)  # read first: the forward then finds these very tensors in the cache
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
    """Layer -> the Frobenius norm of its gradient."""
    return {name: total_norm([g] if isinstance(g, Tensor) else g) for name, g in by_layer.items()}


def total_norm(tensors: Iterable[Tensor]) -> float:
    """The Frobenius norm of all of them taken as one vector."""
    return float(torch.nn.utils.get_total_norm([t.detach() for t in tensors]))


def joint(norms: Iterable[float]) -> float:
    """The norm of a whole from the norms of its parts."""
    return math.hypot(*norms)


def logit_gradient_norms(D: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """|dD(x_i)/dW| of every single image: layer -> b, and "joint" over all layers -> b; W the effective weights.

    x: b c h w, or whatever D takes with the samples first. This is the quantity that
    `gradient_bound(D) * |x_i|` bounds.
    """
    with torch.enable_grad(), parametrize.cached():
        weights = effective_weights(D)
        logits = D(x)
        rows = []
        for logit in logits:
            grads = torch.autograd.grad(logit, list(weights.values()), retain_graph=True, materialize_grads=True)
            rows.append(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
    norms = torch.stack(rows)  # b l
    return {**dict(zip(weights, norms.unbind(1), strict=True)), "joint": torch.linalg.vector_norm(norms, dim=1)}


def gradient_bound(D: nn.Module) -> float:
    """The most that |dD(x)/dW| over all effective weights can be, divided by |x|: sqrt(L) c^(L-1) for L layers.

    The gradient by one layer's weight is at most |x| times the product of the other layers' spectral norms
    (arXiv:2009.02773, on exploding gradients); c is the norm's scale (with its learned factor), and 1 for a
    layer without a spectral norm. Strict for fully connected nets without biases whose layers have spectral
    norm c and whose activations keep zero and lengthen nothing. A line to compare with elsewhere: the
    reshaped kernel of a convolution can have a sigma up to sqrt(kh kw) below that of the convolution.
    """
    scales = [_scale(layer) for _, layer in weight_layers(D)]
    others = (math.prod(scales[:i] + scales[i + 1 :]) for i in range(len(scales)))
    return joint(others)


def _scale(layer: nn.Module) -> float:
    """The spectral norm that a layer's weight is brought to, 1 where nothing does that."""
    scale = 1.0
    if parametrize.is_parametrized(layer, "weight"):
        for step in layer.parametrizations.weight:  # type: ignore[union-attr,operator]
            if isinstance(step, SpectralWeight):
                scale = step.scale * (1.0 if step.gamma is None else abs(float(step.gamma.detach())))
    return scale
