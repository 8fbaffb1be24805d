"""All spectral norms of a net at once: the power iteration, the weights of one update, and the sigmas."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.kernels import spectral as kernel
from gan_lab.norms.base import at_least_float32, out_dim, weight_layers
from gan_lab.norms.spectral import SpectralWeight, top_singular

Normed = list[tuple[SpectralWeight, Tensor]]  # each spectral norm with the weight that enters it


@torch.no_grad()
def advance_power_iteration(module: nn.Module) -> None:
    """Take `power_iterations` rounds of the power iteration of every spectral norm in `module`; without one, nothing.

    To be called once per optimizer step of the net. Computed in fp32 at least, autocast or not.
    """
    normed = [item for _, _, chain in _parametrizations(module) for item in _spectral_norms(chain)]
    for spectral, weight in normed:
        spectral.advanced_at = weight._version
    for group in _grouped(((s, at_least_float32(w)) for s, w in normed if not s.exact), "power_iterations"):
        with torch.autocast(group[0][1].device.type, enabled=False):
            kernel.advance([s.layout(w) for s, w in group], group[0][0].power_iterations)


@contextmanager
def cached_weights(*modules: nn.Module) -> Iterator[None]:
    """Compute each parametrized weight once inside the context, all spectral norms of `modules` in one function."""
    chains = list(_parametrizations(*modules))
    normed = [item for _, _, chain in chains for item in _spectral_norms(chain)]
    with parametrize.cached(), _precomputed(normed):
        for layer, name, chain in chains:
            only = chain._modules["0"] if len(chain._modules) == 1 else None
            if isinstance(only, SpectralWeight) and (found := only.precomputed_result(chain.original)) is not None:
                parametrize._cache[id(layer), name] = found  # else torch calls the property, the list and the norm
        yield


@torch.no_grad()
def spectral_sigmas(module: nn.Module, exact: bool = False) -> dict[str, dict[str, Tensor]]:
    """Return layer name -> {"sigma", "sigma_1", "sigma_2"} of the raw weights, as scalars without a graph.

    The raw weight enters the layer's spectral norm; without one, it is what the forward uses. sigma_1 belongs to
    the view (c_out, c_in kh kw), sigma_2 to (c_in, c_out kh kw). sigma is what the weight is divided by: the mean of
    both, or sigma_1 where the norm is not bidirectional or absent.

    `exact=False` returns the running u^T W v of the layers that have a spectral norm, without the sigma_2 that a
    unidirectional one does not track. `exact=True` returns all three for all layers, in float64.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, layer in weight_layers(module):
        spectral, weight = _first_spectral_norm(layer)
        if exact:
            dim = out_dim(layer)
            first, second = top_singular(weight, dim)[0], top_singular(weight, 1 - dim)[0]
            both = spectral is not None and spectral.bidirectional
            found[name] = {"sigma": (first + second) / 2 if both else first, "sigma_1": first, "sigma_2": second}
        elif spectral is not None:
            values = spectral.sigmas(weight)
            found[name] = {"sigma": torch.stack(values).mean(), "sigma_1": values[0]}
            if len(values) == 2 or weight[0, 0].numel() == 1:
                found[name]["sigma_2"] = values[-1]
    return found


@contextmanager
def _precomputed(normed: Normed) -> Iterator[None]:
    """Normalize these weights together; inside the context, reading them returns the results."""
    normed = [(s, at_least_float32(w)) for s, w in normed if s.uses_stored_vectors]
    try:
        for group in _grouped(normed, "scale", "eps"):
            first, weights = group[0][0], [w for _, w in group]
            with torch.autocast(weights[0].device.type, enabled=False):
                results = kernel.normalize(weights, [s.layout(w) for s, w in group], first.scale, first.eps)
            for (spectral, _), result in zip(group, results, strict=True):
                spectral.precomputed = result
        yield
    finally:
        for spectral, _ in normed:
            spectral.precomputed = None


def _grouped(normed: Iterable[tuple[SpectralWeight, Tensor]], *settings: str) -> Iterable[Normed]:
    """Group those with the same settings, device and dtype: one call computes a group."""
    groups: dict[Any, Normed] = {}
    for spectral, weight in normed:
        key = (weight.device, weight.dtype, *(getattr(spectral, name) for name in settings))
        groups.setdefault(key, []).append((spectral, weight))
    return groups.values()


def _parametrizations(*modules: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Yield (layer, name, ParametrizationList) of every parametrized tensor in `modules`, each once.

    Called in every update; `modules()` would take several times as long.
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


def _first_spectral_norm(layer: nn.Module) -> tuple[SpectralWeight | None, Tensor]:
    """Return the layer's spectral norm with the weight that enters it; without one, None and the weight."""
    if parametrize.is_parametrized(layer, "weight"):
        for spectral, weight in _spectral_norms(layer.parametrizations.weight):  # type: ignore[union-attr]
            return spectral, weight
    return None, layer.weight  # type: ignore[return-value]


def _spectral_norms(chain: Any) -> Iterator[tuple[SpectralWeight, Tensor]]:
    """Yield each spectral norm in a ParametrizationList, with the weight that enters it."""
    inputs = [chain.original] if chain.is_tensor else [getattr(chain, f"original{i}") for i in range(chain.ntensors)]
    for index, step in enumerate(chain):
        if isinstance(step, SpectralWeight):
            yield step, inputs[0]
        if index + 1 < len(chain):
            inputs = [step(*inputs)]
