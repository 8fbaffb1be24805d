"""The gradient penalty in closed form on critics whose gradient is known."""

import math

import pytest
import torch
from torch import nn

from gan_lab.penalties import Batch, GradientPenalty, PenaltyModule, R1Weight

SHAPE = (3, 4, 4)


class Linear(nn.Module):
    """D(x) = <w, x>: its gradient is w everywhere."""

    def __init__(self, norm):
        super().__init__()
        torch.manual_seed(0)
        w = torch.randn(SHAPE, dtype=torch.float64)
        self.w = nn.Parameter(w * (norm / w.norm()))
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return (x * self.w).sum((1, 2, 3))


class Quadratic(nn.Module):
    """D(x) = a |x|^2 / 2: its gradient is a x."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, x):
        return 0.5 * self.a * x.square().sum((1, 2, 3))


def batch_of(D, penalty=None, joint=False):
    torch.manual_seed(1)
    real = torch.rand(5, *SHAPE, dtype=torch.float64) * 2 - 1
    fake = torch.randn(5, *SHAPE, dtype=torch.float64) * 0.3 + 0.1
    wanted = penalty.needs_input_grad if penalty else frozenset()
    real.requires_grad_("real" in wanted)
    fake.requires_grad_("fake" in wanted)
    if joint:
        real_logits, fake_logits = D(torch.cat([real, fake])).chunk(2)
    else:
        real_logits, fake_logits = D(real), D(fake)
    return Batch(nn.Identity(), D, real, fake, torch.zeros(5, 2), real_logits, fake_logits)


def squares(images):
    return images.square().flatten(1).sum(1)


@pytest.mark.parametrize("norm", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("at", ["real", "fake", "both", "interpolate", "perturb"])
@pytest.mark.parametrize(("target", "one_sided"), [(0.0, False), (1.0, False), (1.0, True), (1.7, False)])
def test_linear_critic(at, target, one_sided, norm):
    """(|w| - 1)^2 for WGAN-GP and DRAGAN; gamma |w|^2 / 2 for R1, whose gamma is the weight."""
    D = Linear(norm)
    penalty = GradientPenalty(at=at, target=target, weight=7.0, one_sided=one_sided)
    excess = norm - target
    expected = norm**2 / 2 if target == 0 else (max(excess, 0.0) if one_sided else excess) ** 2
    times = 2 if at == "both" else 1
    value = penalty(batch_of(D, penalty))
    assert value.item() == pytest.approx(times * expected, abs=1e-12)
    slope = norm if target == 0 else 2 * (max(excess, 0.0) if one_sided else excess)
    value.backward()
    expected_grad = times * slope * D.w.detach() / norm
    assert (D.w.grad - expected_grad).abs().max() < 1e-12


@pytest.mark.parametrize("joint", [False, True])
def test_points_of_r1_and_r2(joint):
    D, a = Quadratic(1.3), 1.3
    values = {}
    for at in ("real", "fake", "both"):
        penalty = GradientPenalty(at=at)
        batch = batch_of(D, penalty, joint)
        values[at] = penalty(batch).item()
        real, fake = (a**2 / 2 * squares(x).mean().item() for x in (batch.real, batch.fake))
    assert abs(real - fake) > 0.1
    assert values == pytest.approx({"real": real, "fake": fake, "both": real + fake}, abs=1e-12)


def test_mean_of_squared_distances_not_square_of_mean():
    D, a = Quadratic(1.3), 1.3
    penalty = GradientPenalty(at="fake", target=1.0)
    batch = batch_of(D, penalty)
    lengths = a * squares(batch.fake).sqrt()
    assert penalty(batch).item() == pytest.approx((lengths - 1).square().mean().item(), abs=1e-12)


def test_interpolation_is_uniform_on_the_segments_with_one_draw_per_image():
    D = Linear(1.0)
    penalty = GradientPenalty(at="interpolate", target=1.0)
    batch = batch_of(D, penalty)
    shares = []
    for _ in range(400):
        D.seen.clear()
        penalty(batch)
        share = (D.seen[0].detach() - batch.fake) / (batch.real - batch.fake)  # 1 at the real
        flat = share.flatten(1)
        assert (flat - flat[:, :1]).abs().max() < 1e-6
        shares.append(flat[:, 0])
    shares = torch.cat(shares)
    assert len(shares.unique()) > 1900
    assert shares.min() >= 0 and shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / 12, abs=0.01)


def test_perturbation_is_around_the_reals():
    D = Linear(1.0)
    penalty = GradientPenalty(at="perturb", target=1.0, perturb_scale=0.4)
    batch = batch_of(D, penalty)
    D.seen.clear()
    for _ in range(300):
        penalty(batch)
    moves = torch.stack([x.detach() - batch.real for x in D.seen]) / (0.4 * batch.real.std())
    assert moves.min() >= 0 and moves.max() < 1
    assert moves.mean().item() == pytest.approx(0.25, abs=0.02)  # the product of two uniform draws
    per_image = moves.flatten(2).mean(2)
    assert per_image.std().item() == pytest.approx(0.5 / math.sqrt(12), abs=0.03)


def test_step_logits_are_reused_and_missing_ones_computed():
    D = Linear(1.0)
    penalty = GradientPenalty(at="both")
    batch = batch_of(D, penalty)
    D.seen.clear()
    penalty(batch)
    assert D.seen == []
    plain = batch_of(D)
    plain.real_logits = None
    D.seen.clear()
    assert penalty(plain).item() == pytest.approx(1.0, abs=1e-12)
    assert len(D.seen) == 2


@pytest.mark.parametrize(
    ("at", "needs"),
    [
        ("real", {"real"}),
        ("fake", {"fake"}),
        ("both", {"real", "fake"}),
        ("interpolate", set()),
        ("perturb", set()),
    ],
)
def test_needs_input_grad(at, needs):
    penalty = GradientPenalty(at=at, weight=3.0, interval=4)
    assert penalty.needs_input_grad == needs
    assert (penalty.side, penalty.weight, penalty.interval) == ("d", 3.0, 4)


def test_norm_zero_gives_no_nan():
    D = Linear(1.0)
    with torch.no_grad():
        D.w.zero_()
    value = GradientPenalty(at="interpolate", target=1.0)(batch_of(D))
    assert value.item() == 1.0
    value.backward()
    assert torch.equal(D.w.grad, torch.zeros_like(D.w))


def test_a_lost_graph_is_an_error():
    w = Linear(1.0).w.detach()

    def constant(x):  # what a compiled net can look like: a gradient that nothing trained has a part in
        return (x * w).sum((1, 2, 3))

    penalty = GradientPenalty(at="interpolate")
    with pytest.raises(RuntimeError, match="GradientPenalty.*lost its graph"):
        penalty(batch_of(constant))
    with torch.no_grad(), pytest.raises(RuntimeError):  # no graph at all: autograd itself refuses
        penalty(batch_of(Linear(1.0)))
    assert penalty(batch_of(Linear(1.0))).requires_grad


def test_logits_that_ignore_the_inputs_are_an_error():
    with pytest.raises(RuntimeError, match="do not depend"):
        GradientPenalty(at="interpolate")(batch_of(lambda x: torch.ones(len(x), requires_grad=True)))


def test_fp32_under_autocast():
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    real, fake = torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = GradientPenalty(at="interpolate", target=1.0)(
            Batch(nn.Identity(), D, real, fake, torch.zeros(2, 2), None, D(fake))
        )
    assert value.dtype == torch.float32
    value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for n, p in D.named_parameters() if "weight" in n)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"at": "reel"}, "interpolate"),
        ({"target": -1.0}, "target"),
        ({"interval": 0}, "interval"),
        ({"weight": -1.0}, "weight"),
        ({"at": "perturb", "perturb_scale": 0.0}, "perturb_scale"),
    ],
)
def test_settings_out_of_range(settings, word):
    with pytest.raises(ValueError, match=word):
        GradientPenalty(**settings)


def test_side_is_d_or_g():
    with pytest.raises(ValueError, match="side"):
        PenaltyModule(1.0, 1, "x")


def test_r1_weight_of_stylegan2():
    weight = R1Weight(resolution=256, batch_size=32)
    assert weight(0.0) == weight(1e6) == pytest.approx(0.0002 * 65536 / 32)
    assert GradientPenalty(weight=weight).weight is weight
    with pytest.raises(ValueError, match="coefficient"):
        R1Weight(32, 64, coefficient=0.0)
