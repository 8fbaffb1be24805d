"""Every class loss against its paper's formula, written out in NumPy on fixed features: value and gradient."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import gan_lab
from gan_lab.data import TrainingImages
from gan_lab.errors import UserError
from gan_lab.nets import Discriminator
from gan_lab.nets.heads import CONDITIONS, make_head
from gan_lab.norms import SpectralNorm, apply_weight_norm, effective_weights
from gan_lab.penalties import (
    AuxiliaryClassifier,
    Batch,
    ConditionalContrastive,
    DataToData,
    DiscriminativeClassifier,
    MultiHinge,
    TwinClassifier,
)
from gan_lab.penalties import classes as module
from gan_lab.penalties.base import Penalty
from gan_lab.training.clock import Clock
from gan_lab.training.step import d_step, g_step
from tests.training.short_runs import build

K, F = 3, 5
Y, FAKE_Y = np.array([2, 0, 2, 1, 0, 2]), np.array([1, 1, 0, 2, 0, 1])
rng = np.random.default_rng(3)
REAL, FAKE = rng.standard_normal((2, 6, F))


class Flat(Discriminator):
    """Features are the input; the unconditional logit is a Linear of them."""

    def __init__(self, condition):
        super().__init__(K)
        torch.manual_seed(1)
        self.linear = nn.Linear(F, 1)
        self.class_head = make_head(condition, F, K, embed_dim=4)
        for p in self.parameters():
            nn.init.normal_(p)
        self.double()

    def features(self, x):
        return x

    def unconditional_logits(self, features):
        return self.linear(features).squeeze(1)


def cross_entropy(logits, y):
    return np.mean([np.log(np.exp(row).sum()) - row[k] for row, k in zip(logits, y, strict=True)])


def unit(rows):
    return np.stack([row / np.sqrt((row**2).sum()) for row in rows])


def contrastive(x, e, y, t=1.0):
    """Equation 8 of arXiv:2006.12681, sample by sample."""
    x, e, total = unit(x), unit(e), 0.0
    for i in range(len(y)):
        above = below = np.exp(x[i] @ e[y[i]] / t)
        for k in range(len(y)):
            if k != i:
                below += np.exp(x[i] @ x[k] / t)
                above += np.exp(x[i] @ x[k] / t) if y[k] == y[i] else 0.0
        total -= np.log(above / below) / len(y)
    return total


def data_to_data(f, v, y, t, m_p, m_n):
    """Equation 7 of arXiv:2111.01118, sample by sample; [x]_- is min(x, 0), [x]_+ max(x, 0)."""
    f, v, total = unit(f), unit(v), 0.0
    for i in range(len(y)):
        positive = np.exp(min(f[i] @ v[y[i]] - m_p, 0.0) / t)
        negative = sum(np.exp(max(f[i] @ f[k] - m_n, 0.0) / t) for k in range(len(y)) if y[k] != y[i])
        total -= np.log(positive / (positive + negative)) / len(y)
    return total


def hinge(scores, y):
    """Crammer and Singer: max(0, 1 - C_y + max of the other C)."""
    return np.mean([max(0.0, 1 - s[k] + max(np.delete(s, k))) for s, k in zip(scores, y, strict=True)])


def formulas(condition, D):
    """(D's loss, G's loss) as functions of the features (reals, fakes), in NumPy."""
    w = {name: p.detach().numpy() for name, p in D.named_parameters()}
    linear = {n.removeprefix("class_head.").removesuffix(".weight"): v for n, v in w.items() if n.endswith("weight")}

    def scores(x):
        real_or_fake = x @ w["linear.weight"].T + w["linear.bias"]
        return np.concatenate([x @ linear["classifier"].T + w["class_head.classifier.bias"], -real_or_fake], 1)

    def embed(x):
        return x @ linear["embedding"].T + w["class_head.embedding.bias"], linear["class_embedding"]

    def ce(name, x, y):
        return cross_entropy(x @ linear[name].T, y)

    return {
        "ac": lambda: (
            lambda r, f: ce("classifier", r, Y) + ce("classifier", f, FAKE_Y),
            lambda r, f: ce("classifier", f, FAKE_Y),
        ),
        "tac": lambda: (
            lambda r, f: ce("classifier", r, Y) + ce("twin", f, FAKE_Y),
            lambda r, f: ce("classifier", f, FAKE_Y) - ce("twin", f, FAKE_Y),
        ),
        "adc": lambda: (
            lambda r, f: ce("classifier", r, Y) + ce("classifier", f, FAKE_Y + K),
            lambda r, f: ce("classifier", f, FAKE_Y) - ce("classifier", f, FAKE_Y + K),
        ),
        "2c": lambda: (
            lambda r, f: contrastive(*embed(r), Y, 0.7),
            lambda r, f: contrastive(*embed(f), FAKE_Y, 0.7),
        ),
        "d2dce": lambda: (
            lambda r, f: data_to_data(*embed(r), Y, 0.5, 0.4, -0.2),
            lambda r, f: data_to_data(*embed(f), FAKE_Y, 0.5, 0.4, -0.2),
        ),
        "multihinge": lambda: (
            lambda r, f: hinge(scores(r), Y) + hinge(scores(f), np.full(6, K)),
            lambda r, f: hinge(scores(f), FAKE_Y),
        ),
    }[condition]()


LOSSES = {
    "ac": AuxiliaryClassifier,
    "tac": TwinClassifier,
    "adc": DiscriminativeClassifier,
    "2c": lambda side: ConditionalContrastive(side, temperature=0.7),
    "d2dce": lambda side: DataToData(side, temperature=0.5, margin_positive=0.4, margin_negative=-0.2),
    "multihinge": MultiHinge,
}


def batch_of(D, real, fake):
    return Batch(
        D=D, real_logits=D(real), fake_logits=D(fake), y=torch.tensor(Y), fake_y=torch.tensor(FAKE_Y),
        real_features=real, fake_features=fake,
    )  # fmt: skip


def slope(function, at, step=1e-6):
    """Central differences."""
    found = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        a, b = at.copy(), at.copy()
        a[i] += step
        b[i] -= step
        found[i] = (function(a) - function(b)) / (2 * step)
    return found


@pytest.mark.parametrize("side", ["d", "g"])
@pytest.mark.parametrize("condition", LOSSES)
def test_value_and_gradient_are_the_papers(condition, side):
    D = Flat(condition)
    formula = formulas(condition, D)[0 if side == "d" else 1]
    real, fake = (torch.tensor(x, requires_grad=True) for x in (REAL, FAKE))
    value = LOSSES[condition](side)(batch_of(D, real, fake))
    assert value.item() == pytest.approx(formula(REAL, FAKE), rel=1e-10)
    grads = torch.autograd.grad(value, (real, fake), allow_unused=True)
    of_real, of_fake = slope(lambda x: formula(x, FAKE), REAL), slope(lambda x: formula(REAL, x), FAKE)
    for grad, expected in zip(grads, (of_real, of_fake), strict=True):
        found = np.zeros_like(expected) if grad is None else grad.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    assert abs(of_real).max() > 1e-3 or abs(of_fake).max() > 1e-3


def test_the_fixed_features_lie_on_both_sides_of_every_kink():
    D = Flat("d2dce")
    for x, y in ((REAL, Y), (FAKE, FAKE_Y)):
        outputs = D.class_outputs(torch.tensor(x))
        f, v = unit(outputs.embedding.detach().numpy()), unit(outputs.class_embeddings.detach().numpy())
        to_class = (f * v[y]).sum(1)
        others = (f @ f.T)[y[:, None] != y[None]]
        assert min(to_class) < 0.4 < max(to_class) and min(others) < -0.2 < max(others)
    D = Flat("multihinge")
    scores = np.concatenate([D.class_outputs(torch.tensor(REAL)).logits.detach().numpy(),
                             -D(torch.tensor(REAL)).detach().numpy()[:, None]], 1)  # fmt: skip
    margins = [s[k] - max(np.delete(s, k)) for s, k in zip(scores, Y, strict=True)]
    assert min(margins) < 1 < max(margins)


def test_the_negative_margin_follows_from_the_positive_one():
    """Two samples at angle a on either side of their class are 2a apart: cos 2a = 2 cos^2 a - 1."""
    D, x = Flat("d2dce"), torch.tensor(REAL)
    stated = DataToData(margin_positive=0.9, margin_negative=np.cos(2 * np.arccos(0.9)))
    assert DataToData(margin_positive=0.9)(batch_of(D, x, x)).item() == pytest.approx(stated(batch_of(D, x, x)).item())


@pytest.mark.parametrize("ranks", [7, 11, 13, 49])
def test_classes_are_gathered_as_they_are(monkeypatch, ranks):
    """A gather that gradients pass through divides by the number of processes and multiplies by it again."""
    monkeypatch.setattr(module.collectives, "differentiable_gather", lambda value: value / ranks * ranks)
    y = torch.arange(1000)
    outputs = SimpleNamespace(embedding=torch.zeros(1), class_embeddings=torch.zeros(1))
    assert torch.equal(module._of_all_ranks(outputs, y)[2], y)


def test_fakes_may_be_left_to_the_generator():
    D, real, fake = Flat("ac"), torch.tensor(REAL), torch.tensor(FAKE)
    both, reals = (
        AuxiliaryClassifier()(batch_of(D, real, fake)),
        AuxiliaryClassifier(fakes=False)(batch_of(D, real, fake)),
    )
    of_fakes = AuxiliaryClassifier("g")(batch_of(D, real, fake))
    assert (both - reals).item() == pytest.approx(of_fakes.item())
    with pytest.raises(ValueError, match="temperature must be above 0"):
        ConditionalContrastive(temperature=0.0)


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c != "none"])
def test_weight_norms_apply_to_the_layers_of_a_head(condition):
    D = Flat(condition)
    raw = {n: w.detach().numpy() for n, w in effective_weights(D).items() if n.startswith("class_head")}
    apply_weight_norm(D, SpectralNorm(exact=True))
    for name, weight in effective_weights(D).items():
        if name in raw:
            sigma = np.linalg.svd(raw[name], compute_uv=False)[0]
            np.testing.assert_allclose(weight.detach().numpy(), raw[name] / sigma, rtol=1e-6)
    assert len(raw) == {"2c": 2, "d2dce": 2, "tac": 2}.get(condition, 1)


def test_a_loss_without_its_head_or_classes():
    D, x = Flat("ac"), torch.tensor(REAL)
    with pytest.raises(ValueError, match="needs a discriminator with condition=2c"):
        ConditionalContrastive()(batch_of(D, x, x))
    batch = batch_of(D, x, x)
    batch.fake_y = None
    with pytest.raises(ValueError, match="needs classes"):
        AuxiliaryClassifier()(batch)
    with pytest.raises(ValueError, match="condition must be one of none, projection"):
        make_head("acgan", F, K, 4)
    with pytest.raises(ValueError, match="embed_dim must be at least 1"):
        make_head("2c", F, K, 0)


COMMON = ("recipe=sngan_cnn", "generator.conditional=true")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["discriminator.condition=ac"], "condition=ac needs its loss for D and G: add penalty=ac"),
        (["penalty=ac"], "penalty.ac_d trains the classes of a discriminator with discriminator.condition=ac; set it"),
        (["discriminator.condition=2c", "penalty=ac"], "penalty.ac_d trains .* discriminator.condition=ac"),
        (["discriminator.condition=AC"], "condition must be one of none, projection"),
    ],
)
def test_a_condition_and_its_loss_go_together(tiny_data, words, message):
    with pytest.raises(UserError, match=message):
        build(tiny_data, *COMMON, *words)


KEYS = {"2c": "contrastive"}  # of penalties whose name is no key


@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c not in ("none", "projection")])
def test_a_class_loss_can_be_set_on_the_command_line(condition):
    key = KEYS.get(condition, condition)
    cfg = gan_lab.compose(f"penalty={condition}", f"penalty.{key}_d.weight=0.25", f"penalty.{key}_g.weight=0.5")
    assert {name: node.weight for name, node in cfg.penalty.items()} == {f"{key}_d": 0.25, f"{key}_g": 0.5}


NETS = ("dcgan", "r3gan", "resnet", "sngan_cnn", "stylegan2")


@pytest.mark.slow
@pytest.mark.parametrize("condition", [c for c in CONDITIONS if c not in ("none", "projection")])
def test_every_family_takes_every_condition(tiny_data, condition):
    """A step of each side moves every layer of the head, and G reaches D's head without changing it."""
    for net in NETS:
        words = [f"generator={net}", f"discriminator={net}", "generator.conditional=true", "width=0.03",
                 f"discriminator.condition={condition}", f"penalty={condition}", "norm=sn",
                 "loss=none" if condition == "multihinge" else "loss=hinge"]  # fmt: skip
        exp = build(tiny_data, *words)
        images, y = TrainingImages(exp.dataset, "cpu", 0, 8).batch(0)
        before = {n: p.clone() for n, p in exp.D.class_head.named_parameters()}
        Clock(exp).tick()
        log, key = d_step(exp, images, y), KEYS.get(condition, condition)
        after = {n: p.clone() for n, p in exp.D.class_head.named_parameters()}
        assert all(not torch.equal(before[n], after[n]) for n in before), net
        assert torch.isfinite(log[f"penalty/{key}_d"])
        G = [p.clone() for p in exp.G.parameters()]
        assert torch.isfinite(g_step(exp, images, y)[f"penalty/{key}_g"])
        assert all(torch.equal(p, after[n]) for n, p in exp.D.class_head.named_parameters())
        assert any(not torch.equal(a, b) for a, b in zip(G, exp.G.parameters(), strict=True))


def test_weights_may_be_schedules(tiny_data):
    schedule = "{_target_: gan_lab.schedules.Linear, start: 1.0, end: 0.0, over_images: 80}"
    exp = build(tiny_data, *COMMON, "discriminator.condition=ac", "penalty=ac", f"penalty.ac_g.weight={schedule}")
    clock, factors = Clock(exp), []
    for exp.step in (0, 5, 20):
        clock.tick()
        factors.append((exp.penalties["ac_d"].factor.item(), exp.penalties["ac_g"].factor.item()))
    assert factors == [(1.0, 1.0), (1.0, 0.5), (1.0, 0.0)] and isinstance(exp.penalties["ac_d"], Penalty)
