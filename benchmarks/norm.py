"""Suite `norm`: normalizing all of D's weights for one D step, ours against torch's hook at two forwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.baselines import add_hooks, hooked_weights
from benchmarks.harness import Bench, Row, Work, compare
from benchmarks.kernels import count_kernels
from gan_lab.nets.resnet import ResNetDiscriminator
from gan_lab.nets.sngan import SNGANDiscriminator
from gan_lab.norms import (
    SpectralNorm,
    advance_power_iteration,
    apply_weight_norm,
    cached_weights,
    weight_layers,
)

NORMS = {"SN": SpectralNorm(), "BSSN": SpectralNorm(bidirectional=True, scale=1.4)}
NETS: dict[str, type[nn.Module]] = {"ResNet 32": ResNetDiscriminator, "CNN 32": SNGANDiscriminator}


def _probes(D: nn.Module) -> list[Tensor]:
    """A gradient for every weight, in its memory format."""
    return [torch.randn_like(layer.weight) for _, layer in weight_layers(D)]  # type: ignore[arg-type]


def ours(norm: SpectralNorm, net: type[nn.Module], device: torch.device) -> Work:
    """Forward and backward of all normalized weights, once, and the power iteration: what a D step does."""
    D = apply_weight_norm(net(32, 3), norm).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers, parameters, probes = [layer for _, layer in weight_layers(D)], list(D.parameters()), _probes(D)

    def work() -> None:
        for parameter in parameters:
            parameter.grad = None
        with cached_weights(D):
            torch.autograd.backward([layer.weight for layer in layers], probes)  # type: ignore[misc]
        advance_power_iteration(D)

    return work


def hook_twice(net: type[nn.Module], device: torch.device) -> Work:
    """Two forwards of torch's hook on every layer, for reals and fakes, and the backward of both."""
    D = add_hooks(net(32, 3)).to(device)
    layers, parameters = [layer for _, layer in weight_layers(D)], list(D.parameters())
    probes = [probe.contiguous() for probe in _probes(D)] * 2

    def work() -> None:
        for parameter in parameters:
            parameter.grad = None
        torch.autograd.backward([*hooked_weights(layers), *hooked_weights(layers)], probes)

    return work


def suite(bench: Bench) -> list[Row]:
    rows = []
    for name, net in NETS.items():
        torch.manual_seed(0)
        works = {"torch's hook, twice": hook_twice(net, bench.device)}
        works |= {label: ours(norm, net, bench.device) for label, norm in NORMS.items()}
        found = compare(bench, f"all weights of D, {name}", works, rounds=bench.rounds(11), calls=40, warm=10)
        kernels = {label: count_kernels(work, bench.device) for label, work in works.items()}
        for row in found:
            row.facts["kernels"] = kernels[row.variant]
            row.facts["share of the hook's kernels"] = round(kernels[row.variant] / kernels["torch's hook, twice"], 3)
        hook, sn, bssn = found
        assert sn.seconds is not None and bssn.seconds is not None
        bssn.facts["times SN"] = round(bssn.seconds.median / sn.seconds.median, 3)
        sn.goal, bssn.goal = ("cost", "at most", 0.35), ("times SN", "at most", 1.6)
        rows += found
    return rows
