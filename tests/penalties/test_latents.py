"""LOGAN's step and its gradients against NumPy written from the paper, with finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from gan_lab import losses
from gan_lab.nets.base import Generator
from gan_lab.penalties import Batch, LatentOptimization
from gan_lab.training.step import d_step, g_step
from tests.training.short_runs import build

ALPHA, BETA, WEIGHT = 0.9, 0.1, 0.7
RANDOM = np.random.default_rng(5)
Z, REAL = RANDOM.uniform(-1, 1, (6, 4)), RANDOM.normal(size=(6, 3))
A, LINEAR, SQUARE = RANDOM.normal(size=(3, 4)), 0.4 * RANDOM.normal(size=3), 0.4 * RANDOM.normal(size=3)


class G(nn.Module):
    """z A^T, as images of three numbers."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(A))

    def forward(self, z, y=None):
        return z @ self.a.T


class D(nn.Module):
    """linear . x + square . x^2 / 2."""

    def __init__(self):
        super().__init__()
        self.linear, self.square = nn.Parameter(torch.tensor(LINEAR)), nn.Parameter(torch.tensor(SQUARE))

    def forward(self, x, y=None):
        return x @ self.linear + x.square() @ self.square / 2


def logits_in_numpy(x, linear, square):
    return x @ linear + x**2 @ square / 2


def moved_in_numpy(a, linear, square, natural, clip):
    """z', dz of Z."""
    g = (linear + square * (Z @ a.T)) @ a  # d D(G(z)) / dz
    step = ALPHA * g / (BETA + (g**2).sum(1, keepdims=True)) if natural else ALPHA * g
    return (np.clip(Z + step, -1, 1) if clip else Z + step), step


def d_loss_in_numpy(linear, square, natural, clip):
    fake = logits_in_numpy(moved_in_numpy(A, linear, square, natural, clip)[0] @ A.T, linear, square)
    return np.maximum(1 - logits_in_numpy(REAL, linear, square), 0).mean() + np.maximum(1 + fake, 0).mean()


def g_loss_in_numpy(a, natural, clip):
    moved, step = moved_in_numpy(a, LINEAR, SQUARE, natural, clip)
    return -logits_in_numpy(moved @ a.T, LINEAR, SQUARE).mean() + WEIGHT * (step**2).sum(1).mean()


def slopes(function, at, size=1e-6):
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += size
        down[index] -= size
        found[index] = (function(up) - function(down)) / (2 * size)
    return found


def optimization(side, natural=True, clip=False, **settings):
    return LatentOptimization(side, step_size=ALPHA, damping=BETA, natural=natural, share=1.0, clip=clip, **settings)


def d_update(penalty, weight):
    """D's gradients by the steps of `d_step`."""
    g, d = G(), D()
    batch = Batch(g, d, z=torch.tensor(Z))
    with torch.no_grad():
        batch.z = penalty.latents(batch)
        batch.fake = g(batch.z)
    batch.fake.requires_grad_()
    batch.loss = losses.hinge_d(d(torch.tensor(REAL)), d(batch.fake))
    term = penalty(batch)
    (batch.loss + weight * term).backward()
    assert not batch.z.requires_grad and g.a.grad is None
    return d.linear.grad.numpy(), d.square.grad.numpy(), float(term.detach()), batch.z.numpy()


@pytest.mark.parametrize("natural", [True, False])
@pytest.mark.parametrize("clip", [True, False])
def test_d_learns_through_the_step(natural, clip):
    linear, square, term, moved = d_update(optimization("d", natural, clip), 1.0)
    expected, _ = moved_in_numpy(A, LINEAR, SQUARE, natural, clip)
    assert moved == pytest.approx(expected, rel=1e-9)
    assert linear == pytest.approx(slopes(lambda p: d_loss_in_numpy(p, SQUARE, natural, clip), LINEAR), abs=1e-6)
    assert square == pytest.approx(slopes(lambda p: d_loss_in_numpy(LINEAR, p, natural, clip), SQUARE), abs=1e-6)
    fake = logits_in_numpy(expected @ A.T, LINEAR, SQUARE)
    by_z = (fake > -1)[:, None] / len(Z) * ((LINEAR + SQUARE * (expected @ A.T)) @ A)
    assert term == pytest.approx((by_z * (expected - Z)).sum(), rel=1e-9)


def test_weight_0_of_d_stops_the_gradient():
    linear, square, _, moved = d_update(optimization("d"), 0.0)

    def loss(linear, square):
        fake = logits_in_numpy(moved @ A.T, linear, square)
        return np.maximum(1 - logits_in_numpy(REAL, linear, square), 0).mean() + np.maximum(1 + fake, 0).mean()

    assert linear == pytest.approx(slopes(lambda p: loss(p, SQUARE), LINEAR), abs=1e-6)
    assert square == pytest.approx(slopes(lambda p: loss(LINEAR, p), SQUARE), abs=1e-6)
    whole = slopes(lambda p: d_loss_in_numpy(p, SQUARE, True, False), LINEAR)
    assert np.abs(linear - whole).max() > 0.01  # so that the other test would notice


@pytest.mark.parametrize("natural", [True, False])
@pytest.mark.parametrize("clip", [True, False])
def test_g_learns_through_the_step_and_is_regularized(natural, clip):
    g, d, penalty = G(), D(), optimization("g", natural, clip)
    d.requires_grad_(False)
    batch = Batch(g, d, z=torch.tensor(Z))
    batch.z = penalty.latents(batch)
    term = penalty(batch)
    (losses.hinge_g(d(g(batch.z))) + WEIGHT * term).backward()
    _, step = moved_in_numpy(A, LINEAR, SQUARE, natural, clip)
    assert term.item() == pytest.approx((step**2).sum(1).mean(), rel=1e-9)
    assert g.a.grad.numpy() == pytest.approx(slopes(lambda p: g_loss_in_numpy(p, natural, clip), A), abs=1e-6)
    with pytest.raises(RuntimeError, match="call latents first"):
        penalty(batch)


def test_a_share_of_the_numbers_moves_and_stays_in_the_prior():
    torch.manual_seed(0)
    g, d, z = G(), D(), torch.rand(2000, 4, dtype=torch.float64) * 2 - 1
    moved = LatentOptimization("g", share=0.3).latents(Batch(g, d, z=z)).detach()
    assert float((moved != z).double().mean()) == pytest.approx(0.3, abs=0.02) and moved.abs().max() <= 1.0
    free = LatentOptimization("g", share=1.0, clip=False).latents(Batch(g, d, z=z)).detach()
    assert free.abs().max() > 1.0 and (d(g(free)) > d(g(z))).double().mean() > 0.9  # up, not down


@pytest.mark.parametrize("settings", [{"step_size": 0.0}, {"damping": 0.0}, {"share": 0.0}, {"share": 1.1}], ids=str)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LatentOptimization("d", **settings)


def test_the_uniform_prior_is_uniform():
    torch.manual_seed(0)
    z = Generator(8, 3, 50, z_prior="uniform").sample_z(2000, "cpu")
    shares = torch.histc(z, 20, -1.0, 1.0) / z.numel()
    assert z.abs().max() <= 1.0 and shares.sub(0.05).abs().max() < 0.003
    with pytest.raises(ValueError, match="z_prior"):
        Generator(8, 3, 50, z_prior="even")


def test_both_steps_use_moved_latents(tiny_data, monkeypatch):
    """G is given other latents than were drawn, in the same update; weights of the other net stay."""
    x = build(tiny_data, "recipe=logan", "width=0.0625")
    drawn, given, true = [], [], x.G.from_normal
    monkeypatch.setattr(x.G, "from_normal", lambda n: drawn.append(true(n)) or drawn[-1])
    x.G.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].detach().clone()))
    images = x.dataset.images("train", torch.arange(8)).float() / 127.5 - 1
    for step, side in ((d_step, "d"), (g_step, "g")):
        log = step(x, images)
        assert torch.equal(given[0], drawn[0]) and not torch.equal(given[1], drawn[0])
        assert given[1].abs().max() <= 1.0 and float(log[f"penalty/logan_{side}"]) != 0.0
        if side == "d":
            assert torch.equal(given[2], given[1])
        drawn.clear()
        given.clear()


def test_without_an_adversarial_loss_d_has_nothing_to_learn_from_the_step():
    penalty, batch = optimization("d"), Batch(G(), D(), z=torch.tensor(Z), fake=torch.zeros(6, 3), loss=torch.zeros(()))
    penalty.latents(batch)
    assert penalty(batch).item() == 0.0
