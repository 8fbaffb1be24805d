"""Evaluating and sampling: which G, what for, and that training does not notice."""

import numpy as np
import pytest
import torch

import gan_lab
from gan_lab.data.store import pack
from gan_lab.nets.sampling import sampler, with_standing_statistics
from gan_lab.training.evaluation import evaluate, fixed_latents, grids
from tests.training.short_runs import CONDITIONAL, EVALUATED, assert_same, build, evaluated_run, state_of


@pytest.mark.slow
def test_evaluation_does_not_touch_training(tmp_path, tiny_data):
    often = evaluated_run(tmp_path / "often", tiny_data, "trainer.eval_every_steps=1", "trainer.sample_every_steps=1")
    never = evaluated_run(tmp_path / "never", tiny_data, "trainer.eval_every_steps=0", "trainer.sample_every_steps=0")
    for name in ("G", "D", "G_ema", "optimizer_g", "optimizer_d"):
        assert_same(state_of(often)[name], state_of(never)[name], name)


def shifted(net):
    """The same net of other weights."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.01)


@pytest.mark.parametrize(("word", "averaged"), [("metrics.ema=true", True), ("metrics.ema=false", False)])
def test_the_averaged_g_is_evaluated_or_the_raw_one(tiny_data, word, averaged):
    x = gan_lab.build(gan_lab.compose(f"data_dir={tiny_data}", *EVALUATED, word))
    first = evaluate(x)
    shifted(x.G if averaged else x.G_ema)
    assert evaluate(x) == first
    shifted(x.G_ema if averaged else x.G)
    assert evaluate(x) != first


def test_standing_statistics_are_of_the_evaluated_g_and_change_nothing_else(tiny_data):
    words = (f"data_dir={tiny_data}", *EVALUATED, "generator=dcgan", "discriminator=dcgan")
    x = gan_lab.build(gan_lab.compose(*words, "metrics.standing_statistics=2"))
    before = {k: v.clone() for k, v in x.G_ema.state_dict().items()}
    found = evaluate(x)
    assert_same(x.G_ema.state_dict(), before)
    G = with_standing_statistics(x.G_ema, 2, x.evaluator.batch_size, x.evaluator.seed)
    assert found == x.evaluator(sampler(G, x.device)) != x.evaluator(sampler(x.G_ema, x.device))


def test_a_conditional_g_is_evaluated_on_classes_drawn_with_the_evaluators_numbers(tiny_data):
    x = gan_lab.build(gan_lab.compose(f"data_dir={tiny_data}", *EVALUATED, *CONDITIONAL))
    asked, true = [], x.G_ema.forward
    x.G_ema.forward = lambda z, y: asked.append(y) or true(z, y)
    first = evaluate(x)
    torch.manual_seed(99)
    assert evaluate(x) == first
    n = len(asked) // 2
    assert torch.equal(torch.cat(asked[:n]), torch.cat(asked[n:])) and len(torch.cat(asked[:n])) == 64
    assert len(set(torch.cat(asked[:n]).tolist())) > 10  # of 16
    with torch.no_grad():
        x.G_ema.embedding.weight.mul_(-1)
    assert evaluate(x) != first


def test_the_grid_of_an_unconditional_g_is_of_as_many_latents(tiny_data):
    x = build(tiny_data)
    torch.manual_seed(0)
    z, y = fixed_latents(x)
    torch.manual_seed(0)
    assert y is None and torch.equal(z, torch.randn(64, x.G.z_dim))


def test_a_row_of_the_grid_shows_one_class_and_a_column_one_latent(tiny_data):
    x = build(tiny_data, *CONDITIONAL)
    z, y = fixed_latents(x)
    assert y.tolist() == [row for row in range(16) for _ in range(8)]  # each of the 16 classes has its row
    assert all(torch.equal(z[i], z[i % 8]) for i in range(128)) and len({tuple(v.tolist()) for v in z}) == 8
    x.G.class_weights = torch.full((3,), 1 / 3)
    assert fixed_latents(x)[1].tolist() == [row % 3 for row in range(8) for _ in range(8)]


def test_the_reals_of_the_grid_are_a_draw_of_the_seed_whatever_the_order_of_the_files(tmp_path):
    """200 images sorted by class, of 5 classes: the first 64 would show 2 of them."""
    images = np.repeat(np.arange(200, dtype=np.uint8), 32 * 32 * 3).reshape(200, 32, 32, 3)
    pack(tmp_path / "packed", [(images, np.arange(200) // 40)], name="sorted", class_names=list("abcde"))

    def shown(seed):
        x = build(tmp_path, "dataset=packed", f"dataset.path={tmp_path / 'packed'}", f"seed={seed}", "generator=dcgan",
                  "discriminator=dcgan")  # fmt: skip
        return [round(float(v)) for v in (grids(x)["real"][0][:, 0, 0, 0] + 1) * 127.5]

    first, other = shown(0), shown(1)
    assert len(set(first)) == 64 and {i // 40 for i in first} == set(range(5))
    assert first == shown(0) and first != other


@pytest.mark.parametrize("words", [(), CONDITIONAL], ids=["unconditional", "conditional"])
def test_what_the_grids_show(tiny_data, words):
    x = build(tiny_data, *words)
    shifted(x.G)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn = grids(x)
    assert torch.equal(torch.get_rng_state(), before)
    again = grids(x)
    assert drawn.keys() == {"samples", "raw", "real"}
    for name, (images, y) in drawn.items():
        assert images.shape == (128 if words and name != "real" else 64, 3, 32, 32)
        assert torch.equal(images, again[name][0])
        assert (y is None) == (not words)
    assert not torch.equal(drawn["samples"][0], drawn["raw"][0])
    real, labels = drawn["real"]
    chosen = torch.from_numpy(np.random.default_rng([0, 0, 0]).permutation(160)[:64])  # training's first epoch
    assert torch.equal(real, x.dataset.images("train", chosen).float() / 127.5 - 1)
    if words:
        assert torch.equal(labels, x.dataset.labels("train")[chosen])
        assert torch.equal(drawn["raw"][1], drawn["samples"][1])
