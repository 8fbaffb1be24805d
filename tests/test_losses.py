"""Every loss against its formula in plain floats, at logits where no two terms are mirror images."""

import inspect
import math
from functools import partial

import pytest
import torch

from gan_lab import losses

REAL, FAKE = [0.3, -1.7, 2.1], [-0.4, 0.9, 1.3]


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


def mean(values):
    return sum(values) / len(values)


CROSS_ENTROPY = mean([-math.log(sigmoid(r)) for r in REAL]) + mean([-math.log(1.0 - sigmoid(f)) for f in FAKE])
PAIRS = list(zip(REAL, FAKE, strict=True))
EXPECTED = {
    "nonsaturating": (CROSS_ENTROPY, mean([-math.log(sigmoid(f)) for f in FAKE])),
    "minimax": (CROSS_ENTROPY, mean([math.log(1.0 - sigmoid(f)) for f in FAKE])),
    # relu(1 - r): 0.7, 2.7, 0; relu(1 + f): 0.6, 1.9, 2.3
    "hinge": (3.4 / 3 + 4.8 / 3, -0.6),
    # means: real 0.7 / 3, fake 1.8 / 3
    "wasserstein": (1.1 / 3, -0.6),
    # (r - 1)^2: 0.49, 7.29, 1.21; f^2: 0.16, 0.81, 1.69; (f - 1)^2: 1.96, 0.01, 0.09
    "least_squares": ((8.99 / 3 + 2.66 / 3) / 2, 2.06 / 3 / 2),
    "relativistic": (
        mean([-math.log(sigmoid(r - f)) for r, f in PAIRS]),
        mean([-math.log(sigmoid(f - r)) for r, f in PAIRS]),
    ),
}


def logits(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("name", EXPECTED)
def test_value(name):
    real, fake = logits(REAL), logits(FAKE)
    d = getattr(losses, f"{name}_d")(real, fake)
    g = getattr(losses, f"{name}_g")(fake, real)
    assert d.item() == pytest.approx(EXPECTED[name][0], abs=1e-12)
    assert g.item() == pytest.approx(EXPECTED[name][1], abs=1e-12)
    assert d.shape == g.shape == ()


# d loss / d logit at every logit, by hand; s is the sigmoid.
GRADIENTS = {
    "nonsaturating": ([-sigmoid(-r) for r in REAL], [sigmoid(f) for f in FAKE], [-sigmoid(-f) for f in FAKE]),
    "minimax": ([-sigmoid(-r) for r in REAL], [sigmoid(f) for f in FAKE], [-sigmoid(f) for f in FAKE]),
    "hinge": ([-1, -1, 0], [1, 1, 1], [-1, -1, -1]),
    "wasserstein": ([-1, -1, -1], [1, 1, 1], [-1, -1, -1]),
    "least_squares": ([r - 1 for r in REAL], FAKE, [f - 1 for f in FAKE]),
    "relativistic": (
        [-sigmoid(f - r) for r, f in PAIRS],
        [sigmoid(f - r) for r, f in PAIRS],
        [-sigmoid(r - f) for r, f in PAIRS],
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient(name):
    real, fake = logits(REAL), logits(FAKE)
    d_real, d_fake = torch.autograd.grad(getattr(losses, f"{name}_d")(real, fake), [real, fake])
    (g_fake,) = torch.autograd.grad(getattr(losses, f"{name}_g")(fake, real), [fake])
    for found, expected in zip((d_real, d_fake, g_fake), GRADIENTS[name], strict=True):
        assert (3 * found).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_finite_at_extreme_logits(name, size):
    real, fake = torch.tensor([size]), torch.tensor([-size])
    for value in (getattr(losses, f"{name}_d")(real, fake), getattr(losses, f"{name}_g")(fake, real)):
        assert torch.isfinite(value)


def test_a_g_loss_says_whether_it_needs_the_reals():
    for name in EXPECTED:
        loss = getattr(losses, f"{name}_g")
        needs = inspect.signature(loss).parameters["real_logits"].default is inspect.Parameter.empty
        assert needs == losses.needs_reals(loss) == losses.needs_reals(partial(loss)) == (name == "relativistic")
        if not needs:
            assert loss(logits(FAKE), None).item() == pytest.approx(EXPECTED[name][1], abs=1e-12)
