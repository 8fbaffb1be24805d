"""What the clock writes, against values worked out by hand."""

import math

import pytest
import torch

import gan_lab
from gan_lab.training.clock import Clock
from gan_lab.training.step import d_step, g_step

BATCH, N_DIS, STEPS = 8, 2, 10
PER_STEP, WHOLE = BATCH * N_DIS, BATCH * N_DIS * STEPS


def linear(start, end, over=WHOLE):
    return f"{{_target_: gan_lab.schedules.Linear, start: {start}, end: {end}, over_images: {over}}}"


def cosine(start, end, over=WHOLE):
    return f"{{_target_: gan_lab.schedules.Cosine, start: {start}, end: {end}, over_images: {over}}}"


def built(data, *words):
    fixed = (f"data_dir={data}", "metrics=none", "width=0.0625", "trainer.device=cpu", f"trainer.batch_size={BATCH}",
             f"trainer.n_dis={N_DIS}", f"trainer.total_steps={STEPS}", "generator=dcgan",
             "discriminator=dcgan_plain", "penalty=r1r2_annealed", "optimizer=adam")  # fmt: skip
    return gan_lab.build(gan_lab.compose(*fixed, *words))


def rates(x):
    return [float(o.param_groups[0]["lr"]) for o in (x.optimizer_g, x.optimizer_d)]


def tick(x, clock, step, substep=0):
    x.step, x.substep = step, substep
    clock.tick()


def test_learning_rates_are_schedules_of_the_images_seen_times_a_common_scale(tiny_data):
    x = built(tiny_data, f"optimizer.g.lr={linear(0.004, 0.001)}", "optimizer.d.lr=0.002",
              f"optimizer.lr_scale={linear(1.0, 0.5)}")  # fmt: skip
    clock = Clock(x)
    for step in (0, 1, 5, 10, 3):
        tick(x, clock, step)
        share = step / STEPS
        assert rates(x) == pytest.approx(
            [(0.004 - 0.003 * share) * (1 - share / 2), 0.002 * (1 - share / 2)], rel=1e-12
        )


def test_a_step_has_one_learning_rate_whatever_the_update(tiny_data):
    x = built(tiny_data, f"optimizer.lr_scale={linear(1.0, 0.0)}", "optimizer.g.lr=0.001", "optimizer.d.lr=0.003")
    clock = Clock(x)
    for substep in range(N_DIS + 1):
        tick(x, clock, 4, substep)
        assert rates(x) == pytest.approx([0.0006, 0.0018], rel=1e-12)


def test_rates_are_tensors_that_stay_the_same_ones(tiny_data):
    """A graph reads them where they were when it was captured; every group of an optimizer reads the same."""
    x = built(tiny_data, f"optimizer.lr_scale={linear(1.0, 0.0)}", "optimizer.g.lr=0.001", "optimizer.d.lr=0.001")
    x.optimizer_d.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    clock = Clock(x)
    clock.tick()
    kept = [group["lr"] for o in (x.optimizer_g, x.optimizer_d) for group in o.param_groups]
    assert len(kept) == 3 and kept[1] is kept[2] and kept[0] is not kept[1]
    tick(x, clock, 5)
    assert [float(lr) for lr in kept] == pytest.approx([0.0005] * 3)


def test_betas_follow_their_schedules(tiny_data):
    x = built(tiny_data, f"optimizer.d.betas=[0.5,{linear(0.9, 0.99)}]", "optimizer.g.betas=[0.25,0.75]")
    clock = Clock(x)
    for step in (0, 5, 10):
        tick(x, clock, step)
        assert x.optimizer_d.param_groups[0]["betas"] == pytest.approx((0.5, 0.9 + 0.09 * step / STEPS))
        assert x.optimizer_g.param_groups[0]["betas"] == (0.25, 0.75)


def test_an_optimizer_without_betas_is_given_none(tiny_data):
    x = built(tiny_data, "optimizer=rmsprop")
    Clock(x).tick()
    assert "betas" not in x.optimizer_d.param_groups[0]


def test_a_penalty_weighs_its_schedule_times_its_interval(tiny_data):
    x = built(tiny_data, "penalty=[r1,lecam]", "penalty.r1.interval=4", f"penalty.r1.weight={cosine(2.0, 0.0)}",
              "penalty.lecam.weight=0.25")  # fmt: skip
    clock, factor = Clock(x), x.penalties["r1"].factor
    assert float(factor) == 8.0  # as built: what the schedule says at the start
    for step in (0, 2, 5, 10):
        tick(x, clock, step)
        assert float(factor) == pytest.approx(4 * (1 + math.cos(math.pi * step / STEPS)), abs=1e-6)
        assert float(x.penalties["lecam"].factor) == 0.25


def test_the_strength_of_an_augmentation_moves_with_every_update(tiny_data):
    x = built(tiny_data, "augment=ada", f"augment.p={linear(0.0, 0.8)}")
    clock = Clock(x)
    for step in (0, 3, 9):
        for substep in range(N_DIS + 1):
            tick(x, clock, step, substep)
            seen = step * PER_STEP + substep * BATCH
            assert float(x.augment.p) == pytest.approx(0.8 * seen / WHOLE, abs=1e-7)


def test_a_strength_is_kept_a_probability(tiny_data):
    x = built(tiny_data, "augment=ada", f"augment.p={linear(-1.0, 3.0)}")
    clock = Clock(x)
    found = []
    for step in (0, 5, 10):
        tick(x, clock, step)
        found.append(float(x.augment.p))
    assert found == [0.0, 1.0, 1.0]
    tick(x, clock, 3)
    assert float(x.augment.p) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("word", ["augment=ada", "augment=diffaugment", "augment=none"])
def test_an_augmentation_without_a_schedule_is_left_alone(tiny_data, word):
    x = built(tiny_data, word)
    if word == "augment=ada":
        x.augment.p.fill_(0.3)
    tick(x, Clock(x), 7, 1)
    if word == "augment=ada":
        assert float(x.augment.p) == pytest.approx(0.3)


def test_the_factor_of_the_average_halves_over_the_half_life_of_the_step(tiny_data):
    """With ramp-up 0.1: at most a tenth of the images seen when the step is done."""
    x = built(tiny_data, f"ema.halflife_images={linear(64, 32)}", "ema.rampup=0.1")
    clock = Clock(x)
    for step in (0, 4, 9):
        tick(x, clock, step, 1)
        halflife = min(64 - 32 * step / STEPS, 0.1 * (step + 1) * PER_STEP)
        assert float(clock.ema_decay) == pytest.approx(0.5 ** (PER_STEP / halflife), rel=1e-12)
    x.schedules.ema_halflife_images = 0.0
    clock.tick()
    assert float(clock.ema_decay) == 0.0


@pytest.mark.slow
def test_the_updates_read_what_the_clock_wrote(tiny_data):
    """Plain gradient descent moves by the rate times the gradient, to which the penalty adds its factor's share."""
    sgd = [f"optimizer.{s}._target_=torch.optim.SGD" for s in "dg"] + [f"~optimizer.{s}.{k}" for s in "dg"
                                                                      for k in ("betas", "eps")]  # fmt: skip
    x = built(tiny_data, *sgd, f"optimizer.d.lr={linear(0.4, 0.2)}", f"optimizer.g.lr={linear(0.2, 0.1)}",
              "penalty=r1", "penalty.r1.interval=1", f"penalty.r1.weight={linear(3.0, 1.0)}")  # fmt: skip
    real = torch.rand(4, 3, 32, 32) * 2 - 1
    tick(x, Clock(x), 5)
    for net, one, rate in ((x.D, d_step, 0.3), (x.G, g_step, 0.15)):
        before = [p.detach().clone() for p in net.parameters()]
        torch.manual_seed(0)
        one(x, real)
        for p, old in zip(net.parameters(), before, strict=True):
            torch.testing.assert_close(p.detach(), old - rate * p.grad)

    gradients = []
    for weight in (0.0, 2.0, None):
        y = built(tiny_data, *sgd, "optimizer.d.lr=0.0001", "penalty=r1", "penalty.r1.interval=1",
                  f"penalty.r1.weight={linear(3.0, 1.0)}")  # fmt: skip
        if weight is None:
            tick(y, Clock(y), 5)  # half-way: 2
        else:
            y.penalties["r1"].factor.fill_(weight)
        torch.manual_seed(0)
        d_step(y, real)
        gradients.append(torch.cat([p.grad.flatten() for p in y.D.parameters()]))
    assert torch.equal(gradients[1], gradients[2]) and (gradients[1] - gradients[0]).norm() > 1e-5 * gradients[0].norm()


def test_without_a_schedule_every_tick_writes_the_same(tiny_data):
    x = built(tiny_data, "penalty=r1", "augment=ada", "augment.p=0.4", "ema.rampup=0")
    clock, found = Clock(x), []
    for step in (0, 9):
        tick(x, clock, step, 1)
        found.append((*rates(x), float(x.penalties["r1"].factor), float(x.augment.p), float(clock.ema_decay)))
    assert found[0] == found[1] and found[0][3] == pytest.approx(0.4)
