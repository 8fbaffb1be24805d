"""One step of every net, norm and loss; what a step touches, and what it costs."""

from collections import Counter

import pytest
import torch
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

import gan_lab
from gan_lab.errors import UserError
from gan_lab.experiment import Experiment
from gan_lab.kernels import spectral as joint_norm
from gan_lab.norms import effective_weights, spectral_sigmas
from gan_lab.penalties import Batch, Penalty
from gan_lab.training import step as step_module
from gan_lab.training.step import d_step, g_step
from tests.training.short_runs import NETS, fitting

FAMILIES = ["dcgan", "sngan_cnn", "resnet", "wn_gan", "stylegan2", "r3gan"]
NORMS = ["none", "sn", "ssn", "bsn", "bssn", "wn", "wn_strict", "equalized_lr"]
LOSSES = ["nonsaturating", "minimax", "hinge", "wasserstein", "least_squares", "relativistic"]


def built(data, *words):
    return gan_lab.build(
        gan_lab.compose(
            f"data_dir={data}", "metrics=none", "width=0.0625", "trainer.device=cpu", *fitting(NETS, words), *words
        )
    )


def reals(x, n=4):
    """The first images of the data; their classes do not matter to unconditional nets."""
    return x.dataset.images("train", torch.arange(n)).float() / 127.5 - 1


def snapshot(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def changed(net, before):
    return {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}


def with_marks(net, norm):
    """Every norm with two families, and every family with three norms; the other pairs are long tests."""
    few = net in ("sngan_cnn", "resnet") or norm in ("none", "bssn", "wn")
    return pytest.param(net, norm, marks=[] if few else pytest.mark.long)


@pytest.mark.parametrize(("net", "norm"), [with_marks(net, norm) for net in FAMILIES for norm in NORMS])
def test_every_net_takes_a_step_with_every_norm(tiny_data, net, norm):
    x = built(tiny_data, f"generator={net}", f"discriminator={net}", f"norm={norm}", "penalty.r1r2.interval=1")
    real = reals(x)
    logs = {**d_step(x, real), **g_step(x, real)}
    assert {"loss/d", "loss/g", "penalty/r1r2"} <= logs.keys()
    for net_ in (x.G, x.D):
        assert all(torch.isfinite(p).all() for p in net_.parameters())
    assert all(torch.isfinite(v) for v in logs.values())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("norm", ["none", "bssn"])
def test_every_loss_moves_both_nets_and_each_step_only_its_own(tiny_data, loss, norm):
    x = built(tiny_data, f"loss={loss}", f"norm={norm}", "penalty=none")
    real = reals(x)
    before_g, before_d = snapshot(x.G), snapshot(x.D)
    d_step(x, real)
    moved = changed(x.G, before_g)
    assert all("running" in k or "num_batches" in k for k in moved)  # BatchNorm counts its batches, nothing else
    assert any("weight" in k for k in changed(x.D, before_d))
    before_g, before_d = snapshot(x.G), snapshot(x.D)
    g_step(x, real)
    assert changed(x.D, before_d) == set()
    assert any("weight" in k for k in changed(x.G, before_g))
    assert all(p.requires_grad for p in x.D.parameters())


def test_the_effective_weights_keep_spectral_norm_one_while_training(tiny_data):
    x = built(tiny_data, "norm=bsn", "norm.power_iterations=5", "loss=hinge", "penalty=none")
    for x.step in range(20):
        d_step(x, reals(x, 8))
    for name, weight in effective_weights(x.D).items():
        first = torch.linalg.svdvals(weight.detach().flatten(1))[0]
        second = torch.linalg.svdvals(weight.detach().transpose(0, 1).flatten(1))[0]
        assert (first + second) / 2 == pytest.approx(1.0, abs=0.05), name
    for name, sigma in spectral_sigmas(x.D).items():
        exact = spectral_sigmas(x.D, exact=True)[name]["sigma"]
        assert float(sigma["sigma"]) == pytest.approx(float(exact), rel=0.05), name


def test_power_iteration_advances_once_in_a_d_step_and_never_in_a_g_step(tiny_data, monkeypatch):
    x = built(tiny_data, "norm=sn", "penalty=[r1,gp]")
    calls = []
    true = step_module.advance_power_iteration
    monkeypatch.setattr(step_module, "advance_power_iteration", lambda net: (calls.append(net), true(net)))
    d_step(x, reals(x))
    assert [c is x.D for c in calls] == [True]
    before = snapshot(x.D)
    g_step(x, reals(x))
    assert [c is x.G for c in calls[1:]] == [True]
    assert changed(x.D, before) == set()


def test_normalized_weights_are_computed_once_a_step(tiny_data, monkeypatch):
    x = built(tiny_data, "norm=sn", "penalty=gp")
    weight = x.D.linear.parametrizations.weight.original
    counted = []
    true = joint_norm.normalize
    monkeypatch.setattr(
        joint_norm, "normalize", lambda ws, *a: (counted.append(sum(w is weight for w in ws)), true(ws, *a))[1]
    )
    d_step(x, reals(x))
    assert counted == [1]  # three forwards of D: real and fake, and the penalty's
    assert not parametrize._cache


class Five(Penalty):
    """A term of 5."""

    def forward(self, batch):
        return torch.tensor(5.0)


@pytest.mark.parametrize("now, expected", [(None, 2.0), (0.5, 0.5)])
def test_a_lazy_penalty_is_paid_for_only_when_active_and_weighs_its_interval(tiny_data, now, expected):
    x = built(tiny_data, "penalty=r1", "penalty.r1.interval=3", "penalty.r1.weight=2")
    logs = []
    for x.step in range(6):
        logs.append(d_step(x, reals(x)))
    assert ["penalty/r1" in log for log in logs] == [True, False, False, True, False, False]
    penalty, log = Five(weight=2.0, interval=3, side="d"), {}
    if now is not None:  # what the clock does
        penalty.factor.fill_(now * 3)
    total = step_module.add_penalties(torch.tensor(1.0), {"p": penalty}, Batch(), log)
    assert total.item() == pytest.approx(1.0 + 5.0 * expected * 3)
    assert log["penalty/p"].item() == 5.0


def test_the_updates_of_d_count_for_its_lazy_penalties_and_the_steps_for_those_of_g(tiny_data):
    """With three updates of D in a step: every second update of D pays, and every second step of G."""
    x = built(tiny_data, "generator=stylegan2", "discriminator=stylegan2", "penalty=[r1,path_length]",
              "penalty.r1.interval=2", "penalty.path_length.interval=2", "trainer.n_dis=3")  # fmt: skip
    found = []
    for x.step in range(4):
        for x.substep in range(3):
            found.append(list(x.active_penalties("d")))
        x.substep = 3
        found.append(list(x.active_penalties("g")))
    r1, path = ["r1"], ["path_length"]
    assert found == [r1, [], r1, path, [], r1, [], [], r1, [], r1, path, [], r1, [], []]


def test_joint_and_separate_forwards_give_the_same_update(tiny_data):
    updates = []
    for joint in (True, False):
        torch.manual_seed(0)
        x = built(tiny_data, "penalty.r1r2.interval=1", "optimizer.d._target_=torch.optim.SGD", "~optimizer.d.betas",
                  "~optimizer.d.eps", "optimizer.d.lr=0.1", "discriminator.init_std=null")  # fmt: skip
        assert x.joint_forward
        x.joint_forward = joint
        torch.manual_seed(1)
        d_step(x, reals(x))
        updates.append(snapshot(x.D))
    for key, value in updates[0].items():
        torch.testing.assert_close(value, updates[1][key], rtol=1e-4, atol=1e-6)


def test_nets_that_couple_samples_are_judged_separately(tiny_data):
    assert not built(tiny_data, "discriminator=dcgan").joint_forward
    assert not built(tiny_data, "discriminator=stylegan2").joint_forward
    assert built(tiny_data, "discriminator=resnet").joint_forward


def test_bf16_keeps_logits_losses_and_weights_in_fp32(tiny_data):
    x = built(tiny_data, "norm=bssn", "trainer.precision=bf16", "penalty.r1r2.interval=1")
    logs = {**d_step(x, reals(x)), **g_step(x, reals(x))}
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in logs.values())
    assert all(p.dtype == torch.float32 for p in [*x.D.parameters(), *x.G.parameters()])
    assert all(b.dtype == torch.float32 for n, b in x.D.named_buffers() if "u_" in n or "v_" in n)


def test_the_same_seed_builds_the_same_g_whatever_d_is(tiny_data):
    a = built(tiny_data, "norm=bssn", "discriminator=resnet").G.state_dict()
    b = built(tiny_data).G.state_dict()
    c = built(tiny_data, "seed=1").G.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["linear.weight"], c["linear.weight"])


class Casts(TorchDispatchMode):
    """Counts the casts to bf16 of every weight: a parameter, or what a norm made of one."""

    def __init__(self, x):
        super().__init__()
        self.parameters = {p.data_ptr() for net in (x.G, x.D) for p in net.parameters()}
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and found.dtype is torch.bfloat16:
            weights = self.parameters | {w.data_ptr() for w in parametrize._cache.values()}
            self.found.update({args[0].data_ptr()} & weights)
        return found


@pytest.mark.parametrize("recipe", ["sngan_resnet", "wgan_gp"])
def test_in_bf16_every_weight_is_cast_once_an_update(tiny_data, recipe):
    """However many forwards there are; and again in the next update, or a CUDA graph would keep the first weights."""
    x = built(tiny_data, f"recipe={recipe}", "trainer.precision=bf16")
    for _ in range(2):
        for update in (d_step, g_step):
            with Casts(x) as casts:
                update(x, reals(x))
            assert len(casts.found) == 39 and set(casts.found.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("side, words, exact", [
    ("d", "recipe=sngan_resnet penalty=r1 penalty.r1.interval=1", True),  # one forward, differentiated twice
    ("g", "recipe=stylegan2_cifar penalty=[r1,path_length]", True),
    ("d", "recipe=wgan_gp", False),  # where forwards share a cast, their gradients are added in bf16
])  # fmt: skip
def test_sharing_casts_changes_a_gradient_by_rounding_at_most(tiny_data, monkeypatch, side, words, exact):
    gradients = []
    for cached in (True, False):
        how = {"dtype": torch.bfloat16, "cache_enabled": cached}
        monkeypatch.setattr(Experiment, "autocast", lambda x, how=how: torch.autocast("cpu", **how))
        x = built(tiny_data, *words.split(), "trainer.precision=bf16")
        torch.manual_seed(0)
        {"d": d_step, "g": g_step}[side](x, reals(x))
        net = x.D if side == "d" else x.G
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    off = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    assert off == 0.0 if exact else 0.0 < off < 2.0**-8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; run by make test-gpu")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_steps_on_a_gpu(tiny_data, precision):
    x = gan_lab.build(
        gan_lab.compose(f"data_dir={tiny_data}", "metrics=none", "width=0.25", "norm=bssn", "trainer.device=cuda",
                        f"trainer.precision={precision}")
    )  # fmt: skip
    real, y = reals(x, 16).cuda(), x.dataset.labels("train")[:16].cuda()
    for x.step in range(5):
        logs = {**d_step(x, real, y), **g_step(x, real, y)}
    assert all(torch.isfinite(v) and v.is_cuda for v in logs.values())


VECTOR, NUMBER = "a tensor of shape (4,)", "a float"


@pytest.mark.parametrize(
    ("part", "wrong", "got"),
    [
        ("loss.d", lambda real, fake: fake - real, VECTOR),
        ("loss.g", lambda fake, real=None: -fake, VECTOR),
        ("loss.g", lambda fake, real=None: 0.5, NUMBER),
        ("penalty.drift", lambda batch: batch.real_logits.square(), VECTOR),
        ("penalty.drift", lambda batch: 1.0, NUMBER),
    ],
)
def test_a_loss_or_penalty_that_is_not_one_number_is_told(tiny_data, part, wrong, got):
    x = built(tiny_data, "penalty=none")
    if part == "penalty.drift":
        x.penalties["drift"] = Penalty(1.0, 1, side="d")
        x.penalties["drift"].forward = wrong
    else:
        setattr(x, part.replace("loss.", "") + "_loss", wrong)
    net = x.G if part == "loss.g" else x.D
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(UserError) as told:
        (g_step if part == "loss.g" else d_step)(x, reals(x))
    advice = "it must return a tensor of one number, such as a mean over the batch"
    assert str(told.value) == f"{part} returns {got}: {advice}"
    assert all(map(torch.equal, before, net.parameters()))


def test_a_loss_of_one_number_in_a_dimension_is_taken(tiny_data):
    x, y = built(tiny_data, "penalty=none"), built(tiny_data, "penalty=none")
    plain = x.d_loss
    x.d_loss = lambda real, fake: plain(real, fake).reshape(1)
    logs = []
    for one in (x, y):
        torch.manual_seed(0)
        logs.append(d_step(one, reals(one)))
    assert logs[0]["loss/d"].item() == logs[1]["loss/d"].item()
    assert changed(x.D, snapshot(y.D)) == set()
