"""What the diagnostics report, against closed forms and direct computation; and that they leave no trace in a run."""

import copy
import functools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import gan_lab
from gan_lab.diagnostics.measure import Diagnostics, undisturbed
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.nets import Discriminator, Generator
from gan_lab.norms import effective_weights, spectral_sigmas
from gan_lab.norms.spectral import SpectralWeight
from gan_lab.training.step import d_step, g_step
from tests.diagnostics.diagnostics_rank import measured

CNN = ["discriminator=sngan_cnn", "generator=sngan_cnn", "penalty=none"]
STYLE = ["discriminator=stylegan2", "generator=stylegan2", "generator.mapping_layers=1", "generator.w_dim=16"]
RECIPES = {
    "default": ["metrics=shapes", "penalty.r1r2.interval=1"],
    "batch norm in D": ["discriminator=dcgan", "generator=dcgan", "norm=sn", "loss=hinge"],
    "bssn": ["norm=bssn", "loss=hinge", "penalty=[gp,lecam]", "trainer.n_dis=2"],
    "ada": ["norm=wn", "augment=ada", "augment.p=0.5", "augment.cutout=1", "penalty=r1"],
    "resnet": ["discriminator=resnet", "generator=resnet", "norm=bsn", "norm.learn_scale=layer"],
    "wn_gan": ["discriminator=wn_gan", "generator=wn_gan", "norm=wn_strict", "loss=nonsaturating", "penalty=none"],
    "stylegan2": [*STYLE, "penalty=[r1,path_length]", "penalty.path_length.interval=1"],
    "bf16": ["norm=ssn", "trainer.precision=bf16"],
}


@functools.cache
def composed_and_built(data, *words):
    fixed = [f"data_dir={data}", "metrics=none", "width=0.0625", "trainer.device=cpu", "generator=dcgan",
             "discriminator=dcgan_plain"]  # fmt: skip
    return gan_lab.build(gan_lab.compose(*fixed, *words))


def built(data, *words):
    """An experiment of a test's own."""
    return copy.deepcopy(composed_and_built(data, *words))


def reals(x, index, n=6):
    chosen = torch.arange(index * n, index * n + n) % x.dataset.num_train
    return x.dataset.images("train", chosen).float() / 127.5 - 1


def one_step(x, step, monitor=None):
    """One step of the loop, with the monitor called as the loop calls it; returns the last batch of reals."""
    torch.manual_seed(step)
    n_dis, x.step = x.config.trainer.n_dis, step
    if monitor is not None:
        monitor.before_step(step)
    for x.substep in range(n_dis):
        real = reals(x, step * n_dis + x.substep)
        d_step(x, real)
    g_step(x, real)
    if monitor is not None:
        monitor.after_step(step + 1)
    return real


def everything(x):
    """All that a measurement could change, in tensors and plain values."""
    nets = [net for net in (x.G, x.D, x.augment, *x.penalties.values()) if isinstance(net, nn.Module)]
    state = {"random": torch.get_rng_state()}
    for i, net in enumerate(nets):
        state |= {f"{i} {name}": b.clone() for name, b in net.named_buffers()}
        state |= {f"{i} {name} mode": part.training for name, part in net.named_modules()}
        for name, p in net.named_parameters():
            state |= {f"{i} {name}": p.detach().clone(), f"{i} {name} wants": p.requires_grad}
            state[f"{i} {name} grad"] = None if p.grad is None else p.grad.clone()
    return state


def assert_same(after, before):
    assert after.keys() == before.keys()
    for key, value in before.items():
        same = torch.equal(after[key], value) if isinstance(value, torch.Tensor) else after[key] == value
        assert same, key


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "level"), [*((name, "full") for name in RECIPES), ("default", "light")])
def test_measuring_leaves_no_trace_in_a_step_or_in_the_run(tiny_data, recipe, level):
    x, undiagnosed = built(tiny_data, *RECIPES[recipe]), built(tiny_data, *RECIPES[recipe])
    monitor = Diagnostics(x, level, 2, seed=0)
    for step in range(2):
        real = one_step(x, step, monitor)
        one_step(undiagnosed, step)
    before, batch = everything(x), real.clone()
    assert all(math.isfinite(v) for v in monitor.measure(2, real).values())
    assert_same(everything(x), before)
    assert torch.equal(real, batch) and not real.requires_grad and real.grad is None
    one_step(x, 2, monitor)
    one_step(undiagnosed, 2)
    assert_same(everything(x), everything(undiagnosed))


LAYERS = [*(f"convs.{i}" for i in range(7)), "linear"]
LIGHT = {
    "grad/effective/joint", "grad/raw/joint", "grad/input", "grad/bound", "grad/g/joint", "sigma_product",
    "logits/held_out", "logits/held_out_sign", "logits/overfit_gap", "update_ratio/g", "update_ratio/d",
    "grad_cosine/g", "grad_cosine/d", "spread/pixels",
}  # fmt: skip
PER_LAYER = ["grad/effective", "grad/raw", "variance", "variance_sn", "variance_bsn", "variance_wn",
             "sigma_exact_out", "sigma_exact_in"]  # fmt: skip


def after_two_steps(x, level="full"):
    monitor = Diagnostics(x, level, 2, seed=0)
    for step in range(2):
        real = one_step(x, step, monitor)
    return monitor.measure(2, real), real


@pytest.mark.slow
def test_the_keys_of_both_levels(tiny_data):
    words = [*CNN, "norm=bssn", "augment=ada"]
    light, _ = after_two_steps(built(tiny_data, *words), "light")
    assert light.keys() == LIGHT | {"ada/p"}
    full, _ = after_two_steps(built(tiny_data, *words))
    assert full.keys() == light.keys() | {f"{kind}/{name}" for kind in PER_LAYER for name in LAYERS}
    assert {k: full[k] for k in light} == light


def test_figures_are_a_function_of_the_state_the_seed_and_the_step(tiny_data):
    x = built(tiny_data, "norm=sn")
    values, real = after_two_steps(x)
    torch.manual_seed(123)  # whatever the random state outside is
    first, again = Diagnostics(x, "full", 2, seed=0), Diagnostics(x, "full", 2, seed=0)
    once = first.measure(2, real)
    assert once == again.measure(2, real)
    assert once == {k: v for k, v in values.items() if k in once}
    other_step, other_seed = first.measure(4, real), Diagnostics(x, "full", 2, seed=1).measure(2, real)
    assert once["spread/pixels"] == other_step["spread/pixels"] != other_seed["spread/pixels"]  # the batch is fixed
    assert once["grad/raw/joint"] != other_step["grad/raw/joint"]


def test_gradients_are_of_the_loss_on_the_batch_and_new_fakes_without_penalties(tiny_data, monkeypatch):
    x = built(tiny_data, *CNN[:2], "loss=wasserstein", "penalty=gp")
    values, real = after_two_steps(x)
    seen = []
    true = x.G.forward
    monkeypatch.setattr(x.G, "forward", lambda z, y: seen.append(true(z, y)) or seen[-1])
    again = Diagnostics(x, "full", 2, seed=0).measure(2, real)
    (fake,) = [images for images in seen if len(images) == len(real)]
    real, fake = real.requires_grad_(), fake.detach().requires_grad_()
    x.optimizer_d.zero_grad()
    (x.D(fake).mean() - x.D(real).mean()).backward()
    weights = {name: layer.weight for name, layer in x.D.named_modules() if hasattr(layer, "weight")}
    assert weights.keys() == set(LAYERS)
    for name, weight in weights.items():
        for kind in ("raw", "effective"):
            assert values[f"grad/{kind}/{name}"] == pytest.approx(float(weight.grad.norm()), rel=1e-4)
    squares = sum(float(w.grad.square().sum()) for w in weights.values())
    assert values["grad/raw/joint"] == again["grad/raw/joint"] == pytest.approx(math.sqrt(squares), rel=1e-4)
    slopes = [len(real) * float(g.norm()) for images in (real, fake) for g in images.grad]
    assert values["grad/input"] == pytest.approx(sum(slopes) / len(slopes), rel=1e-4)
    lengths = [float(images.detach().flatten(1).norm(dim=1).mean()) for images in (real, fake)]
    assert values["grad/bound"] == pytest.approx(math.sqrt(8) * sum(lengths), rel=1e-5)


def test_without_an_adversarial_loss_its_gradients_are_zero(tiny_data):
    classes = ("discriminator.condition=multihinge", "generator.conditional=true")
    x = built(tiny_data, *CNN[:2], "loss=none", "penalty=multihinge", *classes)
    values = Diagnostics(x, "light", 2, seed=0).measure(2, reals(x, 0), torch.arange(6))
    assert values["grad/raw/joint"] == values["grad/effective/joint"] == values["grad/input"] == 0.0


def test_the_bound_takes_the_scale_and_effective_and_raw_differ_by_sigma(tiny_data):
    x = built(tiny_data, *CNN, "norm=ssn", "norm.scale=1.5", "loss=hinge")
    scaled, real = after_two_steps(x)
    for layer in x.D.modules():
        if isinstance(layer, SpectralWeight):
            layer.scale = 1.0  # the images, and so their lengths, stay
    plain = Diagnostics(x, "light", 2, seed=0).measure(2, real)
    assert scaled["grad/bound"] == pytest.approx(plain["grad/bound"] * 1.5**7, rel=1e-9)
    assert scaled["grad/effective/joint"] < scaled["grad/bound"]
    sigmas = {name: float(found["sigma"]) for name, found in spectral_sigmas(x.D).items()}
    # A matrix of one row is its own singular direction, along which W / sigma does not change.
    assert scaled["grad/raw/linear"] < scaled["grad/effective/linear"] * 1.5 / sigmas["linear"]
    assert scaled["sigma_product"] == pytest.approx(math.prod(sigmas.values()), rel=1e-5)


def test_spectra_and_variances_are_of_the_weights_in_use(tiny_data):
    x = built(tiny_data, "norm=bssn")
    values, _ = after_two_steps(x)
    for name, weight in effective_weights(x.D).items():
        w = weight.detach().double()
        assert values[f"variance/{name}"] == pytest.approx(float(w.flatten().numpy().var()), rel=1e-6)
        out, into = w.flatten(1), w.transpose(0, 1).flatten(1)
        assert values[f"sigma_exact_out/{name}"] == pytest.approx(float(torch.linalg.svdvals(out)[0]), rel=1e-9)
        assert values[f"sigma_exact_in/{name}"] == pytest.approx(float(torch.linalg.svdvals(into)[0]), rel=1e-9)
        rows, columns = out.shape
        fan_out = w[:, 0].numel()
        assert values[f"variance_sn/{name}"] == pytest.approx(1 / max(rows, columns))
        assert values[f"variance_bsn/{name}"] == pytest.approx(2 / (columns + fan_out))
        assert values[f"variance_wn/{name}"] == pytest.approx(1 / columns)


def test_update_ratio_and_gradient_cosine_of_plain_gradient_descent(tiny_data):
    """Two SGD steps along known gradients: the ratio is lr |g| / |w|, the cosine that of the two gradients."""
    x = built(tiny_data)
    monitor = Diagnostics(x, "light", 3, seed=0)
    optimizer = torch.optim.SGD(x.G.parameters(), lr=0.5)
    directions = [[torch.randn_like(p) for p in x.G.parameters()] for _ in range(3)]
    for step, direction in enumerate(directions):
        monitor.before_step(step)
        weights = torch.cat([p.detach().flatten() for p in x.G.parameters()]).clone()
        for p, g in zip(x.G.parameters(), direction, strict=True):
            p.grad = g.clone() if p.grad is None else p.grad.copy_(g)  # in place: the last step's must have been kept
        optimizer.step()
        monitor.after_step(step + 1)
    values = monitor.measure(3, reals(x, 0))
    flat = [torch.cat([g.flatten() for g in direction]) for direction in directions]
    assert values["update_ratio/g"] == pytest.approx(float(0.5 * flat[2].norm() / weights.norm()), rel=1e-5)
    cosine = float(torch.dot(flat[1], flat[2]) / (flat[1].norm() * flat[2].norm()))
    assert values["grad_cosine/g"] == pytest.approx(cosine, rel=1e-3, abs=1e-6)
    assert values["grad/g/joint"] == pytest.approx(float(flat[2].norm()), rel=1e-5)
    assert values["update_ratio/d"] == 0.0 and "grad_cosine/d" not in values  # D has not moved


def test_the_sign_of_the_cosine_and_what_is_undefined_is_left_out(tiny_data):
    x = built(tiny_data)
    monitor = Diagnostics(x, "light", 1, seed=0)
    for factor, expected in ((1.0, None), (2.0, 1.0), (-3.0, -1.0), (0.0, None), (1.0, None)):
        monitor.before_step(0)
        for p in x.D.parameters():
            p.grad = factor * torch.ones_like(p)
        monitor.after_step(1)
        values = monitor.measure(1, reals(x, 0))
        assert values.get("grad_cosine/d") == (None if expected is None else pytest.approx(expected, rel=1e-5))
    assert "update_ratio/d" not in monitor.measure(1, reals(x, 0))  # a step's figures are reported once


def test_a_net_that_stands_still_without_a_gradient_has_no_update_ratio(tiny_data):
    """A hinge D beyond its margin, under Adam without momentum: that says nothing of the size of its steps."""
    x = built(tiny_data)
    monitor = Diagnostics(x, "light", 1, seed=0)
    for gradient, moves, told in ((1.0, True, True), (0.0, False, False), (1.0, False, True), (0.0, True, True)):
        monitor.before_step(0)
        for p in x.D.parameters():
            p.grad = gradient * torch.ones_like(p)
            p.data += 0.1 * moves
        monitor.after_step(1)
        values = monitor.measure(1, reals(x, 0))
        assert ("update_ratio/d" in values) == told
        assert not told or (values["update_ratio/d"] > 0) == moves


class Mean(Discriminator):
    """Judges an image by the mean of its pixels, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def features(self, x):
        self.calls += 1
        return x.flatten(1)

    def logits(self, features, y=None):
        return features.mean(1)


@pytest.mark.parametrize("batch", [5, 32, 64])
def test_held_out_logits_and_their_gap(tiny_data, batch):
    x = built(tiny_data, "penalty=none")
    x.D = Mean()
    values = Diagnostics(x, "full", 1, seed=0).measure(1, reals(x, 0, batch))
    count = 30 if batch == 5 else 32  # whole batches of the 32 test images
    held_out = x.dataset.images("test", [i * 32 // count for i in range(count)]).double() / 127.5 - 1
    train = x.dataset.images("train", [i * 160 // count for i in range(count)]).double() / 127.5 - 1
    means = held_out.mean((1, 2, 3))
    assert values["logits/held_out"] == pytest.approx(float(means.mean()), rel=1e-4)
    assert values["logits/held_out_sign"] == pytest.approx(float(means.sign().mean()))
    assert values["logits/overfit_gap"] == pytest.approx(float(train.mean((1, 2, 3)).mean() - means.mean()), rel=1e-3)
    assert x.D.calls == 0 and "grad/raw/joint" not in values and values["sigma_product"] == 1.0


def test_a_d_that_knows_the_training_images_has_a_positive_gap_and_no_test_split_no_gap(tiny_data, monkeypatch):
    x = built(tiny_data)
    known = x.dataset.images("train", range(160)).float() / 127.5 - 1
    x.D = Mean()
    x.D.logits = lambda features, y: (torch.cdist(features, known.flatten(1)).amin(1) < 1.0).float()
    assert Diagnostics(x, "light", 1, seed=0).measure(1, reals(x, 0))["logits/overfit_gap"] == 1.0
    monkeypatch.setattr(x.dataset, "num_test", 0)
    values = Diagnostics(x, "light", 1, seed=0).measure(1, reals(x, 0))
    assert not [key for key in values if "held_out" in key or "gap" in key]


class Flat(Generator):
    """A generator of images of one value each."""

    def __init__(self, values):
        super().__init__(32, 3, z_dim=1)
        self.values = values

    def forward(self, z, y=None):
        return self.values[torch.arange(len(z)) % len(self.values), None, None, None].expand(-1, 3, 32, 32)


def test_spread_is_the_mean_distance_of_pairs_in_pixels_and_zero_after_collapse(tiny_data):
    x = built(tiny_data, "metrics=shapes")
    values = Diagnostics(x, "light", 1, seed=0).measure(1, reals(x, 0))
    with own_randomness(mix(0, "monitor"), torch.device("cpu")), torch.no_grad():
        images = copy.deepcopy(x.G).eval()(x.G.sample_z(64, "cpu")).double()
    distances = [float((a - b).square().mean().sqrt()) for i, a in enumerate(images) for b in images[:i]]
    assert values["spread/pixels"] == pytest.approx(sum(distances) / len(distances), rel=1e-5)
    x.G = Flat(torch.tensor([-0.5, 1.0]))
    values = Diagnostics(x, "full", 1, seed=0).measure(1, reals(x, 0))
    assert values["spread/pixels"] == pytest.approx(1.5 * 32 * 32 / (64 * 63 / 2), rel=1e-5)
    light = Diagnostics(x, "light", 1, seed=0).measure(1, reals(x, 0))
    assert {k: light[k] for k in light} == {k: values[k] for k in light}
    both = x.evaluator.extractor(torch.tensor([64, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 32, 32))
    distance = float((both["features"][0] - both["features"][1]).norm())
    assert values["spread/features"] == pytest.approx(distance * 32 * 32 / (64 * 63 / 2), rel=1e-4)
    x.G = Flat(torch.tensor([0.25]))
    values = Diagnostics(x, "full", 1, seed=0).measure(1, reals(x, 0))
    assert values["spread/pixels"] == values["spread/features"] == 0.0


def test_a_net_that_is_no_longer_finite_is_measured_without_an_error(tiny_data):
    x = built(tiny_data, "metrics=shapes", "norm=bssn")
    with torch.no_grad():
        x.G.linear.weight.fill_(math.nan)
        x.D.linear.parametrizations.weight.original.fill_(math.inf)
    values = Diagnostics(x, "full", 1, seed=0).measure(1, reals(x, 0))
    assert math.isnan(values["spread/pixels"]) and "spread/features" not in values
    assert math.isnan(values["sigma_exact_out/linear"]) and not math.isfinite(values["grad/raw/joint"])


@pytest.mark.slow
def test_path_length_and_augmentation(tiny_data):
    penalized = built(tiny_data, *RECIPES["stylegan2"])
    values, _ = after_two_steps(penalized, "light")
    assert values["path_length/mean"] == float(penalized.penalties["path_length"].mean_length) > 0
    free = built(tiny_data, *STYLE, "penalty=none")
    real = reals(free, 0)
    values = Diagnostics(free, "full", 2, seed=0).measure(2, real)
    assert values["path_length/mean"] > 0
    assert "path_length/mean" not in Diagnostics(free, "light", 2, seed=0).measure(2, real)
    with torch.no_grad():
        for block in free.G.blocks:
            for name, p in block.named_parameters():
                if "rgb" in name:
                    p.mul_(2.0)  # images twice as large are twice as far apart
    doubled = Diagnostics(free, "full", 2, seed=0).measure(2, real)["path_length/mean"]
    assert doubled > 1.5 * values["path_length/mean"]
    augmented = built(tiny_data, *RECIPES["ada"])
    assert Diagnostics(augmented, "light", 2, seed=0).measure(2, real)["ada/p"] == 0.5


def test_when_it_is_due_and_what_it_refuses(tiny_data):
    x = built(tiny_data)
    monitor = Diagnostics(x, "light", 500, seed=0)
    assert [step for step in range(1501) if monitor.due(step)] == [500, 1000, 1500]
    with pytest.raises(ValueError, match="full or light"):
        Diagnostics(x, "off", 500, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        Diagnostics(x, "full", 0, seed=0)


def test_buffers_and_modes_come_back_even_after_an_error_and_when_replaced():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), Mean())
    net[1].eval()
    home = net[0].running_mean
    with pytest.raises(RuntimeError), undisturbed(net):
        net[0](torch.randn(8, 2))
        net[0].running_mean = torch.ones(2)
        net.eval()
        raise RuntimeError
    assert net[0].running_mean is home and torch.equal(home, torch.zeros(2)) and net[0].num_batches_tracked == 0
    assert [part.training for part in net] == [True, False, True]


@pytest.mark.long
def test_two_ranks_measure_what_one_process_does(tiny_data, tmp_path):
    """With batch normalization in D and random augmentation, both of which look beyond a rank's share."""
    script = Path(__file__).with_name("diagnostics_rank.py")
    words = ["discriminator=dcgan", "norm=sn", "augment=ada", "augment.p=0.5", "metrics=none", "width=0.0625"]
    words.append("trainer.device=cpu")
    command = [sys.executable, str(script), "{rank}", "2", str(tmp_path / "store"), str(tiny_data), *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(gan_lab.__file__).parents[1])}
    ranks = [
        subprocess.Popen([w.format(rank=r) for w in command], stdout=subprocess.PIPE, text=True, env=environment)
        for r in range(2)
    ]
    first, second = (json.loads(process.communicate(timeout=120)[0]) for process in ranks)
    one = measured(0, 1, tiny_data, words)
    assert first == second and one.keys() > {"mean/real", "mean/fake_logits"}
    assert first == pytest.approx(one, rel=1e-4, abs=1e-7)
