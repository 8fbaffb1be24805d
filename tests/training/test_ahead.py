"""G's images made while D is updated: the bits of training without it, whatever D's update does."""

import threading

import pytest
import torch

from gan_lab.distributed import collectives
from gan_lab.nets.dcgan import DCGANGenerator
from gan_lab.penalties.base import Penalty
from gan_lab.training import accelerate, ahead
from gan_lab.training.accelerate import Updates
from gan_lab.training.ahead import FakesAhead
from gan_lab.training.clock import Clock
from tests.training.short_runs import build

NETS = ("generator=dcgan", "discriminator=dcgan")


@pytest.fixture
def cores(monkeypatch):
    """A machine with an idle core, whatever this one has."""
    monkeypatch.setattr(ahead, "idle_cores", lambda device: 2)


def trained(data, mode, words=(), steps=4, change=lambda x: None):
    """The state after some steps, what the updates logged, and how often images were under way when wanted."""
    x = build(data, *NETS, *words)
    change(x)
    updates, clock, logs, ready = Updates(x, mode), Clock(x), [], 0
    assert (updates.ahead is not None) == (mode == "auto")
    real = x.dataset.images("train", torch.arange(8)).float() / 127.5 - 1
    y = x.dataset.labels("train")[:8] if x.D.num_classes else None
    for _ in range(steps):
        for side in ["d"] * x.config.trainer.n_dis + ["g"]:
            clock.tick()
            ready += side == "g" and updates.ahead is not None and updates.ahead.future is not None
            logs.append(updates.run(side, real, y))
            x.substep += 1
        x.step, x.substep = x.step + 1, 0
    return x, logs, ready


def check_equal(data, words=(), change=lambda x: None, steps=4):
    (plain, plain_logs, _), (x, logs, ready) = (trained(data, m, words, steps, change) for m in ("none", "auto"))
    assert ready == steps
    torch.testing.assert_close(logs, plain_logs, rtol=0, atol=0, equal_nan=True)
    for of_plain, of_x in ((plain.G, x.G), (plain.D, x.D)):
        assert all(torch.equal(v, of_x.state_dict()[k]) for k, v in of_plain.state_dict().items())
    return x, logs


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("trainer.n_dis=3",),
        ("loss=relativistic", "augment=diffaugment"),  # G's loss reads reals, D's update draws numbers of its own
        ("generator=dcgan_conditional", "discriminator=dcgan_conditional", "augment=apa"),
        ("generator=resnet", "discriminator=resnet", "norm=bssn", "penalty=none"),
    ],
)
def test_training_has_the_same_bits(tiny_data, cores, words):
    check_equal(tiny_data, words)


def test_another_thread_makes_them_from_gs_weights(tiny_data, cores, monkeypatch):
    made_by, forward = [], DCGANGenerator.forward

    def noted(self, *arguments):
        made_by.append(threading.current_thread().name)
        return forward(self, *arguments)

    monkeypatch.setattr(DCGANGenerator, "forward", noted)
    x, _ = check_equal(tiny_data)
    assert sum(name.startswith("fakes") for name in made_by) == 4
    copied = FakesAhead(x)
    assert all(a is b for a, b in zip(copied.G.parameters(), x.G.parameters(), strict=True))
    assert not any(a is b for a, b in zip(copied.G.buffers(), x.G.buffers(), strict=True))


class Broken(Penalty):
    """Its gradient is not a number in the second update."""

    needs_input_grad = frozenset({"real"})

    def __init__(self):
        super().__init__(1.0, 1, "d")
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, batch):
        self.calls += 1
        return batch.real_logits.sum() * (torch.nan if self.calls == 2 else 0.0)


class CallsG(Penalty):
    """It moves G's running statistics, as consistency in z does."""

    def __init__(self):
        super().__init__(1.0, 1, "d")

    def forward(self, batch):
        with torch.no_grad():
            return batch.logits(batch.images(batch.z, batch.fake_y), batch.fake_y).mean()


class MovesZ(Penalty):
    """G's update takes other z than were drawn, as latent optimization does."""

    def __init__(self):
        super().__init__(0.0, 1, "g")

    def latents(self, batch):
        return batch.z * 0.5

    def forward(self, batch):
        return batch.loss * 0


@pytest.mark.parametrize("penalty", [Broken, CallsG, MovesZ])
def test_images_of_another_state_or_z_are_made_again(tiny_data, cores, penalty):
    _, logs = check_equal(tiny_data, change=lambda x: x.penalties.update({"own": penalty()}))
    assert sum(float(log.get("skipped/d", 0)) for log in logs) == (penalty is Broken)


def test_it_is_used_where_g_is_a_function_that_any_thread_can_run(tiny_data, cores, monkeypatch):
    x = build(tiny_data, *NETS)
    assert FakesAhead.fits(x) and Updates(x, "auto").ahead is not None
    assert not FakesAhead.fits(build(tiny_data, "generator=stylegan2", "discriminator=stylegan2", "penalty=none"))
    assert not FakesAhead.fits(build(tiny_data, *NETS, "norm.generator=sn"))
    assert not FakesAhead.fits(build(tiny_data, *NETS, "trainer.precision=bf16"))
    with monkeypatch.context() as alone:
        alone.setattr(ahead, "idle_cores", lambda device: 1)
        assert not FakesAhead.fits(x) and Updates(x, "auto").ahead is None
    with monkeypatch.context() as several:
        several.setattr(collectives, "active", lambda: True)
        assert not FakesAhead.fits(x)
    assert FakesAhead.fits(x)
    x.config.extensions = ["/a/file.py"]
    assert not FakesAhead.fits(x)


def test_only_auto_uses_it(tiny_data, cores):
    x = build(tiny_data, *NETS)
    assert [accelerate.Updates(x, mode).ahead for mode in ("none", "graph")] == [None, None]
