"""What all penalties share: settings, gradients with a graph, the net of their side."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gan_lab.penalties import GradientPenalty
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Linear


@pytest.mark.parametrize(
    "settings, text",
    [((1.0, 0, "d"), "interval must be at least 1, got 0"), ((1.0, 1, "x"), "side must be d or g, got 'x'"),
     ((-0.5, 1, "d"), r"weight must be at least 0, got -0.5")],
)  # fmt: skip
def test_settings_out_of_range(settings, text):
    with pytest.raises(ValueError, match=text):
        Penalty(*settings)


def test_the_factor_is_weight_times_interval_and_no_state():
    assert Penalty(0.5, 16, "d").factor == 8.0
    assert Penalty(Linear(start=2.0, end=0.0, over_images=100), 3, "g").factor == 6.0
    assert Penalty(1.0, 1, "d").state_dict() == {}


def test_the_term_of_a_loop_of_ones_own():
    """With plain tensors and a lambda: D(x) = sum of x^2 / 2, whose gradient is x."""
    r1, x = GradientPenalty(at="real", weight=3.0, interval=4), torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    terms = [r1.term(step, D=lambda x: x.square().sum(1) / 2, real=x).item() for step in range(6)]
    assert terms == pytest.approx([3.0 * 4 * 0.5 * (5 + 1) / 2, 0, 0, 0, 18.0, 0])


def test_the_gradient_is_autograds_and_can_be_differentiated():
    x = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64, requires_grad=True)
    found = Penalty(1.0, 1, "d").gradient(x.pow(3).sum(1), x)
    torch.testing.assert_close(found, 3 * x.detach().square())
    torch.testing.assert_close(torch.autograd.grad(found.sum(), x)[0], 6 * x.detach())


def test_a_gradient_that_would_train_nothing_is_an_error():
    penalty, x = Penalty(1.0, 1, "d"), torch.ones(2, 1, requires_grad=True)
    with pytest.raises(RuntimeError, match="do not depend on the inputs"):
        penalty.gradient(torch.ones(2, requires_grad=True) * 1, x)
    with pytest.raises(RuntimeError, match="lost its graph"):
        penalty.gradient(x[:, 0] * 2, x)  # a linear function: its gradient is a constant


def test_the_net_of_its_side():
    G, D = nn.Linear(1, 1), nn.Linear(2, 1)
    assert Penalty(1.0, 1, "g").net(Batch(G=G, D=D)) is G
    assert Penalty(1.0, 1, "d").net(Batch(G=G, D=D)) is D
    assert Penalty(1.0, 1, "d").net(Batch(D=SimpleNamespace(module=D))) is D
    with pytest.raises(TypeError, match="Penalty works on weights"):
        Penalty(1.0, 1, "d").net(Batch(D=lambda x: x))


def test_logits_of_other_images_with_and_without_classes():
    batch = Batch(D=lambda x, y=None: x.sum(1) + (0 if y is None else y))
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([5])
    assert batch.logits(x) == 3.0 and batch.logits(x, y) == 8.0
    with pytest.raises(AssertionError, match="needs batch.D"):
        Batch().logits(x)
