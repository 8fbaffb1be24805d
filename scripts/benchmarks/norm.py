"""Suite `norm`: what normalizing all of D's weights costs in one D step, ours against torch's hook at two forwards.

The time counts only the norms: their forward and backward passes and power iteration. On a CPU they run within a
D step on 64 reals and 64 fakes, whose convolutions use the caches in between and leave the allocator as training does;
once more alone, over and over, where everything they touch is at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan_lab.losses import hinge_d
from gan_lab.nets.resnet import ResNetDiscriminator
from gan_lab.nets.sngan import SNGANDiscriminator
from gan_lab.norms import (
    SpectralNorm,
    advance_power_iteration,
    apply_weight_norm,
    cached_weights,
    weight_layers,
)
from scripts.benchmarks.baselines import add_hooks, hooked_weights
from scripts.benchmarks.harness import Bench, Row, SelfTimed, Work, compare
from scripts.benchmarks.kernels import count_kernels

NORMS = {"SN": SpectralNorm(), "BSSN": SpectralNorm(bidirectional=True, scale=1.4)}
NETS: dict[str, type[nn.Module]] = {"ResNet 32": ResNetDiscriminator, "CNN 32": SNGANDiscriminator}
HOOK = "torch's hook, twice"
BATCH = 64


def _normed(norm: SpectralNorm, net: type[nn.Module], device: torch.device) -> nn.Module:
    return apply_weight_norm(net(32, 3), norm).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _layers(D: nn.Module) -> list[nn.Module]:
    return [layer for _, layer in weight_layers(D)]


def _probes(layers: list[nn.Module]) -> list[Tensor]:
    """A gradient for every weight, in its memory format."""
    return [torch.randn_like(layer.weight) for layer in layers]  # type: ignore[arg-type]


def _without_gradients(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.grad = None


def ours(norm: SpectralNorm, net: type[nn.Module], device: torch.device) -> Work:
    """Forward and backward of all normalized weights, once, and the power iteration: what a D step does."""
    D = _normed(norm, net, device)
    layers = _layers(D)
    probes = _probes(layers)

    def work() -> None:
        _without_gradients(D)
        with cached_weights(D):
            torch.autograd.backward([layer.weight for layer in layers], probes)  # type: ignore[arg-type,misc]
        advance_power_iteration(D)

    return work


def hook_twice(net: type[nn.Module], device: torch.device) -> Work:
    """Two forwards of torch's hook on every layer, for reals and fakes, and the backward of both."""
    D = add_hooks(net(32, 3)).to(device)
    layers = _layers(D)
    probes = [probe.contiguous() for probe in _probes(layers)] * 2

    def work() -> None:
        _without_gradients(D)
        torch.autograd.backward([*hooked_weights(layers), *hooked_weights(layers)], probes)

    return work


def _batches() -> tuple[Tensor, Tensor]:
    return torch.rand(BATCH, 3, 32, 32) * 2 - 1, torch.rand(BATCH, 3, 32, 32) * 2 - 1


def ours_in_step(bench: Bench, norm: SpectralNorm, net: type[nn.Module]) -> SelfTimed:
    """The same within a D step: another D of the same shape runs with the weights as its own."""
    D, plain = _normed(norm, net, bench.device), net(32, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    layers, users, both = _layers(D), _layers(plain), torch.cat(_batches())

    def work() -> float:
        _without_gradients(D)
        _without_gradients(plain)
        weights: list[Tensor] = []
        cached = cached_weights(D)

        def forward() -> None:
            cached.__enter__()
            weights.extend(layer.weight for layer in layers)  # type: ignore[misc]

        seconds = bench.seconds(forward)
        for user, weight in zip(users, weights, strict=True):
            user.weight.data = weight.detach()  # type: ignore[union-attr]
        hinge_d(*plain(both).split(BATCH)).backward()
        gradients: list[Tensor] = [user.weight.grad for user in users]  # type: ignore[union-attr,misc]
        seconds += bench.seconds(lambda: torch.autograd.backward(weights, gradients))
        cached.__exit__(None, None, None)
        return seconds + bench.seconds(lambda: advance_power_iteration(D))

    return SelfTimed(work)


def hook_in_step(bench: Bench, net: type[nn.Module]) -> SelfTimed:
    """The hook within a D step, each layer's as it comes; D's layers then use their weights without its graph."""
    D, (real, fake) = add_hooks(net(32, 3)), _batches()
    spent = [0.0]
    weights: list[Tensor] = []
    leaves: list[Tensor] = []

    def timed(hook: Callable[..., None]) -> Callable[[nn.Module, object], None]:
        def before(layer: nn.Module, inputs: object) -> None:
            spent[0] += bench.seconds(lambda: hook(layer, inputs))
            weights.append(layer.weight)  # type: ignore[arg-type]
            leaves.append(layer.weight.detach().requires_grad_())  # type: ignore[operator,union-attr]
            layer.weight = leaves[-1]

        return before

    for layer in _layers(D):
        for key, hook in list(layer._forward_pre_hooks.items()):
            layer._forward_pre_hooks[key] = timed(hook)

    def work() -> float:
        _without_gradients(D)
        spent[0] = 0.0
        weights.clear()
        leaves.clear()
        hinge_d(D(real), D(fake)).backward()
        gradients = [leaf.grad for leaf in leaves]
        return spent[0] + bench.seconds(lambda: torch.autograd.backward(weights, gradients))

    return SelfTimed(work)


def _judged(rows: list[Row]) -> list[Row]:
    """With the goals, of the rows hook, SN, BSSN."""
    _, sn, bssn = rows
    assert sn.seconds is not None and bssn.seconds is not None
    bssn.facts["times SN"] = round(bssn.seconds.median / sn.seconds.median, 3)
    sn.goal, bssn.goal = ("cost", "at most", 0.35), ("times SN", "at most", 1.6)
    return rows


def suite(bench: Bench) -> list[Row]:
    rows = []
    on_cpu = bench.device.type == "cpu"
    for name, net in NETS.items():
        torch.manual_seed(0)
        if on_cpu:
            within: dict[str, Work] = {HOOK: hook_in_step(bench, net)}
            within |= {label: ours_in_step(bench, norm, net) for label, norm in NORMS.items()}
            case = f"all weights of D, {name}, within a D step"
            rows += _judged(compare(bench, case, within, rounds=bench.rounds(7), calls=4, warm=3))
        works = {HOOK: hook_twice(net, bench.device)}
        works |= {label: ours(norm, net, bench.device) for label, norm in NORMS.items()}
        case = f"all weights of D, {name}, alone"
        alone = compare(bench, case, works, rounds=bench.rounds(11), calls=40, warm=10, keep=True)
        kernels = {label: count_kernels(work, bench.device) for label, work in works.items()}
        for row in alone:
            row.facts["kernels"] = kernels[row.variant]
            row.facts["share of the hook's kernels"] = round(kernels[row.variant] / kernels[HOOK], 3)
        rows += alone if on_cpu else _judged(alone)
    return rows
