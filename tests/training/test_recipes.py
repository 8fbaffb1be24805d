"""Every recipe trains, and a run of it that is stopped and resumed is bit for bit the run that was not."""

import math
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
import yaml

import gan_lab
from gan_lab.config.options import config_dir
from gan_lab.errors import InterruptedRun
from gan_lab.penalties import Batch
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from gan_lab.training.resume import describe
from tests.distributed.rank_steps import fitted, leaves
from tests.training.short_runs import build

RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
PENALTIES = {"dragan": ["dragan"], "ortho": ["ortho"], "r3gan": ["r1r2"], "stylegan2": ["path_length", "r1"],
             "stylegan2_ada": ["r1"], "stylegan2_cifar": ["r1"], "wgan": ["clip"], "wgan_gp": ["gp"],
             "acgan": ["ac_d", "ac_g"], "contragan": ["contrastive_d", "contrastive_g"],
             "reacgan": ["d2dce_d", "d2dce_g"],
             "mhgan": ["multihinge_d", "multihinge_g"], "logan": ["logan_d", "logan_g"],
             "biggan_imagenet128": ["ortho_biggan"],
             "r3gan_conditional": ["r1r2"], "stylegan2_ada_conditional": ["r1"],
             "stylegan2_cifar_conditional": ["r1"], "ssgan": ["rotation_d", "rotation_g"],
             "infomax_gan": ["infomax_d", "infomax_g"], "crgan": ["consistency"],
             "icrgan": ["bcr_fake", "bcr_real", "zcr_d", "zcr_g"]}  # fmt: skip


def train(folder, data, recipe):
    n_dis = 2 if recipe in ("bssn_cnn", "wgan") else 1  # the others would only take longer
    small = ("trainer.total_steps=20", "trainer.batch_size=4", f"trainer.n_dis={n_dis}", "trainer.log_every_steps=1",
             "trainer.sample_every_steps=0", "trainer.device=cpu", "metrics=none")  # fmt: skip
    words = (*fitted(recipe), f"data_dir={data}", f"hydra.run.dir={folder}")
    return gan_lab.train(gan_lab.compose(*words, *small))


def test_all_recipes_of_the_plan_are_there():
    wanted = (
        "dcgan wgan wgan_gp dragan lsgan sngan_cnn sngan_resnet ssn bsn bssn_cnn bssn_resnet wn_gan ortho "
        "stylegan2 stylegan2_cifar stylegan2_ada r3gan "
        "sngan_projection sagan biggan biggan_deep biggan_imagenet128 acgan contragan reacgan mhgan "
        "stylegan2_cifar_conditional stylegan2_ada_conditional r3gan_conditional logan "
        "ssgan infomax_gan crgan icrgan"
    )
    assert set(wanted.split()) <= set(RECIPES)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_header_states_paper_command_and_figures(recipe):
    text = (config_dir() / "recipe" / f"{recipe}.yaml").read_text()
    head = text[: text.index("defaults:")]
    assert re.search(r"arXiv:\d{4}\.\d{5}", head)
    assert f"python train.py recipe={recipe} dataset=" in head
    assert re.search(r"Published\W.*\w", head) and "Measured: see docs/recipes.md." in head
    assert len(text.splitlines()) <= 40 and max(map(len, head.splitlines())) <= 120


MIRRORED = {  # R3GAN's authors and StudioGAN mirror; the rest of the papers train on images as they are
    "r3gan", "r3gan_conditional", "sngan_projection", "sagan", "biggan", "biggan_deep", "biggan_imagenet128",
    "acgan", "contragan", "reacgan", "mhgan", "logan", "crgan", "icrgan",
}  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_header_says_whether_images_are_mirrored(recipe):
    text = (config_dir() / "recipe" / f"{recipe}.yaml").read_text()
    said = re.search(r"^# Images are (not )?mirrored", text, re.MULTILINE)
    assert said is not None and (said[1] is None) == (recipe in MIRRORED)
    assert yaml.safe_load(text)["dataset"]["hflip"] is (recipe in MIRRORED)
    if "no augmentation" in text:
        cfg = gan_lab.compose(f"recipe={recipe}")
        assert cfg.augment is None and not cfg.dataset.hflip


OPPOSITE = [pytest.param(r, marks=[pytest.mark.long] * (r not in ("sagan", "wgan"))) for r in RECIPES]


@pytest.mark.parametrize("recipe", OPPOSITE)
def test_a_recipe_mirrors_or_not_whatever_the_dataset_says(recipe):
    """Of a dataset that says the opposite; the command line has the last word."""
    cfg = gan_lab.compose(f"recipe={recipe}", f"dataset={'folder' if recipe in MIRRORED else 'shapes'}")
    assert cfg.dataset.hflip is (recipe in MIRRORED)


def test_images_are_mirrored_only_where_the_data_are_symmetric():
    said = {p.stem: yaml.safe_load(p.read_text())["dataset"]["hflip"] for p in (config_dir() / "dataset").glob("*")}
    assert {name for name, hflip in said.items() if hflip} == {"shapes"} and len(said) > 5
    assert gan_lab.compose("recipe=dcgan", "dataset.hflip=true").dataset.hflip is True


def test_what_recipes_take_from_their_papers():
    """Figures of the papers that a recipe's settings follow from, worked out here."""
    r3gan = gan_lab.compose("recipe=r3gan")
    assert r3gan.trainer.total_steps == 250_000_000 // r3gan.trainer.batch_size  # images
    assert gan_lab.compose("recipe=wgan_gp").discriminator.pooling == "mean"
    assert gan_lab.compose("recipe=sngan_resnet").discriminator.pooling == "sum"
    text = (config_dir() / "recipe" / "sngan_cnn.yaml").read_text()
    words = re.search(r"python train.py (recipe=sngan_cnn dataset=stl10 .*)", text)
    stl = gan_lab.compose(*words[1].split())
    assert (stl.optimizer.d.lr, list(stl.optimizer.d.betas), stl.trainer.n_dis) == (1e-4, [0.5, 0.999], 1)  # setting B
    assert stl.loss.d._target_ == "gan_lab.losses.nonsaturating_d"


def test_weights_of_self_supervision_and_consistency():
    """Those of the papers; icrgan has StudioGAN's with BigGAN."""

    def settings(name, key="weight"):
        nodes = yaml.safe_load((config_dir() / "penalty" / f"{name}.yaml").read_text())
        return [node[key] for node in nodes.values()]

    assert (settings("rotation"), settings("infomax")) == ([1.0, 0.2], [0.2, 0.2])
    assert (settings("bcr"), settings("bcr", "images")) == ([10.0, 10.0], ["real", "fake"])
    assert settings("zcr") == [5.0, 0.5] and settings("zcr", "sigma") == [0.03, 0.03]
    assert all(settings(name, "side") == ["d", "g"] for name in ("rotation", "infomax", "zcr"))
    of = gan_lab.compose("recipe=icrgan").penalty
    assert (of.zcr_d.weight, of.zcr_d.sigma, of.zcr_g.weight, of.zcr_g.sigma) == (20.0, 0.05, 0.5, 0.05)
    assert of.bcr_real.weight == of.bcr_fake.weight == gan_lab.compose("recipe=crgan").penalty.consistency.weight == 10


def test_ortho_starts_where_its_penalty_is_zero(tiny_data):
    exp = build(tiny_data, "recipe=ortho")
    assert exp.penalties["ortho"](Batch(D=exp.augmented_discriminator())).item() == pytest.approx(0.0, abs=1e-8)
    plain = build(tiny_data, "recipe=ortho", "discriminator.init=normal")
    assert plain.penalties["ortho"](Batch(D=plain.augmented_discriminator())).item() > 1


def test_the_first_line_says_whether_images_are_mirrored(tiny_data, tmp_path):
    run = SimpleNamespace(path=tmp_path)
    for words, said in (([], "(160 images, mirrored at random)"), (["recipe=dcgan"], "(160 images, not mirrored)")):
        assert said in describe(build(tiny_data, *words), run)


# Between them these have every family of nets, kind of norm, penalty, average and optimizer; the rest are long tests.
# R3GAN with classes is resumed in tests/behaviour/test_conditional.py.
FEW = ("acgan", "bssn_cnn", "dragan", "infomax_gan", "ortho", "sngan_projection", "stylegan2_ada", "wgan", "wn_gan")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(r, marks=[pytest.mark.long] * (r not in FEW)) for r in RECIPES])
def test_trains_with_finite_logs_and_resumes_bit_for_bit(tmp_path, tiny_data, monkeypatch, recipe):
    whole = train(tmp_path / "whole", tiny_data, recipe)
    rows = read_rows(whole / "train.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 21))
    for row in rows:
        assert all(v is not None and math.isfinite(v) for v in row.values())
    assert sorted(k.removeprefix("penalty/") for k in rows[0] if k.startswith("penalty/")) == PENALTIES.get(recipe, [])

    true_step, calls = accelerate.g_step, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(accelerate, "g_step", stopping)
        with pytest.raises(InterruptedRun, match="step 10"):
            train(tmp_path / "parts", tiny_data, recipe)
    parts = train(tmp_path / "parts", tiny_data, recipe)

    a, b = (dict(leaves(Checkpoints(run / "checkpoints", 9).latest()["state"])) for run in (whole, parts))
    assert a.keys() == b.keys() and len(a) > 20
    different = [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]
    assert different == []
    assert any(k.startswith("optimizer_d.") for k in a) and any(k.startswith("G_ema.") for k in a)
