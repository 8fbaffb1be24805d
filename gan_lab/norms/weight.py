"""Weight norms: settings objects that re-parametrize the layers of a finished net from outside.

Each has `apply(module)`, which goes over every convolution, transposed convolution and Linear in `module` and
registers a `torch.nn.utils.parametrize` parametrization of its weight. So `parametrize.cached()` computes
each weight once, and `state_dict` and `copy.deepcopy` work as for any module. A norm of one's own needs that
one method.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.norms.spectral import SpectralWeight, advance_together, normalized_together, top_singular

_Transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_Layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_Transposed)


class Norm(Protocol):
    """What `apply_weight_norm` expects of a norm."""

    def apply(self, module: nn.Module) -> nn.Module: ...


def weight_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, layer) of every layer whose weight a norm applies to, each once; "" names `module` itself."""
    for name, layer in module.named_modules():
        if isinstance(layer, _Layers):
            yield name, layer


def out_dim(layer: nn.Module) -> int:
    """The weight's dimension of output channels; transposed convolutions keep (c_in, c_out, kh, kw)."""
    return 1 if isinstance(layer, _Transposed) else 0


@dataclass(frozen=True)
class SpectralNorm:
    """SN, SSN, BSN and BSSN: W_eff = scale * W / sigma (arXiv:1802.05957, equation 8; arXiv:2009.02773).

    `bidirectional=False`: sigma is the largest singular value of W as (c_out, c_in kh kw). `True`: the mean
    of that one and the largest singular value of W as (c_in, c_out kh kw). `scale` multiplies every layer's
    weight, not its bias.

    power_iterations: rounds per `advance_power_iteration`. exact: take the singular vectors of the present
    weight by an eigendecomposition at every read, for tests and monitoring. differentiate_vectors: let the
    gradient flow through u and v, as the authors' BSN code does; a read then takes `power_iterations`
    differentiable rounds from the stored vectors without storing them. learn_scale: "net" or "layer" adds one
    trained factor, initially 1, to the net or to each layer.

    Deviations: u and v start as the exact singular vectors instead of random ones, so there is no warm-up. A
    weight whose sigma is not above `eps` (all zeros) is left as it is. fp32 whatever the precision, fp64 for
    fp64 weights. With `exact`, derivatives beyond the first take u and v for constants.
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
        layers = list(weight_layers(module))
        shared = nn.Parameter(torch.ones((), device=_device(layers))) if self.learn_scale == "net" else None
        for _, layer in layers:
            weight: Tensor = layer.weight  # type: ignore[assignment]
            gamma = nn.Parameter(torch.ones((), device=weight.device)) if self.learn_scale == "layer" else shared
            spectral = SpectralWeight(
                weight.detach(),
                out_dim(layer),
                bidirectional=self.bidirectional,
                scale=self.scale,
                power_iterations=self.power_iterations,
                exact=self.exact,
                differentiate_vectors=self.differentiate_vectors,
                eps=self.eps,
                gamma=gamma,
            )
            parametrize.register_parametrization(layer, "weight", spectral)
        return module


def _device(layers: list[tuple[str, nn.Module]]) -> torch.device:
    return layers[0][1].weight.device if layers else torch.device("cpu")  # type: ignore[return-value,union-attr]


def apply_weight_norm(module: nn.Module, norm: Norm | None) -> nn.Module:
    """Put `norm` on every weight layer of `module`, itself included, in place; None changes nothing."""
    return module if norm is None else norm.apply(module)


def _spectral_steps(layer: nn.Module) -> Iterator[tuple[SpectralWeight, Tensor]]:
    """Each spectral norm on the layer's weight, with the weight that enters it."""
    if not parametrize.is_parametrized(layer, "weight"):
        return iter(())
    return _steps_of(layer.parametrizations.weight)  # type: ignore[union-attr,arg-type]


def _chains(*modules: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """(layer, name, parametrizations) of every parametrized tensor in `modules`, each once.

    Every step asks, and `modules()` would take several times as long.
    """
    waiting, seen = [*reversed(modules)], set()
    while waiting:
        part = waiting.pop()
        if part is None or part in seen:
            continue
        seen.add(part)
        for key, child in reversed(part._modules.items()):
            if key != "parametrizations":
                waiting.append(child)  # type: ignore[arg-type]
        if "parametrizations" in part._modules:
            for name, chain in part._modules["parametrizations"]._modules.items():  # type: ignore[union-attr]
                yield part, name, chain


def _steps_of(chain: Any) -> Iterator[tuple[SpectralWeight, Tensor]]:
    inputs = [chain.original] if chain.is_tensor else [getattr(chain, f"original{i}") for i in range(chain.ntensors)]
    for index, step in enumerate(chain):
        if isinstance(step, SpectralWeight):
            yield step, inputs[0]
        if index + 1 < len(chain):
            inputs = [step(*inputs)]


@torch.no_grad()
def advance_power_iteration(module: nn.Module) -> None:
    """One power iteration (`power_iterations` rounds) for every spectral norm in `module`; without one,
    nothing.

    Meant to be called once per optimizer step of the net. In fp32, autocast or not.
    """
    advance_together([step for _, _, chain in _chains(module) for step in _steps_of(chain)])


@contextmanager
def cached_weights(*modules: nn.Module) -> Iterator[None]:
    """Inside, each parametrized weight is computed once, and all spectral norms of `modules` by one function."""
    chains = list(_chains(*modules))
    steps = [step for _, _, chain in chains for step in _steps_of(chain)]
    with parametrize.cached(), normalized_together(steps):
        for layer, name, chain in chains:
            only = chain._modules["0"] if len(chain._modules) == 1 else None
            if isinstance(only, SpectralWeight) and (found := only.finished(chain.original)) is not None:
                parametrize._cache[id(layer), name] = found  # else torch calls the property, the list and the norm
        yield


def effective_weights(module: nn.Module) -> dict[str, Tensor]:
    """Layer name -> the weight its forward uses, with its graph; reading advances nothing."""
    return {name: layer.weight for name, layer in weight_layers(module)}  # type: ignore[misc]


@torch.no_grad()
def spectral_sigmas(module: nn.Module, exact: bool = False) -> dict[str, dict[str, Tensor]]:
    """Layer name -> {"sigma", "sigma_1", "sigma_2"} of the raw weights, as scalars without a graph.

    The raw weight is what enters the layer's spectral norm; where there is none, what the forward uses.
    sigma_1 belongs to the view (c_out, c_in kh kw), sigma_2 to (c_in, c_out kh kw), and sigma is what the
    weight is divided by (sigma_1 where the norm is not bidirectional or absent). `exact=False` gives the
    running u^T W v of the layers that have a spectral norm, without the sigma_2 that a unidirectional one
    does not track; `exact=True` gives all three, in float64, for all layers.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, layer in weight_layers(module):
        spectral, weight = next(_spectral_steps(layer), (None, None))
        if exact:
            raw: Tensor = layer.weight if weight is None else weight  # type: ignore[assignment]
            dim = out_dim(layer)
            first, second = top_singular(raw, dim)[0], top_singular(raw, 1 - dim)[0]
            both = spectral is not None and spectral.bidirectional
            found[name] = {
                "sigma": (first + second) / 2 if both else first,
                "sigma_1": first,
                "sigma_2": second,
            }
        elif spectral is not None and weight is not None:
            values = spectral.sigmas(weight)
            found[name] = {"sigma": torch.stack(values).mean(), "sigma_1": values[0]}
            if len(values) == 2 or weight[0, 0].numel() == 1:
                found[name]["sigma_2"] = values[-1]
    return found


@torch.no_grad()
def bake(module: nn.Module) -> nn.Module:
    """Replace every parametrized tensor in `module` by its present value, in place: a plain net, ready to
    export.
    """
    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[union-attr,arg-type]
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    return module
