"""ADA: identity at p = 0, how often each transform hits, and the rule that moves p."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.augment import ADA, geometry
from gan_lab.augment.ada import random_blit, random_color, random_geometry
from gan_lab.schedules import Cosine


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("channels", [1, 3])
def test_identity_at_p_0(channels):
    x = torch.randn(8, channels, 16, 16)
    assert torch.equal(ADA(0.0, cutout=1.0)(x), x)
    assert torch.equal(ADA(1.0, blit=0.0, geometric=0.0, color=0.0)(x), x)
    assert torch.equal(ADA()(x), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_at_p_1_every_image_changes(channels):
    x = torch.randn(64, channels, 16, 16)
    y = ADA(1.0, cutout=1.0)(x)
    assert y.shape == x.shape and y.dtype == x.dtype and y.isfinite().all()
    assert (y != x).flatten(1).any(1).all()


def test_real_and_fake_in_one_batch_get_their_own_draws():
    x = torch.randn(1, 3, 16, 16).expand(6, -1, -1, -1)
    y = ADA(1.0)(x)
    assert len({tuple(v.flatten().tolist()) for v in y}) == 6
    torch.manual_seed(5)
    a = ADA(1.0)(x)
    torch.manual_seed(5)
    assert torch.equal(ADA(1.0)(x), a)


def share(matrices: torch.Tensor) -> float:
    return geometry.is_changed(matrices).float().mean().item()


def test_each_transform_hits_with_probability_p():
    x, p = torch.zeros(20_000, 3, 16, 16).expand(20_000, 3, 16, 16), torch.tensor(0.3)
    # a flip is real half of the time, a turn three times in four; few shifts round to nothing
    idle = (1 - 0.3 / 2) * (1 - 0.3 * 3 / 4) * (1 - 0.3)
    assert share(random_blit(x, p)) == pytest.approx(1 - idle, abs=0.03)
    # the two rotations together count once: 1 - (1 - p)^4
    assert share(random_geometry(x, p)) == pytest.approx(1 - 0.7**4, abs=0.015)
    assert share(random_color(x, p)) == pytest.approx(1 - 0.7**4 * 0.85, abs=0.015)
    assert share(random_color(x[:, :1], p)) == pytest.approx(1 - 0.7**2 * 0.85, abs=0.015)
    holes = (ADA(0.3, blit=0, geometric=0, color=0, cutout=0.5)(x[:4000] + 1) == 0).flatten(1).any(1)
    assert holes.float().mean().item() == pytest.approx(0.15, abs=0.02)


def test_sizes_of_the_moves():
    x, one = torch.zeros(20_000, 1, 32, 32), torch.tensor(1.0)
    m = random_blit(x, one)
    shift = torch.linalg.inv(m)[:, :2, 2]
    assert shift.abs().max() == pytest.approx(4.0, abs=1e-4)  # an eighth of the side
    torch.testing.assert_close(shift, shift.round(), rtol=0, atol=1e-4)
    assert set(m[:, :2, :2].unique().tolist()) == {-1.0, 0.0, 1.0}
    m = random_geometry(x, one)
    area = -m[:, :2, :2].det().log2() / 2  # log2 of the isotropic scale: the rest preserves area
    assert area.std().item() == pytest.approx(0.2, rel=0.05) and area.mean().item() == pytest.approx(0, abs=0.01)
    content = torch.linalg.inv(m.double())
    assert content[:, :2, 2].std().item() == pytest.approx(4.0, rel=0.05)
    middle = torch.linalg.svdvals(m.double()[:, :2, :2])
    stretch = (middle[:, 0] / middle[:, 1]).log2() / 2
    assert stretch.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.05)


def test_sizes_of_the_colour_changes():
    m = random_color(torch.zeros(20_000, 3, 2, 2), torch.tensor(1.0)).double()
    gray = m[:, :3, :3].sum(2).mean(1)  # what becomes of (1, 1, 1): contrast, negative where luma is flipped
    assert gray.abs().log2().std().item() == pytest.approx(0.5, rel=0.05)
    assert (gray < 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    brightness = m[:, :3, 3].mean(1) / gray
    assert brightness.std().item() == pytest.approx(0.2, rel=0.05)
    volume = m[:, :3, :3].det().abs().log2() - 3 * gray.abs().log2()  # the square of the saturation
    assert (volume / 2).std().item() == pytest.approx(1.0, rel=0.05)
    red = m[:, :3, 0] - m[:, :3, 0].mean(1, keepdim=True)  # where pure chroma goes: every hue alike
    angle = torch.atan2((red[:, 1] - red[:, 2]) * 3**-0.5, red[:, 0])
    assert angle.cos().mean().abs() < 0.02 and angle.sin().mean().abs() < 0.02


def test_cutout_is_half_a_side_wide():
    y = ADA(1.0, blit=0, geometric=0, color=0, cutout=1.0)(torch.ones(500, 3, 16, 16))
    holes = 1 - y[:, 0]
    rows, columns = holes.amax(2).sum(1), holes.amax(1).sum(1)
    torch.testing.assert_close(holes.sum((1, 2)), rows * columns)
    assert rows.max() == columns.max() == 8
    assert 0.4 < (rows == 8).float().mean() < 0.6 and rows.min() >= 3


# ---- p


def updates(ada: ADA, sign: float, calls: int, images: int = 64) -> float:
    for _ in range(calls):
        ada.observe(torch.tensor(sign), images)
    return ada.p.item()


def test_adaptive_p_moves_towards_the_target():
    ada = ADA(target=0.6, interval=4, ramp_images=500_000)
    assert updates(ada, 0.9, 3) == 0.0
    assert updates(ada, 0.9, 1) == pytest.approx(256 / 500_000)
    assert updates(ada, 0.61, 4) == pytest.approx(512 / 500_000)
    assert updates(ada, 0.59, 4) == pytest.approx(256 / 500_000)
    assert updates(ada, -1.0, 40) == 0.0
    mixed = [1.0, 1.0, 1.0, -0.5]  # the mean over the interval decides: 0.625
    for sign in mixed:
        ada.observe(torch.tensor(sign), 64)
    assert ada.p.item() == pytest.approx(256 / 500_000)


def test_adaptive_p_is_clamped_and_takes_ramp_images_from_0_to_1():
    ada = ADA(interval=1, ramp_images=1000)
    assert updates(ada, 1.0, 5, images=100) == pytest.approx(0.5)
    assert updates(ada, 1.0, 20, images=100) == 1.0


def test_p_resumes_in_the_middle_of_an_interval():
    a, b = ADA(interval=4, ramp_images=1000), ADA(interval=4, ramp_images=1000)
    updates(a, 1.0, 6)
    b.load_state_dict(a.state_dict())
    assert updates(a, 1.0, 2) == updates(b, 1.0, 2) == pytest.approx(0.512)
    assert a.state_dict().keys() == b.state_dict().keys()


def test_a_scheduled_p_starts_where_its_schedule_does_and_is_left_to_the_clock(tmp_path):
    """See tests/training/test_clock.py for what the clock writes."""
    schedule = Cosine(0.0, 0.55, 1000)
    ada = ADA(schedule)
    assert ada.p == 0.0 and ada.strength is schedule and ADA().strength is None
    assert ADA(Cosine(0.55, 0.0, 1000)).p.item() == pytest.approx(0.55)
    assert ADA(lambda images_seen: 1.5).p.item() == 1.0 and ADA(lambda images_seen: -0.5).p.item() == 0.0
    ada.p.fill_(0.275)
    assert updates(ada, 1.0, 8) == pytest.approx(0.275)
    torch.save(ada.state_dict(), tmp_path / "ada.pt")
    again = ADA(Cosine(0.0, 0.55, 1000))
    again.load_state_dict(torch.load(tmp_path / "ada.pt", weights_only=True))
    assert again.p.item() == pytest.approx(0.275)


def test_a_number_stays():
    ada = ADA(0.25)
    assert updates(ada, 1.0, 8) == 0.25


@pytest.mark.parametrize(
    "settings, word",
    [
        (dict(p=1.5), "probability"),
        (dict(p="often"), "often"),
        (dict(interval=0), "interval"),
        (dict(ramp_images=0), "ramp_images"),
        (dict(target=2), "target"),
        (dict(color=2.0), "color"),
    ],
)
def test_settings_out_of_range(settings, word):
    with pytest.raises(ValueError, match=word):
        ADA(**settings)


def test_images_must_be_square():
    with pytest.raises(ValueError, match="square"):
        ADA(1.0)(torch.zeros(1, 3, 8, 6))


# ---- derivatives and precision


@pytest.mark.slow
@pytest.mark.parametrize(("group", "channels"), [
    *((group, 1) for group in ("blit", "geometric", "color", "cutout")), ("color", 3),
    *(pytest.param(group, 3, marks=pytest.mark.long) for group in ("blit", "geometric", "cutout")),
])  # fmt: skip
def test_differentiable_twice(group, channels):
    strengths = dict.fromkeys(("blit", "geometric", "color", "cutout"), 0.0) | {group: 1.0}
    ada = ADA(0.9, **strengths).double()

    def fixed(x):
        torch.manual_seed(3)
        return ada(x).pow(3)

    x = torch.randn(2, channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(fixed, (x,)) and gradgradcheck(fixed, (x,))


def test_r1_through_the_augmentation():
    torch.manual_seed(1)
    ada, net = ADA(1.0, cutout=1.0), torch.nn.Conv2d(3, 4, 3)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    logits = net(ada(x)).square().mean((1, 2, 3))
    (g,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    g.square().sum().backward()
    assert net.weight.grad is not None and net.weight.grad.abs().max() > 0


def test_bf16_autocast_changes_nothing():
    x, ada = torch.randn(4, 3, 16, 16), ADA(1.0)
    torch.manual_seed(4)
    a = ada(x)
    torch.manual_seed(4)
    with torch.autocast("cpu", torch.bfloat16):
        b = ada(x)
    assert b.dtype == torch.float32 and torch.equal(a, b)
