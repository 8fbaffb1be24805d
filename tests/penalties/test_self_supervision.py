"""Rotation and InfoMax against their formulas, written out in NumPy on fixed inputs: value and gradient."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gan_lab.data import TrainingImages
from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.nets import Discriminator
from gan_lab.nets import self_supervision as heads
from gan_lab.nets.self_supervision import FeaturesWithMaps, make_self_supervision
from gan_lab.norms import SpectralNorm, apply_weight_norm, effective_weights
from gan_lab.penalties import Batch, InfoMax, Rotation
from gan_lab.penalties.self_supervision import info_nce, quarter_turns, rotated
from gan_lab.training.clock import Clock
from gan_lab.training.step import d_step, g_step
from tests.penalties.test_classes import slope
from tests.training.short_runs import build

rng = np.random.default_rng(5)
REAL, FAKE = rng.standard_normal((2, 6, 2, 3, 3))
MIX = rng.standard_normal((18, 4))


class Small(Discriminator):
    """Features tanh(x M) of images with 18 numbers."""

    def __init__(self, kind, features=4, maps=2):
        super().__init__()
        torch.manual_seed(1)
        self.self_supervision = make_self_supervision(kind, features, maps)
        for p in self.parameters():
            torch.nn.init.normal_(p, std=0.7)
        self.double()

    def features(self, x):
        return torch.tanh(x.flatten(1) @ torch.tensor(MIX))

    def unconditional_logits(self, features):
        return features.sum(1)


def weights(D):
    return {n.removeprefix("self_supervision."): p.detach().numpy() for n, p in D.named_parameters()}


def rotation_loss(w, images):
    """Image i is rotated by i mod 4 quarter turns; the mean of minus the log-probability of that."""
    total = 0.0
    for i, image in enumerate(images):
        features = np.tanh(np.rot90(image, i % 4, axes=(1, 2)).reshape(-1) @ MIX)
        scores = w["classifier.weight"] @ features + w["classifier.bias"]
        total -= np.log(np.exp(scores[i % 4]) / np.exp(scores).sum()) / len(images)
    return total


def project(w, name, x):
    def linear(part, v):
        return v @ w[f"{name}.{part}.weight"].T + w[f"{name}.{part}.bias"]

    return linear("out", np.maximum(linear("hidden", x), 0.0)) + linear("shortcut", x)


def infomax_loss(w, features, maps):
    """Each position of each image against the positions of all others, pair by pair."""
    v = project(w, "whole", features)
    n, positions = len(features), maps[0, 0].size
    local = [[project(w, "local", maps[i, :, p // 2, p % 2]) for p in range(positions)] for i in range(n)]
    total = 0.0
    for i in range(n):
        for p in range(positions):
            positive = np.exp(local[i][p] @ v[i])
            negative = sum(np.exp(local[j][q] @ v[i]) for j in range(n) if j != i for q in range(positions))
            total -= np.log(positive / (positive + negative)) / (n * positions)
    return total


@pytest.mark.parametrize("side", ["d", "g"])
def test_rotation_is_the_papers(side):
    """D's on reals, G's on fakes, both to be made small."""
    D = Small("rotation")
    real, fake = (torch.tensor(x, requires_grad=True) for x in (REAL, FAKE))
    value = Rotation(side)(Batch(D=D, real=real, fake=fake))
    mine, other, at = (real, fake, REAL) if side == "d" else (fake, real, FAKE)
    assert value.item() == pytest.approx(rotation_loss(weights(D), at), rel=1e-10)
    found, nothing = torch.autograd.grad(value, (mine, other), allow_unused=True)
    expected = slope(lambda x: rotation_loss(weights(D), x), at)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-8)
    assert nothing is None and abs(expected).max() > 1e-2


@pytest.mark.parametrize("side", ["d", "g"])
def test_infomax_is_the_papers(side, monkeypatch):
    monkeypatch.setattr(heads, "INFOMAX_DIM", 5)
    D = Small("infomax", features=3)
    vectors, maps = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 2, 2, 2))
    given = [[torch.tensor(x, requires_grad=True) for x in pair] for pair in zip(vectors, maps, strict=True)]
    batch = Batch(D=D, real_features=FeaturesWithMaps(*given[0]), fake_features=FeaturesWithMaps(*given[1]))
    value, mine = InfoMax(side)(batch), 0 if side == "d" else 1
    w, v, m = weights(D), vectors[mine], maps[mine]
    assert value.item() == pytest.approx(infomax_loss(w, v, m), rel=1e-10)
    grads = torch.autograd.grad(value, [*given[mine], *given[1 - mine]], allow_unused=True)
    expected = slope(lambda x: infomax_loss(w, x, m), v), slope(lambda x: infomax_loss(w, v, x), m)
    for grad, one in zip(grads, expected, strict=False):
        np.testing.assert_allclose(grad.numpy(), one, rtol=1e-5, atol=1e-8)
        assert abs(one).max() > 1e-2
    assert grads[2] is None and grads[3] is None


def test_an_image_without_others_has_nothing_to_find():
    v, local = torch.randn(1, 3, requires_grad=True), torch.randn(1, 4, 3, requires_grad=True)
    loss = info_nce(v, local)
    loss.backward()
    assert loss.item() == 0.0 and not v.grad.any() and not local.grad.any()


def test_equal_vectors_are_found_by_chance():
    n, positions = 5, 4
    loss = info_nce(torch.ones(n, 3), torch.ones(n, positions, 3))
    assert loss.item() == pytest.approx(np.log(1 + (n - 1) * positions), rel=1e-6)


def test_images_are_rotated_counter_clockwise():
    images = torch.arange(4 * 9.0).view(4, 1, 3, 3)
    found = rotated(images, torch.tensor([3, 1, 0, 2])).numpy()
    for image, turned, k in zip(images.numpy(), found, (3, 1, 0, 2), strict=True):
        assert np.array_equal(turned, np.rot90(image, k, axes=(1, 2)))


def test_ranks_turn_the_images_that_one_process_would(monkeypatch):
    """Sample i of rank r is sample 3 i + r of the whole batch."""
    whole = quarter_turns(12, "cpu")
    assert whole.bincount().tolist() == [3, 3, 3, 3]
    monkeypatch.setattr(collectives, "size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
        assert torch.equal(quarter_turns(4, "cpu"), whole[rank::3])


def test_weight_norms_apply_to_the_heads():
    for kind, layers in (("rotation", 1), ("infomax", 6)):
        D = Small(kind)
        raw = {n: w.detach().numpy() for n, w in effective_weights(D).items()}
        apply_weight_norm(D, SpectralNorm(exact=True))
        for name, weight in effective_weights(D).items():
            sigma = np.linalg.svd(raw[name], compute_uv=False)[0]
            np.testing.assert_allclose(weight.detach().numpy(), raw[name] / sigma, rtol=1e-6, atol=1e-9)
        assert len(raw) == layers


def test_a_penalty_without_its_head():
    with pytest.raises(ValueError, match="Rotation needs a discriminator with self_supervision=rotation"):
        Rotation()(Batch(D=Small("infomax"), real=torch.tensor(REAL)))
    with pytest.raises(ValueError, match="InfoMax needs a discriminator with self_supervision=infomax"):
        InfoMax()(Batch(D=torch.nn.Identity()))
    with pytest.raises(ValueError, match="set self_supervision=rotation"):
        Small("infomax").rotation_logits(torch.tensor(REAL))
    with pytest.raises(ValueError, match="set self_supervision=infomax"):
        Small("rotation").infomax_vectors(FeaturesWithMaps(torch.zeros(1, 4), torch.zeros(1, 2, 1, 1)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["discriminator.self_supervision=rotation"], "self_supervision=rotation needs its loss for D and G: add pena"),
        (["penalty=infomax"], "penalty.infomax_d trains a head of a discriminator with discriminator.self_supervision"),
        (["discriminator.self_supervision=infomax"], "infomax needs a discriminator that gives its maps: resnet or"),
        (["discriminator.self_supervision=turn"], "self_supervision must be one of none, rotation, infomax, got 'turn"),
    ],
)
def test_a_head_and_its_penalty_go_together(tiny_data, words, message):
    with pytest.raises(UserError, match=message):
        build(tiny_data, "recipe=sngan_cnn", *words)


@contextmanager
def counted(layer):
    """Collect the number of samples of each forward of a layer."""
    seen = []
    handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    yield seen
    handle.remove()


def stepped(tiny_data, *words):
    exp = build(tiny_data, *words)
    Clock(exp).tick()
    return exp, *TrainingImages(exp.dataset, "cpu", 0, 8).batch(0)


def test_infomax_reads_the_forward_of_the_logits(tiny_data):
    """D runs once on reals and fakes together; its penalty is that of a forward of the reals alone."""
    exp, images, y = stepped(tiny_data, "recipe=infomax_gan", "norm=none")
    with torch.no_grad():
        features, maps = exp.D.features_and_maps(images)
        assert torch.equal(features, exp.D.features(images))
        block = exp.D.blocks[-1](maps)
        torch.testing.assert_close(features, F.relu(block).sum((2, 3)))
        expected = info_nce(*exp.D.infomax_vectors(FeaturesWithMaps(features, maps)))
    with counted(exp.D.blocks[-1]) as seen:
        log = d_step(exp, images, y)
    assert seen == [16]
    assert log["penalty/infomax_d"].item() == pytest.approx(expected.item(), rel=1e-4)
    with counted(exp.D.blocks[-1]) as seen:
        g_step(exp, images, y)
    assert seen == [8]


def test_rotations_are_a_forward_of_their_own(tiny_data):
    exp, images, y = stepped(tiny_data, "recipe=ssgan", "norm=none", "augment=diffaugment")
    expected = F.cross_entropy(exp.D.rotation_logits(rotated(images, quarter_turns(8, "cpu"))), quarter_turns(8, "cpu"))
    with counted(exp.D.blocks[-1]) as seen:
        log = d_step(exp, images, y)
    assert seen == [16, 8]
    assert log["penalty/rotation_d"].item() == pytest.approx(expected.item(), rel=1e-4)


FAMILIES = {
    "rotation": ("dcgan", "r3gan", "resnet", "sngan_cnn", "stylegan2", "biggan", "biggan_deep"),
    "infomax": ("resnet", "biggan"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_takes_it(tiny_data, kind):
    """A step of each side moves every layer of the head, and G reaches it without changing it."""
    for net in FAMILIES[kind]:
        exp, images, y = stepped(
            tiny_data, f"generator={net}", f"discriminator={net}", f"discriminator.self_supervision={kind}",
            f"penalty={kind}", "loss=hinge", "norm=sn", "width=0.03", "trainer.precision=bf16",
        )  # fmt: skip
        parts = {n: p.clone() for n, p in exp.D.self_supervision.named_parameters()}
        log = d_step(exp, images, y)
        after = {n: p.clone() for n, p in exp.D.self_supervision.named_parameters()}
        assert all(not torch.equal(parts[n], after[n]) for n in parts), net
        G = [p.clone() for p in exp.G.parameters()]
        log |= g_step(exp, images, y)
        assert torch.isfinite(log[f"penalty/{kind}_d"]) and torch.isfinite(log[f"penalty/{kind}_g"])
        assert log[f"penalty/{kind}_d"].dtype == torch.float32
        assert all(torch.equal(p, after[n]) for n, p in exp.D.self_supervision.named_parameters())
        assert any(not torch.equal(a, b) for a, b in zip(G, exp.G.parameters(), strict=True))


@pytest.mark.slow
def test_class_losses_read_features_beside_maps(tiny_data):
    exp, images, y = stepped(
        tiny_data, "generator=biggan", "discriminator=biggan", "discriminator.self_supervision=infomax",
        "discriminator.condition=ac", "penalty=[ac,infomax]", "loss=hinge", "width=0.03",
    )  # fmt: skip
    with torch.no_grad():
        expected = F.cross_entropy(exp.D.class_outputs(exp.D.features(images)).logits, y)
    exp.penalties["ac_d"].fakes = False
    assert d_step(exp, images, y)["penalty/ac_d"].item() == pytest.approx(expected.item(), rel=1e-4)
