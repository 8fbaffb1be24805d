"""One holder of everything that training changes: what it saves, and what comes back."""

import io

import pytest
import torch

import gan_lab
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import UserError
from gan_lab.experiment import AugmentedDiscriminator, Experiment
from gan_lab.nets import Discriminator
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from gan_lab.training.step import d_step, g_step
from tests.training.short_runs import CONDITIONAL, assert_same, build

WORDS = ("recipe=stylegan2_ada", "width=0.03", "generator.w_dim=8", "generator.mapping_layers=1",
         "penalty=[r1,lecam,path_length]", "penalty.path_length.interval=1", "trainer.batch_size=4")  # fmt: skip
CHANGING = ["G", "D", "G_ema", "optimizer_g", "optimizer_d", "penalties", "augment", "detector", "skipped", "step",
            "substep", "wall_seconds", "best", "log_sums", "events", "pending_events"]  # fmt: skip


def train(exp, steps):
    """Updates as the loop takes them, with what the loop writes beside them."""
    clock = Clock(exp)
    for _ in range(steps):
        real = exp.dataset.images("train", range(4)).float() / 127.5 - 1
        for exp.substep, one in enumerate((d_step, g_step)):
            clock.tick()
            with step_randomness(exp.config.seed, exp.step, exp.substep, exp.device):
                one(exp, real)
        update_ema(exp.G_ema, exp.G, clock.ema_decay)
        exp.step, exp.substep = exp.step + 1, 0


@pytest.fixture(scope="module")
def trained(tiny_data):
    """An experiment in which every field that training changes has changed."""
    exp = build(tiny_data, *WORDS)
    train(exp, 3)
    exp.detector.observe(1, {"loss/d": 1.0, "grad_norm/d": 2.0, "grad_norm/g": 3.0, "logits/real_std": 0.1})
    exp.skipped["total"] += 3
    exp.substep, exp.wall_seconds = 1, 12.5
    exp.best = {"metric": "fid", "value": 3.5, "step": 2, "evaluations": 1, "identity": "a b"}
    exp.log_sums = {"loss/d,loss/g": torch.ones(2, 2, dtype=torch.float64)}
    exp.events, exp.pending_events = [{"kind": "not_moving", "step": 1}], [{"kind": "not_moving", "step": 1}]
    return exp


def written_and_read(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def packed(exp, name):
    return exp.state_dict()[name]


def differs(a, b):
    try:
        assert_same(a, b)
    except AssertionError:
        return True
    return a != b if isinstance(a, float) else False  # `assert_same` leaves the clock out


@pytest.mark.slow
def test_a_checkpoint_holds_every_field_that_training_changes(trained):
    assert list(trained.state_dict()) == CHANGING


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGING)
def test_every_changing_field_comes_back_bit_for_bit(tiny_data, trained, name):
    fresh = build(tiny_data, *WORDS, "seed=1")
    assert differs(packed(trained, name), packed(fresh, name)), "the test changes nothing here"
    content = written_and_read(trained.state_dict())
    fresh.load_state_dict(content)
    assert not differs(packed(trained, name), packed(fresh, name))
    del content[name]
    with pytest.raises(KeyError, match=name):
        fresh.load_state_dict(content)


@pytest.mark.slow
def test_what_is_loaded_trains_on_as_the_original(tiny_data):
    one, other = build(tiny_data, *WORDS), build(tiny_data, *WORDS)
    train(one, 2)
    other.load_state_dict(written_and_read(one.state_dict()))
    for exp in (one, other):
        train(exp, 2)
    assert_same(one.state_dict(), other.state_dict())
    assert other.optimizer_g.param_groups[0]["params"][0] is next(other.G.parameters())


def test_tensors_that_do_not_fit_are_refused(tiny_data, trained):
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(tiny_data, *WORDS, "generator.w_dim=12").load_state_dict(trained.state_dict())


def test_the_state_of_an_augmentation_that_is_gone_is_left_out(tiny_data, trained):
    plain = build(tiny_data, *[w for w in WORDS if "ada" not in w], "generator=stylegan2", "discriminator=stylegan2",
                  "norm=equalized_lr", "optimizer=adam", "augment=none")  # fmt: skip
    state = trained.state_dict()
    plain.load_state_dict({**plain.state_dict(), "augment": state["augment"], "step": 5})
    assert plain.augment is None and plain.step == 5


def test_images_seen_count_those_of_every_update_of_d(tiny_data):
    x = build(tiny_data, "trainer.n_dis=3", "trainer.batch_size=4")
    x.step, x.substep = 5, 2
    assert x.images_seen == 5 * 3 * 4 and x.config.images_per_step == 12


def test_buffers_are_what_updates_change_besides_parameters(tiny_data):
    x = build(tiny_data, "norm=bssn", "penalty=[lecam,r1]", "augment=ada", "generator=sngan_cnn")
    listed = {id(b) for b in x.buffers}
    kept = {k: v for m in (x.D, x.G, x.augment, *x.penalties.values()) for k, v in m.named_buffers()}
    assert {"p", "sign_sum", "real_mean", "updates"} <= kept.keys()
    assert all((id(b) in listed) == (name not in ("taps", "factor")) for name, b in kept.items())
    assert not listed & {id(b) for b in x.G_ema.buffers()}


@pytest.mark.parametrize("joint", [True, False])
def test_reals_and_fakes_are_judged_with_their_own_classes(tiny_data, joint):
    x = build(tiny_data, *CONDITIONAL)
    assert x.joint_forward
    x.joint_forward = joint
    images, y = torch.rand(2, 4, 3, 32, 32), torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    of_real, of_fake = x.logits_of_both(x.augmented_discriminator(), images[0], images[1], y[0], y[1])
    for (logits, features), batch, labels in zip((of_real, of_fake), images, y, strict=True):
        torch.testing.assert_close(logits, x.D(batch, labels), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(features, x.D.features(batch), rtol=1e-4, atol=1e-5)
        assert (logits - x.D(batch, labels.flip(0))).abs().max() > 1e-3


def test_an_experiment_is_the_one_holder(tiny_data):
    assert Experiment is gan_lab.builder.Experiment
    x = build(tiny_data)
    assert x.G is not x.G_ema and x.optimizer_g.param_groups[0]["params"] == list(x.G.parameters())


class Column(Discriminator):
    """Gives logits (b, 1), as one forgets easily that they should be (b)."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(12, 1)

    def features(self, x):
        return x.flatten(1)

    def logits(self, features, y=None):
        return self.last(features)


def test_logits_of_another_shape_are_refused_by_name():
    with pytest.raises(
        UserError, match=r"Column gives 5 images logits of shape \(5, 1\); they must be one number each"
    ):
        AugmentedDiscriminator(Column(), None)(torch.zeros(5, 3, 2, 2))
    flat = Column()
    flat.logits = lambda features, y=None: flat.last(features)[:, 0]
    assert AugmentedDiscriminator(flat, None)(torch.zeros(5, 3, 2, 2)).shape == (5,)
