"""Normalizing many weights by one function, against one after the other and against autograd, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from gan_lab.kernels import spectral as kernel
from gan_lab.kernels.spectral import View
from gan_lab.norms import (
    SpectralNorm,
    advance_power_iteration,
    apply_weight_norm,
    cached_weights,
    effective_weights,
    weight_layers,
)

NORMS = [
    SpectralNorm(),
    SpectralNorm(scale=1.7),
    SpectralNorm(bidirectional=True, scale=0.6),
    SpectralNorm(bidirectional=True, learn_scale="layer"),
    SpectralNorm(power_iterations=3),
    SpectralNorm(exact=True),
    SpectralNorm(differentiate_vectors=True),
]


def net(layout=torch.channels_last):
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.ConvTranspose2d(6, 4, 4), nn.Flatten(), nn.Linear(4 * 9 * 9, 1)
    )
    return made.double().to(memory_format=layout)


def moved(norm, layout=torch.channels_last):
    """A net whose weights have moved on since its vectors were exact."""
    made = apply_weight_norm(net(layout), norm)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return made


def by_hand(layer):
    """scale * W / mean of u^T W v over the views, straight from the formula, with autograd's own backward."""
    spectral = layer.parametrizations.weight[0]
    weight = layer.parametrizations.weight.original
    pairs = [(spectral.u_1, spectral.v_1)]
    if len(spectral.dims) == 2:
        pairs.append((spectral.u_2, spectral.v_2))
    sigma = sum((u * weight * v).sum() for u, v in pairs) / len(pairs)
    gamma = 1.0 if spectral.gamma is None else spectral.gamma
    return spectral.scale * gamma * weight / sigma


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("norm", NORMS[:5])
def test_weights_and_gradients_are_those_of_the_formula(norm, layout):
    D = moved(norm, layout)
    torch.manual_seed(1)
    probes = {name: torch.randn_like(w) for name, w in effective_weights(D).items()}
    params = list(D.parameters())
    params = [p for p in params if p.dim() != 1]  # without biases
    with cached_weights(D):
        together = effective_weights(D)
        found = torch.autograd.grad([(probes[n] * w).sum() for n, w in together.items()], params)
    naive = {name: by_hand(layer) for name, layer in weight_layers(D)}
    wanted = torch.autograd.grad([(probes[n] * w).sum() for n, w in naive.items()], params)
    for name in naive:
        torch.testing.assert_close(together[name], naive[name], rtol=1e-13, atol=1e-13)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_one_after_the_other_is_the_same(norm):
    D = moved(norm)
    alone = {name: w.detach() for name, w in effective_weights(D).items()}
    with cached_weights(D):
        for name, w in effective_weights(D).items():
            torch.testing.assert_close(w, alone[name], rtol=1e-13, atol=1e-13)
    assert all(getattr(m, "ready", None) is None for m in D.modules())  # nothing is left behind


def test_second_derivatives():
    D = moved(SpectralNorm(bidirectional=True, scale=1.3))
    weights = [layer.parametrizations.weight.original for _, layer in weight_layers(D)]
    torch.manual_seed(2)
    probes = [torch.randn_like(w) for w in weights]

    def second(normalized):
        value = sum((p * w.tanh()).sum() for p, w in zip(probes, normalized, strict=True))
        first = torch.autograd.grad(value, weights, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), weights)

    with cached_weights(D):
        found = second(list(effective_weights(D).values()))
    wanted = second([by_hand(layer) for _, layer in weight_layers(D)])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_advancing_together_is_the_power_iteration_of_every_layer():
    D = moved(SpectralNorm(bidirectional=True, power_iterations=2))
    wanted = {}
    for name, layer in weight_layers(D):
        spectral, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original.detach()
        for n, dim in enumerate(spectral.dims, 1):
            view = View(weight, dim)
            u = view.flat(getattr(spectral, f"u_{n}"))
            for _ in range(2):
                v = view.matrix.t() @ u
                v = v / v.norm()
                u = view.matrix @ v
                u = u / u.norm()
            wanted[name, n] = (view.left(u), view.right(v))
    advance_power_iteration(D)
    for (name, n), (u, v) in wanted.items():
        spectral = dict(weight_layers(D))[name].parametrizations.weight[0]
        torch.testing.assert_close(getattr(spectral, f"u_{n}"), u, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(getattr(spectral, f"v_{n}"), v, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1e8])
def test_weights_of_any_size_leave_unit_vectors(size):
    D = apply_weight_norm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)), SpectralNorm())
    with torch.no_grad():
        D[0].parametrizations.weight.original.mul_(size)
    advance_power_iteration(D)
    for layer in D:
        for vector in layer.parametrizations.weight[0].stored_vectors():
            assert float(vector.norm()) == pytest.approx(1.0, rel=1e-5)
    with cached_weights(D):
        assert all(torch.isfinite(w).all() for w in effective_weights(D).values())


def test_a_pending_backward_pass_keeps_its_vectors():
    D = moved(SpectralNorm())
    still = copy.deepcopy(D)
    with cached_weights(D):
        loss = sum(w.square().sum() for w in effective_weights(D).values())
    advance_power_iteration(D)
    loss.backward()
    with cached_weights(still):
        sum(w.square().sum() for w in effective_weights(still).values()).backward()
    for a, b in zip(D.parameters(), still.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0)


def test_a_part_of_the_weights_alone_has_a_gradient():
    D = moved(SpectralNorm())
    with cached_weights(D):
        (effective_weights(D)["1"].square().sum()).backward()
    naive = moved(SpectralNorm())
    by_hand(dict(weight_layers(naive))["1"]).square().sum().backward()
    grads = {n: p.grad for n, p in D.named_parameters()}
    name = "1.parametrizations.weight.original"
    torch.testing.assert_close(grads[name], dict(naive.named_parameters())[name].grad, rtol=1e-11, atol=1e-12)
    others = [g for n, g in grads.items() if n != name and g is not None]
    assert all(float(g.abs().max()) == 0 for g in others)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("norm", NORMS[:5])
def test_both_ways_to_the_gradient_agree(norm, layout):
    """A CPU's own, weight after weight, and the differentiable one, for all weights at once, which a GPU takes, too."""
    D = moved(norm, layout)
    weights = [layer.parametrizations.weight.original for _, layer in weight_layers(D)]
    torch.manual_seed(2)
    with cached_weights(D):
        value = sum((torch.randn_like(w) * w.tanh()).sum() for w in effective_weights(D).values())
        theirs = torch.autograd.grad(value, weights, create_graph=True)
        mine = torch.autograd.grad(value, weights)
    for a, b, w in zip(mine, theirs, weights, strict=True):
        assert b.grad_fn is not None
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
        assert layout == torch.contiguous_format or a.stride() == w.stride()  # else autograd would copy it once more


def test_a_layout_is_kept_until_something_moves():
    D = moved(SpectralNorm(bidirectional=True))
    spectral, weight = D[0].parametrizations.weight[0], D[0].parametrizations.weight.original
    first = spectral.layout(weight)
    advance_power_iteration(D)
    assert spectral.layout(weight) is first  # it follows changes in place
    assert all(torch.equal(a.flatten(), b.flatten()) for a, b in zip(first.flats[::2], first.vectors[::2], strict=True))
    assert copy.deepcopy(spectral)._layout is None
    D.to(torch.float32)
    assert spectral.layout(weight).flats[0].dtype == torch.float32
    D.load_state_dict({k: v + 1 for k, v in D.state_dict().items()}, assign=True)
    weight = D[0].parametrizations.weight.original
    torch.testing.assert_close(spectral.layout(weight).flats[0], spectral.u_1.flatten(), rtol=0, atol=0)
    torch.testing.assert_close(spectral.layout(weight).matrices[0].sum(), weight.sum())


def test_reading_a_weight_takes_no_call_of_its_norm(monkeypatch):
    D = moved(SpectralNorm())
    alone = effective_weights(D)
    monkeypatch.setattr(type(D[0].parametrizations.weight[0]), "forward", None)
    with cached_weights(D):
        for name, weight in effective_weights(D).items():
            torch.testing.assert_close(weight, alone[name], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("norm", [*NORMS, None])
def test_torch_func_gives_autograds_gradients(norm):
    D = apply_weight_norm(net(), None) if norm is None else moved(norm)
    x, weights = torch.randn(3, 3, 8, 8, dtype=torch.float64), dict(D.named_parameters())

    def loss(weights, x):
        return functional_call(D, weights, (x,)).square().sum()

    def by_autograd(x):
        return torch.autograd.grad(D(x).square().sum(), list(weights.values()))

    for found, wanted in zip(grad(loss)(weights, x).values(), by_autograd(x), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    each = vmap(lambda x: grad(loss)(weights, x[None]))(x)
    for i in range(len(x)):
        for found, wanted in zip(each.values(), by_autograd(x[i : i + 1]), strict=True):
            torch.testing.assert_close(found[i], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", [SpectralNorm(), SpectralNorm(bidirectional=True)])
def test_what_is_kept_from_inference_mode_can_be_differentiated_twice(norm):
    D, x = moved(norm), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    weights = [p for p in D.parameters() if p.dim() > 1]

    def gradients():
        firsts = torch.autograd.grad(D(x).square().sum(), weights, create_graph=True)
        return torch.autograd.grad(sum(first.square().sum() for first in firsts), weights)

    expected = gradients()
    for kept in (kernel._segments, kernel._count_tensor):
        kept.cache_clear()
    with torch.inference_mode():
        D(x)
        with cached_weights(D):
            D(x)
    for found, wanted in zip(gradients(), expected, strict=True):
        assert torch.equal(found, wanted)
