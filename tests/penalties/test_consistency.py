"""Consistency by hand; that of latents against its formula in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from gan_lab.penalties import Batch, Consistency, LatentConsistency
from gan_lab.penalties.consistency import flip_and_shift


def batch_of(D, real, real_logits, fake_logits):
    fake = torch.zeros_like(real)
    return Batch(nn.Identity(), D, real, fake, torch.zeros(len(real), 2), real_logits, fake_logits)


def columns(n, size):
    """Images whose pixel (y, x) of channel 0 is x and of channel 1 is y."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return torch.stack([x, y]).expand(n, 2, size, size).clone()


def test_flip_and_shift_moves_whole_images():
    """Every result is one of the 2 * 5 * 5 flips and shifts with a mirrored border, and all of them occur."""
    size, most = 7, 2
    images = columns(1500, size)
    torch.manual_seed(0)
    moved = flip_and_shift(images, most)
    assert moved.shape == images.shape
    padded = torch.nn.functional.pad(images[:1], [most] * 4, mode="reflect")
    seen = {}
    for flip in (False, True):
        source = padded.flip(3) if flip else padded
        for dy in range(2 * most + 1):
            for dx in range(2 * most + 1):
                expected = source[:, :, dy : dy + size, dx : dx + size]
                seen[flip, dy, dx] = (moved == expected).flatten(1).all(1).sum().item()
    assert sum(seen.values()) == 1500
    assert min(seen.values()) >= 10 and max(seen.values()) <= 60  # 30 each expected
    assert torch.equal(images, columns(1500, size))


def test_no_shift_only_flips():
    images = columns(64, 5)
    torch.manual_seed(0)
    moved = flip_and_shift(images, 0)
    same, mirrored = (moved == images).flatten(1).all(1), (moved == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and 10 < same.sum() < 54


def test_consistency_value():
    """D reads the top left pixel's column: with flips only it is 0 or 4, the first logit is a fixed 1."""
    images = columns(200, 5).double()

    def D(x):
        return 3.0 * x[:, 0, 0, 0]

    penalty = Consistency(shift=0)
    torch.manual_seed(0)
    moved = D(flip_and_shift(images, 0))
    torch.manual_seed(0)
    value = penalty(batch_of(D, images, torch.full((200,), 1.0, dtype=torch.float64), torch.zeros(200)))
    assert set(moved.tolist()) == {0.0, 12.0}
    share = (moved == 12.0).double().mean().item()
    assert value.item() == pytest.approx(share * 121.0 + (1 - share) * 1.0, abs=1e-9)
    torch.manual_seed(0)
    assert penalty(batch_of(D, images, None, torch.zeros(200))).item() == pytest.approx(share * 144.0, abs=1e-9)


def test_consistency_trains_both_ends():
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    images = columns(50, 5).double()

    def D(x):
        return w * x[:, 0, 0, 0]

    value = Consistency(shift=1)(batch_of(D, images, D(images), torch.zeros(50)))
    value.backward()
    assert w.grad.item() == pytest.approx(value.item(), rel=1e-9)  # value is c w^2, its slope 2 c w, and w is 2
    assert value.item() > 0


def test_consistency_of_fakes_reads_fakes_only():
    """bCR's second term, with the fakes' classes: D is three times the top left column, plus the class."""
    images = columns(200, 5).double()
    y, fake_y = torch.full((200,), 100.0), torch.ones(200)

    def D(x, y):
        return 3.0 * x[:, 0, 0, 0] + y

    batch = Batch(D=D, real=images + 50.0, fake=images, y=y, fake_y=fake_y, real_logits=D(images, y),
                  fake_logits=torch.full((200,), 2.0, dtype=torch.float64))  # fmt: skip
    torch.manual_seed(0)
    share = (flip_and_shift(images, 0)[:, 0, 0, 0] == 4.0).double().mean().item()
    torch.manual_seed(0)
    value = Consistency(shift=0, images="fake")(batch)
    assert value.item() == pytest.approx(share * 11.0**2 + (1 - share) * 1.0, abs=1e-9)  # 13 or 1, against 2


A, W = np.array([[0.5, -1.0], [2.0, 0.3], [-0.7, 1.1]]), np.array([1.5, -0.4, 0.8])
Z, E = np.random.default_rng(0).standard_normal((2, 4, 2))


def latent_formulas(a, w, sigma):
    """(D's term, G's term) of G(z) = tanh(A z), three pixels, and D(x) = (w . x)^2."""
    x, moved = np.tanh(Z @ a.T), np.tanh((Z + sigma * E) @ a.T)
    return np.mean([((w @ p) ** 2 - (w @ q) ** 2) ** 2 for p, q in zip(x, moved, strict=True)]), -np.mean(
        [np.mean((p - q) ** 2) for p, q in zip(x, moved, strict=True)]
    )


@pytest.mark.parametrize("side", ["d", "g"])
def test_latent_consistency_is_the_papers(side, monkeypatch):
    """D's is small where logits agree and trains D alone; G's is small where images differ and trains G alone."""
    monkeypatch.setattr("gan_lab.penalties.consistency.normal", lambda shape, **kind: torch.tensor(E))
    a, w = torch.tensor(A, requires_grad=True), torch.tensor(W, requires_grad=True)

    def G(z):
        return torch.tanh(z @ a.t())[:, :, None, None]

    def D(x):
        return (x.flatten(1) @ w).square()

    z, at = torch.tensor(Z), 0 if side == "d" else 1
    fake = G(z).detach() if side == "d" else G(z)
    value = LatentConsistency(side, sigma=0.3)(Batch(G=G, D=D, z=z, fake=fake, fake_logits=D(fake)))
    assert value.item() == pytest.approx(latent_formulas(A, W, 0.3)[at], rel=1e-10)
    found = torch.autograd.grad(value, (a, w), allow_unused=True)
    assert found[1 - at] is not None and found[at] is None
    trained, step = (W, 1e-6) if side == "d" else (A, 1e-6)
    expected = np.zeros_like(trained)
    for i in np.ndindex(trained.shape):
        plus, minus = trained.copy(), trained.copy()
        plus[i] += step
        minus[i] -= step
        both = [latent_formulas(A, v, 0.3) if side == "d" else latent_formulas(v, W, 0.3) for v in (plus, minus)]
        expected[i] = (both[0][at] - both[1][at]) / (2 * step)
    np.testing.assert_allclose(found[1 - at].numpy(), expected, rtol=1e-5, atol=1e-8)
    assert abs(expected).max() > 1e-2


def test_latent_consistency_keeps_the_class_and_draws_anew():
    """G(z, y) = z + y: the difference of images is the noise, whose variance is sigma^2; classes cancel."""
    z, y = torch.zeros(400, 50, dtype=torch.float64), torch.arange(400)

    def G(z, y):
        return z + y[:, None].double()

    penalty, batch = LatentConsistency("g", sigma=0.1), Batch(G=G, z=z, fake=G(z, y), fake_y=y)
    torch.manual_seed(0)
    one, two = penalty(batch).item(), penalty(batch).item()
    assert one != two and one == pytest.approx(-0.01, rel=0.05) and two == pytest.approx(-0.01, rel=0.05)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="shift"):
        Consistency(shift=-1)
    with pytest.raises(ValueError, match="images must be real or fake, got 'both'"):
        Consistency(images="both")
    with pytest.raises(ValueError, match="sigma must be above 0"):
        LatentConsistency(sigma=0.0)
