"""Where classes enter nets: R3GAN's are in test_r3gan.py; the projection discriminator and its G against NumPy."""

import numpy as np
import pytest
import torch
from torch.autograd import gradgradcheck

from gan_lab.nets import ResNetDiscriminator, ResNetGenerator
from gan_lab.nets.labels import conditional_classes, one_hot, require_classes
from gan_lab.nets.resnet import UpBlock
from gan_lab.norms import SpectralNorm, apply_weight_norm, effective_weights

Y = torch.tensor([2, 0, 2, 1])
HEAD = "class_head.projection"


def conditional_d(num_classes=5, **settings):
    torch.manual_seed(0)
    D = ResNetDiscriminator(8, 3, width=0.04, condition="projection", num_classes=num_classes, **settings)
    return D.double()


def test_classes_of_a_net():
    assert conditional_classes(True, 7) == 7 and conditional_classes(False, 7) == 0
    with pytest.raises(ValueError, match="needs num_classes, got 0"):
        conditional_classes(True, 0)
    assert torch.equal(one_hot(Y, 4, torch.float64), torch.eye(4, dtype=torch.float64)[Y])
    with pytest.raises(ValueError, match="needs classes"):
        require_classes(None)


@pytest.mark.parametrize(
    "norm", [None, SpectralNorm(exact=True), SpectralNorm(bidirectional=True, scale=1.4, exact=True)]
)
def test_projection_is_the_formula_of_the_paper(norm):
    """D(x, y) = psi(phi(x)) + y^T V phi(x), with V / sigma(V) where the other weights are divided by theirs."""
    D = conditional_d()
    raw = {name: D.get_submodule(name).weight.detach().numpy() for name in ("linear", HEAD)}
    D = apply_weight_norm(D, norm)
    assert HEAD in effective_weights(D)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    logits, phi = D(x, Y, return_features=True)
    sigma = {k: np.linalg.svd(w, compute_uv=False)[0] / norm.scale if norm else 1.0 for k, w in raw.items()}
    features, classes = phi.detach().numpy(), np.eye(5)[Y.numpy()]
    psi = features @ (raw["linear"] / sigma["linear"])[0] + D.linear.bias.item()
    projection = np.einsum("bk,kf,bf->b", classes, raw[HEAD] / sigma[HEAD], features)
    np.testing.assert_allclose(logits.detach().numpy(), psi + projection, rtol=1e-10)
    assert abs(projection).max() > 1e-3 * abs(psi).max()


def test_gradients_reach_the_rows_of_the_classes_present():
    """d sum D / dV[k] is the sum of phi over the samples of class k, and zero for a class that is not there."""
    D = conditional_d()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    phi = D.features(x).detach()
    D(x, Y).sum().backward()
    expected = torch.stack([phi[k == Y].sum(0) for k in range(5)])
    torch.testing.assert_close(D.class_head.projection.weight.grad, expected)
    assert (
        not D.class_head.projection.weight.grad[3:].any()
        and D.class_head.projection.weight.grad[:3].abs().sum(1).min() > 0
    )


def test_without_its_projection_it_is_the_unconditional_discriminator():
    D, plain = conditional_d(), ResNetDiscriminator(8, 3, width=0.04, num_classes=5).double()
    assert plain.num_classes == 0 and D.num_classes == 5
    missing = plain.load_state_dict(D.state_dict(), strict=False)
    assert missing.unexpected_keys == [f"{HEAD}.weight"] and not missing.missing_keys
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    assert not torch.allclose(D(x, Y), plain(x))
    torch.nn.init.zeros_(D.class_head.projection.weight)
    assert torch.equal(D(x, Y), plain(x)) and torch.equal(plain(x, Y), plain(x))


def test_the_discriminator_is_differentiable_twice():
    D = conditional_d(num_classes=3)
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    features = D.features(x).detach().requires_grad_()
    assert gradgradcheck(lambda f, _: D.logits(f, Y), (features, D.class_head.projection.weight))
    (slope,) = torch.autograd.grad(D(x, Y).sum(), x, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), D.class_head.projection.weight)
    assert again[:3].abs().sum() > 0


def test_bf16_gives_fp32_logits():
    D = conditional_d().float()
    x = torch.randn(4, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = D(x, Y)
    assert low.dtype == torch.float32
    assert (low - D(x, Y)).abs().max() < 0.05 * D(x, Y).abs().max()


def test_the_generator_gives_each_class_its_gains_and_biases():
    torch.manual_seed(0)
    G = ResNetGenerator(8, 3, width=0.04, z_dim=6, conditional=True, num_classes=5).double()
    plain = ResNetGenerator(8, 3, width=0.04, z_dim=6, num_classes=5).double()
    assert (G.num_classes, plain.num_classes) == (5, 0)
    plain.load_state_dict(G.state_dict(), strict=False)
    z = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(G(z, Y), plain(z))  # at the start every class is the same
    norm = G.blocks[0].norm_2
    with torch.no_grad():
        norm.gains[2] *= 1.5
    G.eval(), plain.eval()  # in training every image moves the statistics of all
    plain.load_state_dict(G.state_dict(), strict=False)
    changed = (G(z, Y) - plain(z)).abs().amax((1, 2, 3)) > 1e-9
    assert changed.tolist() == [True, False, True, False]
    G(z, Y).sum().backward()
    assert norm.biases.grad[:3].abs().sum(1).min() > 0 and not norm.biases.grad[3:].any()


@pytest.mark.slow
def test_a_conditional_block_is_differentiable_twice():
    block = UpBlock(2, 3, num_classes=3).double()
    with torch.no_grad():
        for p in block.parameters():
            p.normal_()
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x, *_: block(x, Y), (x, block.norm_1.gains, block.norm_2.biases))


@pytest.mark.parametrize(
    ("net", "settings", "message"),
    [
        (ResNetGenerator, {"num_classes": 0}, "needs num_classes"),
        (ResNetDiscriminator, {"num_classes": 0}, "needs num_classes"),
        (ResNetGenerator, {"num_classes": 3, "activation_norm": "layer"}, "activation_norm=batch, got 'layer'"),
    ],
)
def test_settings_out_of_range(net, settings, message):
    with pytest.raises(ValueError, match=message):
        conditional = {"conditional": True} if net is ResNetGenerator else {"condition": "projection"}
        net(8, 3, width=0.04, **conditional, **settings)


def test_a_call_without_classes():
    G = ResNetGenerator(8, 3, width=0.04, conditional=True, num_classes=5)
    for call in (lambda: G(G.sample_z(2, "cpu")), lambda: conditional_d()(torch.zeros(2, 3, 8, 8).double())):
        with pytest.raises(ValueError, match="needs classes"):
            call()
