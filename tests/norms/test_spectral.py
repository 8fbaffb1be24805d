"""The spectral norm family against SVDs of both reshapes, its derivatives against autograd through them."""

import copy
import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from gan_lab.norms import (
    EqualizedLR,
    SpectralNorm,
    advance_power_iteration,
    apply_weight_norm,
    bake,
    effective_weights,
    spectral,
    spectral_sigmas,
)

LAYERS = {
    "conv1d": lambda: nn.Conv1d(3, 5, 3),
    "conv2d": lambda: nn.Conv2d(3, 5, 3),
    "conv2d_wide": lambda: nn.Conv2d(6, 2, (2, 3)),
    "conv2d_1x1": lambda: nn.Conv2d(4, 3, 1),
    "conv_transpose2d": lambda: nn.ConvTranspose2d(3, 5, 4, stride=2),
    "conv_transpose2d_wide": lambda: nn.ConvTranspose2d(7, 2, 3),
    "linear": lambda: nn.Linear(7, 4),
    "linear_tall": lambda: nn.Linear(3, 9),
}
VARIANTS = {
    "sn": {"bidirectional": False, "scale": 1.0},
    "ssn": {"bidirectional": False, "scale": 1.7},
    "bsn": {"bidirectional": True, "scale": 1.0},
    "bssn": {"bidirectional": True, "scale": 0.6},
}
ALL = list(itertools.product(LAYERS, VARIANTS))


def sigmas_by_svd(layer, weight):
    """Largest singular values of (c_out, c_in k) and (c_in, c_out k), from the definition, differentiable."""
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)  # c_out c_in k
    first = torch.linalg.svdvals(weight.flatten(1))[0]
    second = torch.linalg.svdvals(weight.transpose(0, 1).flatten(1))[0]
    return first, second


def normalized_by_svd(layer, weight, bidirectional, scale):
    first, second = sigmas_by_svd(layer, weight)
    return scale * weight / ((first + second) / 2 if bidirectional else first)


def make(name, dtype=torch.float64, seed=0, channels_last=False, **settings):
    torch.manual_seed(seed)
    layer = LAYERS[name]().to(dtype)
    with torch.no_grad():  # far from a uniform initialization: a clear largest singular value, and a scale of its own
        layer.weight.copy_(torch.randn_like(layer.weight) * 0.3 + 0.2 * torch.randn_like(layer.weight[:, :1]))
    if channels_last:
        layer = layer.to(memory_format=torch.channels_last)
    raw = layer.weight.detach().clone()
    return apply_weight_norm(layer, SpectralNorm(**settings)), raw


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_effective_weight_and_sigmas(name, variant):
    settings = VARIANTS[variant]
    layer, raw = make(name, **settings)
    expected = normalized_by_svd(layer, raw, **settings)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-9, atol=1e-12)
    first, second = sigmas_by_svd(layer, raw)
    for exact in (False, True):
        found = spectral_sigmas(layer, exact=exact)[""]
        assert found["sigma_1"].item() == pytest.approx(first.item(), rel=1e-9)
        mean = (first + second) / 2 if settings["bidirectional"] else first
        assert found["sigma"].item() == pytest.approx(mean.item(), rel=1e-9)
        if "sigma_2" in found:
            assert found["sigma_2"].item() == pytest.approx(second.item(), rel=1e-9)
    assert "sigma_2" in spectral_sigmas(layer, exact=True)[""]


@pytest.mark.parametrize("name", LAYERS)
def test_the_views_differ_for_kernels_only(name):
    """Else the tests above could not tell a transposed reshape from the right one."""
    layer, raw = make(name)
    first, second = sigmas_by_svd(layer, raw)
    same = "linear" in name or "1x1" in name
    assert (abs(first / second - 1) < 1e-9) == same


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_gradient_flows_through_sigma(name, variant):
    """Constant u and v still give the full derivative of W / sigma(W): sigma is stationary in them."""
    settings = VARIANTS[variant]
    layer, raw = make(name, **settings)
    grad = torch.randn_like(raw)
    layer.weight.backward(grad)
    reference = raw.clone().requires_grad_()
    normalized_by_svd(layer, reference, **settings).backward(grad)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, reference.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "linear"])
def test_first_and_second_derivatives_numerically(name, bidirectional):
    layer, raw = make(name, bidirectional=bidirectional, scale=1.3)
    step = layer.parametrizations.weight[0]
    x = raw.clone().requires_grad_()
    assert torch.autograd.gradcheck(step, x)
    assert torch.autograd.gradgradcheck(step, x)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
def test_derivatives_with_differentiated_vectors(bidirectional):
    layer, raw = make("conv2d", bidirectional=bidirectional, differentiate_vectors=True, scale=1.3)
    step = layer.parametrizations.weight[0]
    expected = normalized_by_svd(layer, raw, bidirectional, 1.3)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-9, atol=1e-12)
    with torch.no_grad():  # away from the fixed point, where the vectors' own derivative counts
        for name in ("u_1", "v_1"):
            vector = getattr(step, name)
            vector.copy_(torch.nn.functional.normalize(vector + 0.3 * torch.randn_like(vector), dim=None))
    x = raw.clone().requires_grad_()
    assert torch.autograd.gradcheck(step, x)
    assert torch.autograd.gradgradcheck(step, x)
    grad = torch.randn_like(raw)
    (through,) = torch.autograd.grad(step(x), x, grad)
    step.differentiate_vectors = False
    (constant,) = torch.autograd.grad(step(x), x, grad)
    assert (through - constant).norm() > 1e-3 * constant.norm()


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_exact_mode_follows_the_weight_without_power_iteration(name, variant):
    settings = VARIANTS[variant]
    layer, _ = make(name, exact=True, **settings)
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    raw = layer.parametrizations.weight.original.detach().clone()
    torch.testing.assert_close(layer.weight.detach(), normalized_by_svd(layer, raw, **settings), rtol=1e-9, atol=1e-12)
    state = {k: v.clone() for k, v in layer.state_dict().items()}
    advance_power_iteration(layer)
    assert all(torch.equal(state[k], v) for k, v in layer.state_dict().items())
    grad = torch.randn_like(raw)
    layer.weight.backward(grad)
    reference = raw.clone().requires_grad_()
    normalized_by_svd(layer, reference, **settings).backward(grad)
    torch.testing.assert_close(layer.parametrizations.weight.original.grad, reference.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d", "linear"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_power_iteration_converges_after_the_weight_changed(name, channels_last):
    if channels_last and name == "linear":
        channels_last = False
    layer, _ = make(name, bidirectional=True, channels_last=channels_last)
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    exact = spectral_sigmas(layer, exact=True)[""]["sigma"].item()
    errors = []
    for _ in range(200):
        advance_power_iteration(layer)
        errors.append(abs(spectral_sigmas(layer)[""]["sigma"].item() / exact - 1))
    assert errors[0] > 1e-4
    assert errors[-1] < 1e-7


def test_one_step_is_the_papers_algorithm():
    layer, raw = make("conv2d")
    step = layer.parametrizations.weight[0]
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(raw + 0.5 * torch.randn_like(raw))
    matrix = layer.parametrizations.weight.original.detach().flatten(1)
    v = torch.nn.functional.normalize(matrix.t() @ step.u_1.flatten(), dim=0)
    u = torch.nn.functional.normalize(matrix @ v, dim=0)
    advance_power_iteration(layer)
    torch.testing.assert_close(step.u_1.flatten(), u)
    torch.testing.assert_close(step.v_1.flatten(), v)
    assert spectral_sigmas(layer)[""]["sigma"].item() == pytest.approx((u @ matrix @ v).item(), rel=1e-12)


def test_several_power_iterations_are_as_many_single_ones():
    one, _ = make("conv2d", bidirectional=True)
    three, _ = make("conv2d", bidirectional=True, power_iterations=3)
    with torch.no_grad():
        change = torch.randn_like(one.parametrizations.weight.original)
        for layer in (one, three):
            layer.parametrizations.weight.original.add_(change)
    for _ in range(3):
        advance_power_iteration(one)
    advance_power_iteration(three)
    for name in ("u_1", "v_1", "u_2", "v_2"):
        a, b = (getattr(x.parametrizations.weight[0], name) for x in (one, three))
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("differentiate_vectors", [False, True])
def test_only_advance_advances(differentiate_vectors):
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 1))
    apply_weight_norm(net, SpectralNorm(bidirectional=True, differentiate_vectors=differentiate_vectors))
    with torch.no_grad():
        net[0].parametrizations.weight.original.normal_()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for mode in (True, False):
        net.train(mode)
        net(torch.randn(3, 2, 4, 4)).sum().backward()
        effective_weights(net), spectral_sigmas(net), spectral_sigmas(net, exact=True)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    advance_power_iteration(net)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(before[k], v)}
    assert {k for k in changed if k.startswith("0.")} == {
        f"0.parametrizations.weight.0.{n}_{i}" for n in "uv" for i in (1, 2)
    }
    assert not any("original" in k or "bias" in k for k in changed)


def test_advancing_between_forward_and_backward_is_safe():
    layer, raw = make("conv2d", bidirectional=True)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    grads = []
    for advances in (0, 1):
        layer.zero_grad()
        loss = layer(x).square().sum() + layer(x).sum()
        if advances:
            with torch.no_grad():
                step = layer.parametrizations.weight[0]
                step.u_1.normal_(), step.v_2.normal_()
        loss.backward()
        grads.append(layer.parametrizations.weight.original.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])


def test_autocast_keeps_sigma_in_fp32():
    net, raw = make("conv2d", dtype=torch.float32, bidirectional=True, scale=1.2)
    plain = net.weight.detach()
    x = torch.randn(2, 3, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = net.weight
        out = net(x)
        advance_power_iteration(net)
    assert cast.dtype == torch.float32
    assert torch.equal(cast.detach(), plain)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert net.parametrizations.weight.original.grad.dtype == torch.float32
    step = net.parametrizations.weight[0]
    assert step.u_1.dtype == step.v_2.dtype == torch.float32
    assert spectral_sigmas(net)[""]["sigma"].item() == pytest.approx(
        spectral_sigmas(net, exact=True)[""]["sigma"].item(), rel=1e-5
    )


def test_bf16_weights_are_normalized_in_fp32():
    net, raw = make("conv2d", dtype=torch.bfloat16)
    assert net.weight.dtype == torch.bfloat16
    found = torch.linalg.matrix_norm(net.weight.detach().float().flatten(1), ord=2)
    assert found.item() == pytest.approx(1.0, abs=4e-3)


def test_state_dict_and_deepcopy():
    first, _ = make("conv2d", bidirectional=True, learn_scale="layer")
    with torch.no_grad():
        first.parametrizations.weight.original.normal_()
        first.parametrizations.weight[0].gamma.fill_(1.5)
    advance_power_iteration(first)
    second, _ = make("conv2d", seed=1, bidirectional=True, learn_scale="layer")
    assert not torch.equal(first.weight, second.weight)
    second.load_state_dict(first.state_dict())
    third = copy.deepcopy(first)
    for other in (second, third):
        assert torch.equal(first.weight, other.weight)
        advance_power_iteration(other)
    advance_power_iteration(first)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.weight, third.weight)
    assert third.parametrizations.weight.original is not first.parametrizations.weight.original


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("net", 1), ("layer", 3)])
def test_learned_scale(kind, count):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4, 1))
    plain = sum(p.numel() for p in net.parameters())
    apply_weight_norm(net, SpectralNorm(scale=1.4, learn_scale=kind))
    assert sum(p.numel() for p in net.parameters()) == plain + count
    weights = effective_weights(net)
    gammas = {id(g): g for n, g in net.named_parameters() if n.endswith("gamma")}
    x = torch.randn(2, 1, 5, 5)
    net(x).sum().backward()
    for gamma in gammas.values():
        assert gamma.grad.abs() > 0
    with torch.no_grad():
        for gamma in gammas.values():
            gamma.mul_(2.0)
    factor = 2.0 if count else 1.0
    for name, weight in effective_weights(net).items():
        torch.testing.assert_close(weight, weights[name] * factor)
        assert torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2).item() == pytest.approx(
            1.4 * factor, rel=1e-5
        )
    assert len({id(p) for n, p in copy.deepcopy(net).named_parameters() if n.endswith("gamma")}) == count


@pytest.mark.parametrize("exact", [False, True])
def test_a_weight_of_zeros_stays_and_then_trains(exact):
    """A residual branch may start at zero (R3GAN): no NaN, a usable gradient, and sigma once it has moved."""
    layer = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(layer.weight)
    apply_weight_norm(layer, SpectralNorm(bidirectional=True, scale=1.5, exact=exact))
    advance_power_iteration(layer)
    assert torch.equal(layer.weight, torch.zeros(4, 3, 3, 3))
    grad = torch.randn(4, 3, 3, 3)
    layer.weight.backward(grad)
    original = layer.parametrizations.weight.original
    torch.testing.assert_close(original.grad, 1.5 * grad)
    with torch.no_grad():
        original.sub_(0.01 * original.grad)
    for _ in range(300):
        advance_power_iteration(layer)
    first, second = sigmas_by_svd(layer, original.detach())
    torch.testing.assert_close(layer.weight.detach(), 1.5 * original / ((first + second) / 2), rtol=1e-4, atol=1e-5)


def test_cached_weights_are_computed_once():
    layer, _ = make("conv2d")
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight


def test_a_norm_on_top_of_equalized_lr_sees_the_scaled_weight():
    layer = nn.Conv2d(3, 5, 3)
    raw = layer.weight.detach().clone()
    apply_weight_norm(apply_weight_norm(layer, EqualizedLR()), SpectralNorm())
    torch.testing.assert_close(layer.weight.detach(), normalized_by_svd(layer, raw, False, 1.0))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    for _ in range(200):
        advance_power_iteration(layer)
    found = spectral_sigmas(layer)[""]["sigma"]
    assert found.item() == pytest.approx(spectral_sigmas(layer, exact=True)[""]["sigma"].item(), rel=1e-4)
    expected = torch.linalg.matrix_norm(layer.parametrizations.weight.original.detach().flatten(1), ord=2) / 27**0.5
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_layers_without_a_spectral_norm():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 2))
    assert spectral_sigmas(net) == {}
    assert advance_power_iteration(net) is None
    exact = spectral_sigmas(net, exact=True)
    for name, layer in (("0", net[0]), ("1", net[1])):
        first, second = sigmas_by_svd(layer, layer.weight.detach())
        assert exact[name]["sigma_1"].item() == pytest.approx(first.item(), rel=1e-5)
        assert exact[name]["sigma_2"].item() == pytest.approx(second.item(), rel=1e-5)
    assert apply_weight_norm(net, None) is net
    assert list(effective_weights(net)) == ["0", "1"]


def test_baking_a_copy_leaves_the_net_as_it_was():
    net = apply_weight_norm(nn.Sequential(nn.Linear(4, 3)), SpectralNorm())
    x = torch.randn(2, 4)
    baked = bake(copy.deepcopy(net))
    assert type(baked[0]) is nn.Linear
    torch.testing.assert_close(net(x), baked(x))
    with torch.no_grad():
        net[0].parametrizations.weight.original.add_(1.0)
    assert parametrize.is_parametrized(net[0]) and not torch.allclose(net[0].weight, baked[0].weight)


def test_bake_leaves_plain_weights():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 2, 2), nn.Linear(5, 3))
    apply_weight_norm(net, SpectralNorm(bidirectional=True, scale=1.2, learn_scale="net"))
    expected = {k: v.detach().clone() for k, v in effective_weights(net).items()}
    assert bake(net) is net
    assert not any(parametrize.is_parametrized(m) for m in net.modules())
    assert set(net.state_dict()) == {f"{i}.{n}" for i in range(3) for n in ("weight", "bias")}
    for name, weight in effective_weights(net).items():
        assert isinstance(weight, nn.Parameter)
        assert torch.equal(weight, expected[name])


@pytest.mark.parametrize(
    "settings",
    [{"scale": 0.0}, {"scale": -1.0}, {"power_iterations": 0}, {"learn_scale": "all"}, {"eps": 0.0}],
)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SpectralNorm(**settings)


def train(net, steps, advance):
    """Steps of SGD of a small net, with the warnings that they raise."""
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            optimizer.zero_grad()
            net(torch.ones(2, 4)).sum().backward()
            optimizer.step()
            if advance:
                advance_power_iteration(net)
        with torch.no_grad():
            net(torch.ones(2, 4))
    return [str(w.message) for w in caught if "singular vectors have not followed" in str(w.message)]


@pytest.mark.parametrize(
    ("settings", "advance", "training", "steps", "count"),
    [
        ({}, False, True, 60, 1),
        ({"bidirectional": True, "differentiate_vectors": True}, False, True, 60, 1),
        ({}, True, True, 60, 0),
        ({}, False, True, 10, 0),
        ({"exact": True}, False, True, 60, 0),
        ({}, False, False, 60, 0),
    ],
    ids=["never", "never, differentiated", "each step", "few steps", "exact", "evaluation"],
)
def test_a_norm_that_is_never_advanced_says_so_once(settings, advance, training, steps, count):
    spectral._warn_of_stale_vectors.cache_clear()
    net = apply_weight_norm(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), SpectralNorm(**settings)).train(training)
    assert len(train(net, steps, advance)) == count
