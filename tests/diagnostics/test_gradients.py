"""Gradient norms against torch.func and closed forms, and the bound where it is strict."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, jacrev

from gan_lab.diagnostics.gradients import (
    gradient_bound,
    gradients,
    layer_norms,
    raw_weights,
)
from gan_lab.nets.resampling import PooledConv2d
from gan_lab.norms import SpectralNorm, StrictWeightNorm, WeightNorm, apply_weight_norm, effective_weights


class SmallD(nn.Module):
    """Every kind of layer that a D is made of; b 3 8 8 -> b."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.pooled = PooledConv2d(4, 6)
        self.grouped = nn.Conv2d(6, 6, 3, groups=3)
        self.wide = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.linear = nn.Linear(5 * 16, 1)

    def forward(self, x):
        x = F.leaky_relu(self.conv(x), 0.1)
        x = F.leaky_relu(self.pooled(x), 0.1)
        x = F.leaky_relu(self.grouped(x), 0.1)
        return self.linear(self.wide(x).flatten(1)).squeeze(1)


NORMS = {
    "none": None,
    "sn": SpectralNorm(),
    "bssn": SpectralNorm(bidirectional=True, scale=1.4),
    "learned": SpectralNorm(learn_scale="layer"),
    "vectors": SpectralNorm(differentiate_vectors=True),
    "wn": WeightNorm(),
    "wn_strict": StrictWeightNorm(),
}


def small_d(norm):
    torch.manual_seed(3)
    return apply_weight_norm(SmallD().double(), NORMS[norm])


def plain_copy(D):
    """A net without norms, and the weights that make it equal to D."""
    plain = SmallD().double()
    plain.load_state_dict({k: v for k, v in D.state_dict().items() if k.endswith("bias")}, strict=False)
    return plain, {f"{name}.weight": w.detach() for name, w in effective_weights(D).items()}


def images(n, seed=0):
    return torch.randn(n, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss_of(D, x):
    return F.softplus(-D(x)).mean()


@pytest.mark.parametrize("norm", NORMS)
def test_effective_gradients_are_those_of_a_plain_net_with_these_weights_by_torch_func(norm):
    D, x = small_d(norm), images(5)
    plain, weights = plain_copy(D)
    by_func = grad(lambda w: F.softplus(-functional_call(plain, w, (x,))).mean())(weights)
    found = gradients(D, lambda: loss_of(D, x))
    assert set(found.effective) == {"conv", "pooled", "grouped", "wide", "linear"}
    norms = layer_norms(found.effective)
    for name, number in norms.items():
        assert number == pytest.approx(float(by_func[f"{name}.weight"].detach().norm()), rel=1e-6)
    assert math.hypot(*norms.values()) == pytest.approx(
        float(torch.cat([g.flatten() for g in by_func.values()]).detach().norm()), rel=1e-6
    )


@pytest.mark.parametrize("norm", NORMS)
def test_raw_and_input_gradients_are_those_of_a_backward_pass_which_is_left_alone(norm):
    D, x = small_d(norm), images(5).requires_grad_()
    found = gradients(D, lambda: loss_of(D, x), [x])
    assert all(p.grad is None for p in D.parameters()) and x.grad is None
    loss_of(D, x).backward()
    for name, weights in raw_weights(D).items():
        expected = math.sqrt(sum(float(w.grad.square().sum()) for w in weights))
        assert layer_norms(found.raw)[name] == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(found.inputs[0], x.grad)


def test_without_a_norm_raw_is_effective_and_with_one_the_raw_gradient_is_orthogonal_to_the_weight():
    D = small_d("none")
    found = gradients(D, lambda: loss_of(D, images(5)))
    assert layer_norms(found.raw) == layer_norms(found.effective)
    D = apply_weight_norm(SmallD().double(), SpectralNorm(exact=True))
    found = gradients(D, lambda: loss_of(D, images(5)))
    for name, (raw,) in raw_weights(D).items():
        inner = float((found.raw[name][0] * raw).sum())
        assert (
            abs(inner) < 1e-12 * float(raw.norm()) * float(found.raw[name][0].norm()) + 1e-15
        )  # W/sigma is of degree 0
        assert layer_norms(found.raw)[name] != pytest.approx(layer_norms(found.effective)[name], rel=1e-3)


def test_layers_that_are_not_trained_are_left_out_and_unused_ones_count_nothing():
    D = small_d("sn")
    D.spare = nn.Linear(2, 2).double()
    for p in D.conv.parameters():
        p.requires_grad_(False)
    found = gradients(D, lambda: loss_of(D, images(2)))
    assert "conv" not in found.effective and "conv" not in found.raw
    assert layer_norms(found.effective)["spare"] == 0.0


def logit_gradient_norms(D, x):
    """|dD(x_i)/dW| of every single image: layer -> b, and "joint" over all layers -> b."""

    def of_one(image):
        return layer_norms(gradients(D, lambda: D(image[None]).sum()).effective)

    rows = [of_one(image) for image in x]
    norms = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}
    return {**norms, "joint": torch.stack([*norms.values()]).norm(dim=0)}


def test_logit_gradients_are_those_of_each_image_by_torch_func():
    D, x = small_d("bssn"), images(4)
    plain, weights = plain_copy(D)
    jacobian = jacrev(lambda w: functional_call(plain, w, (x,)))(weights)
    found = logit_gradient_norms(D, x)
    for name in ("conv", "pooled", "grouped", "wide", "linear"):
        torch.testing.assert_close(found[name], jacobian[f"{name}.weight"].flatten(1).norm(dim=1), rtol=1e-6, atol=0)
    rows = torch.cat([j.flatten(1) for j in jacobian.values()], dim=1)
    torch.testing.assert_close(found["joint"], rows.norm(dim=1), rtol=1e-6, atol=0)


def random_net(generator, scale=None):
    """Fully connected, no biases, ReLU or leaky ReLU, 2 to 5 layers of random widths; sigma = scale if one is given."""
    depth = int(torch.randint(2, 6, (), generator=generator))
    widths = [*torch.randint(1, 17, (depth,), generator=generator).tolist(), 1]
    leak = float(torch.randint(0, 2, (), generator=generator)) * 0.1
    parts = []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        layer = nn.Linear(a, b, bias=False).double()
        layer.weight.data = torch.randn(b, a, generator=generator, dtype=torch.float64)
        parts += [layer, nn.LeakyReLU(leak)]
    net = nn.Sequential(*parts[:-1], nn.Flatten(0))
    x = torch.randn(1, widths[0], generator=generator, dtype=torch.float64) * 3
    if scale is None:
        return net, x
    return apply_weight_norm(net, SpectralNorm(exact=True, scale=scale)), x


def share_of_the_bound(net, x):
    return float(logit_gradient_norms(net, x)["joint"][0]) / (gradient_bound(net) * float(x.norm()))


@pytest.mark.long
def test_the_bound_holds_for_1000_random_nets_of_sigma_1_and_not_for_raw_ones():
    generator = torch.Generator().manual_seed(0)
    shares = [share_of_the_bound(*random_net(generator, scale=1.0)) for _ in range(1000)]
    assert max(shares) <= 1 + 1e-9
    assert max(shares) > 0.9  # some draws come near it
    generator = torch.Generator().manual_seed(0)
    raw = [share_of_the_bound(*random_net(generator)) for _ in range(100)]
    assert sum(share > 1 for share in raw) > 33


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_bound_is_reached_by_a_net_that_passes_its_input_on_whole(scale, depth):
    """Positive weights of rank one, aligned from layer to layer, and an input along the first: no loss anywhere."""
    directions = [torch.rand(6, dtype=torch.float64) + 0.1 for _ in range(depth)] + [torch.ones(1, dtype=torch.float64)]
    directions = [d / d.norm() for d in directions]
    parts = []
    for a, b in zip(directions[:-1], directions[1:], strict=True):
        layer = nn.Linear(len(a), len(b), bias=False).double()
        layer.weight.data = 5.0 * torch.outer(b, a)
        parts += [layer, nn.ReLU()]
    net = apply_weight_norm(nn.Sequential(*parts, nn.Flatten(0)), SpectralNorm(scale=scale))
    assert gradient_bound(net) == pytest.approx(math.sqrt(depth) * scale ** (depth - 1))
    found = logit_gradient_norms(net, 2.0 * directions[0][None])
    assert float(found["joint"][0]) == pytest.approx(2.0 * math.sqrt(depth) * scale ** (depth - 1), rel=1e-9)
    for layer in range(depth):
        assert float(found[str(2 * layer)][0]) == pytest.approx(2.0 * scale ** (depth - 1), rel=1e-9)


def test_a_learned_factor_belongs_to_the_scale_of_the_bound():
    net = apply_weight_norm(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1)), SpectralNorm(scale=1.5, learn_scale="layer")
    )
    net[0].parametrizations.weight[0].gamma.data.fill_(-2.0)
    assert gradient_bound(net) == pytest.approx(math.hypot(1.5, 3.0))
