"""The Dirac-GAN (arXiv:1801.04406, section 2) through the real d_step and g_step.

The data are a point mass at 0, G is a point mass at theta, D(x) = psi * x. Near the equilibrium (0, 0) one D step and
then one G step with plain gradient descent of step size h are a linear map of (theta, psi). Its spectral radius,
computed here from the calculus of the losses, is the rate at which training must spiral in or out.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gan_lab import losses
from gan_lab.config.schema import Config
from gan_lab.diagnostics.collapse import Detector
from gan_lab.experiment import Experiment, OptimizerSchedules, Schedules
from gan_lab.nets import Discriminator, Generator
from gan_lab.penalties import GradientPenalty
from gan_lab.training.step import d_step, g_step

STEP_SIZE = 0.1


class Point(Generator):
    def __init__(self, theta):
        super().__init__(1, 1, z_dim=1)
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def sample_z(self, n, device):
        return torch.zeros(n, 1, dtype=torch.float64)

    def forward(self, z, y=None):
        return (z * 0 + self.theta).reshape(-1, 1, 1, 1)


class Slope(Discriminator):
    def __init__(self, psi):
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))

    def features(self, x):
        return x.flatten(1)

    def logits(self, features, y=None):
        return (self.psi * features).squeeze(1)


def experiment(loss, penalties, theta=1e-3, psi=1e-3):
    G, D, g_loss = Point(theta), Slope(psi), getattr(losses, f"{loss}_g")
    rate = OptimizerSchedules(STEP_SIZE)
    return Experiment(
        config=Config(), device=torch.device("cpu"), dataset=SimpleNamespace(), G=G, D=D, G_ema=Point(theta),
        d_loss=getattr(losses, f"{loss}_d"), g_loss=g_loss, g_loss_needs_reals=losses.needs_reals(g_loss),
        penalties=nn.ModuleDict(penalties), augment=None,
        optimizer_g=torch.optim.SGD(G.parameters(), lr=STEP_SIZE),
        optimizer_d=torch.optim.SGD(D.parameters(), lr=STEP_SIZE),
        schedules=Schedules(rate, rate, lr_scale=1.0, ema_halflife_images=0.0), evaluator=None, joint_forward=True,
        extra_diagnostics={}, detector=Detector({}), skipped={},
    )  # fmt: skip


def take_step(exp, real):
    d_step(exp, real)
    g_step(exp, real)
    exp.step += 1


def measured_rate(x, steps=48, period=1):
    """Growth of (theta, psi) per step: the spectral radius of the linear map that best fits the steps taken."""
    real = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    path = [[x.G.theta.item(), x.D.psi.item()]]
    for _ in range(steps):
        take_step(x, real)
        path.append([x.G.theta.item(), x.D.psi.item()])
    points = np.array(path)[::period]
    fitted = np.linalg.lstsq(points[:-1], points[1:], rcond=None)[0]
    return max(abs(np.linalg.eigvals(fitted))) ** (1 / period)


def one_step(slope_d, slope_g, damping):
    """One D step followed by one G step as a matrix on (theta, psi).

    At logits 0 the D loss has the derivative `slope_d` by the fakes' logit, the G loss -`slope_g`, and `damping` * psi
    is the gradient of the penalties.
    """
    h = STEP_SIZE
    d = np.array([[1.0, 0.0], [-h * slope_d, 1.0 - h * damping]])  # psi <- psi - h (slope_d theta + damping psi)
    g = np.array([[1.0, h * slope_g], [0.0, 1.0]])  # theta <- theta + h slope_g psi
    return g @ d


def radius(matrix):
    return max(abs(np.linalg.eigvals(matrix)))


SLOPES = {"nonsaturating": (0.5, 0.5), "minimax": (0.5, 0.5), "wasserstein": (1.0, 1.0), "relativistic": (0.5, 0.5)}


@pytest.mark.parametrize("loss", SLOPES)
def test_without_regularisation_it_circles(loss):
    assert radius(one_step(*SLOPES[loss], 0.0)) == pytest.approx(1.0, abs=1e-12)
    assert measured_rate(experiment(loss, {})) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("loss", SLOPES)
@pytest.mark.parametrize(("at", "times"), [("real", 1), ("fake", 1), ("both", 2)])
@pytest.mark.parametrize("gamma", [0.3, 0.8])
def test_zero_centred_penalties_converge_at_the_predicted_rate(loss, at, times, gamma):
    rate = measured_rate(experiment(loss, {"gp": GradientPenalty(at=at, target=0.0, weight=gamma)}))
    expected = radius(one_step(*SLOPES[loss], times * gamma))
    assert expected < 0.99
    assert rate == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("interval", [2, 4])
def test_a_lazy_penalty_converges_at_its_own_predicted_rate(interval):
    """Once in `interval` steps at `interval` times the weight: nearly the rate of the eager penalty."""
    penalty = GradientPenalty(at="real", weight=0.4, interval=interval)
    rate = measured_rate(experiment("nonsaturating", {"gp": penalty}), steps=96, period=interval)
    rounds = one_step(0.5, 0.5, 0.4 * interval)
    for _ in range(interval - 1):
        rounds = one_step(0.5, 0.5, 0.0) @ rounds
    assert rate == pytest.approx(radius(rounds) ** (1 / interval), abs=1e-5)
    assert rate == pytest.approx(radius(one_step(0.5, 0.5, 0.4)), abs=3e-3)


def test_the_wasserstein_penalty_does_not_converge():
    """|D'| = 1 is its target, so psi cannot go to 0 and theta keeps moving (arXiv:1801.04406, section 2.2)."""
    x = experiment("wasserstein", {"gp": GradientPenalty(at="interpolate", target=1.0, weight=10.0)}, 1.0, 0.5)
    real = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    thetas, psis = [], []
    for _ in range(600):
        take_step(x, real)
        thetas.append(x.G.theta.item())
        psis.append(abs(x.D.psi.item()))
    assert max(abs(t) for t in thetas[-100:]) > 0.04
    assert 0.5 < np.mean(psis[-100:]) < 1.5
