"""Every loss against its formula in plain floats, at logits where no two terms are mirror images."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch

from gan_lab import losses
from gan_lab.errors import UserError
from gan_lab.schedules import Linear
from gan_lab.training.clock import Clock
from tests.training.short_runs import build

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


class Margin(torch.nn.Module):
    def __init__(self, margin=0.5):
        super().__init__()
        self.margin = margin

    def forward(self, fake_logits, *, real_logits, scale=2.0):
        return scale * (real_logits - fake_logits + self.margin).mean()


def own_g(fake_logits, margin=1.0):
    return (margin - fake_logits).mean()


def own_d(margin, real_logits, fake_logits):
    return (margin + fake_logits - 2 * real_logits).mean()


def test_a_loss_of_ones_own_is_given_its_logits_by_name():
    fake, real = logits(FAKE), logits(REAL)
    g = losses.by_name("loss.g", own_g)
    assert not losses.needs_reals(own_g) and g(fake, None).item() == pytest.approx(1 - np.mean(FAKE))
    d = losses.by_name("loss.d", partial(own_d, margin=3.0))
    assert d(real, fake).item() == pytest.approx(3 + np.mean(FAKE) - 2 * np.mean(REAL))
    module = Margin()
    expected = 2 * (np.mean(REAL) - np.mean(FAKE) + 0.5)
    assert losses.needs_reals(module) and losses.by_name("loss.g", module)(fake, real).item() == pytest.approx(expected)
    top = losses.TopK(losses.by_name("loss.g", own_g), 0.5)
    assert top(logits([3.0, 1.0]), None).item() == pytest.approx(-2.0)


def test_a_loss_that_cannot_be_one_is_refused():
    module = Margin()
    module.register_buffer("mean", torch.zeros(()))
    with pytest.raises(UserError, match="loss.g: Margin has parameters or buffers.*a loss keeps no state"):
        losses.by_name("loss.g", module)
    for found in (Margin, partial(Margin, margin=2.0)):
        with pytest.raises(UserError, match=r"loss.g: Margin is a class: set loss.g._partial_=false"):
            losses.by_name("loss.g", found)
    with pytest.raises(ValueError, match=r"top-k takes logits of shape \(b\), not \(4, 1\)"):
        losses.TopK(losses.hinge_g, 0.5)(torch.zeros(4, 1))


def per_sample(name, fake, real):
    """G's loss of single samples, and its slope by the fake's logit, from the papers."""
    return {
        "nonsaturating": lambda: (np.log1p(np.exp(-fake)), -1 / (1 + np.exp(fake))),
        "minimax": lambda: (-np.log1p(np.exp(fake)), -1 / (1 + np.exp(-fake))),
        "hinge": lambda: (-fake, -np.ones_like(fake)),
        "wasserstein": lambda: (-fake, -np.ones_like(fake)),
        "least_squares": lambda: ((fake - 1) ** 2 / 2, fake - 1),
        "relativistic": lambda: (np.log1p(np.exp(real - fake)), -1 / (1 + np.exp(fake - real))),
    }[name]()


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99, 1.0])
def test_top_k_is_the_mean_over_the_fakes_that_d_rates_highest(name, share):
    random = np.random.default_rng(3)
    fake_values, real_values = random.normal(size=10), random.normal(size=10)
    fake, real = logits(fake_values.tolist()), logits(real_values.tolist())
    top = losses.TopK(getattr(losses, f"{name}_g"), share)
    found = top(fake, real if name == "relativistic" else None)
    (slope,) = torch.autograd.grad(found, fake)
    k = {0.01: 1, 0.3: 3, 0.5: 5, 0.99: 10, 1.0: 10}[share]
    chosen = np.argsort(-fake_values)[:k]
    values, slopes = per_sample(name, fake_values, real_values)
    expected = np.zeros(10)
    expected[chosen] = slopes[chosen] / k
    assert found.item() == pytest.approx(values[chosen].mean(), rel=1e-6)
    assert slope.numpy() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_run_takes_its_share_from_a_schedule_and_trains_on_it(tiny_data):
    """0.99 an epoch down to a half; the number of training images comes from the data."""
    schedule = "loss.top_k={_target_: gan_lab.schedules.Exponential, start: 1.0, end: 0.5}"
    x = build(tiny_data, "loss=hinge", "penalty=none", "trainer.n_dis=2", schedule)
    epoch, clock = x.dataset.num_train, Clock(x)
    assert isinstance(x.g_loss, losses.TopK) and not x.g_loss_needs_reals
    for x.step in (0, 10, 1000, 9999):
        clock.tick()
        expected = max(0.99 ** (x.step * 16 / epoch), 0.5)
        assert float(x.g_loss.present) == pytest.approx(expected, rel=1e-6)
    assert float(x.g_loss.present) == 0.5 and expected == 0.5
    found = x.g_loss(torch.tensor([3.0, -1.0, 2.0, 0.0]))
    assert found.item() == pytest.approx(-2.5)
    relativistic = build(tiny_data, "loss.top_k=0.25")
    assert isinstance(relativistic.g_loss, losses.TopK) and relativistic.g_loss_needs_reals
    assert not isinstance(build(tiny_data).g_loss, losses.TopK)
    assert float(losses.TopK(losses.hinge_g, Linear(1.0, 0.5, 10)).present) == 1.0
