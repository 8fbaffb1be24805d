"""Several processes train what one would: in float64 every recipe's tensors agree to rounding."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lab.config.options import config_dir
from tests.distributed.rank_steps import after_steps, small

RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
# Between them these have every family of nets, and whatever joins the ranks: BatchNorm, the strengths of augmentations,
# losses over the whole batch, averages that a penalty keeps. The others take minutes.
FEW = (
    "apa at work", "bssn_cnn", "icrgan", "infomax_gan", "penalty=lecam", "r3gan_conditional", "reacgan",
    "stylegan2_ada_conditional", "wgan_gp",
)  # fmt: skip

STEPS = 3

CONDITIONAL = ("generator.conditional=true", "discriminator.condition=projection", "trainer.fake_labels=data")
CLASS_LOSSES = ("tac", "adc")  # the others have recipes
OPTIONS = ("penalty=lecam", "penalty=consistency", "augment=diffaugment", "augment=instance_noise", "loss=relativistic")


def jobs(data):
    found = {recipe: small(recipe, data, 8) for recipe in RECIPES}
    found["ada at work"] = [*small("stylegan2_ada", data, 8), "augment.p=0.6"]
    for recipe in ("r3gan", "sngan_resnet"):
        found[f"conditional {recipe}"] = [*small(recipe, data, 8), *CONDITIONAL]
    for condition in CLASS_LOSSES:
        words = ["generator.conditional=true", f"discriminator.condition={condition}", f"penalty={condition}"]
        found[condition] = [*small("sngan_resnet", data, 8), *words]
    found["apa at work"] = [*small("sngan_projection", data, 8), "augment=apa", "augment.p=0.6"]
    for option in OPTIONS:
        found[option] = [*small("sngan_cnn", data, 8), option]
    return found


OTHERS = sorted(jobs("").keys() - set(FEW))


def run_ranks(folder, steps, jobs):
    """Two processes that run all jobs together."""
    script = Path(__file__).with_name("rank_steps.py")
    common = ["2", f"file://{folder}/rendezvous", str(steps), str(folder), *(";".join(job) for job in jobs)]
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), *common], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    errors = [p.communicate(timeout=1800)[1] for p in processes]
    assert [p.returncode for p in processes] == [0, 0], "\n".join(errors)


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory, tiny_data):
    """The tensors of both ranks after a few steps; these processes also resume a recipe bit for bit, before."""
    return after_two_ranks(tmp_path_factory.mktemp("ranks"), tiny_data, FEW)


@pytest.fixture(scope="module")
def others_of_two_ranks(tmp_path_factory, tiny_data):
    return after_two_ranks(tmp_path_factory.mktemp("ranks"), tiny_data, OTHERS)


def after_two_ranks(folder, data, chosen):
    named = {name: job for name, job in jobs(data).items() if name in chosen}
    run_ranks(folder, STEPS, [["resume", *small("bssn_cnn", data, 8)], *named.values()])
    assert json.loads((folder / "0" / "parts" / "summary.json").read_text())["status"] == "finished"
    return {name: torch.load(folder / f"{i}.pt", weights_only=True) for i, name in enumerate(named, start=1)}


@pytest.fixture
def float64():
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_two_ranks_equal_one(name, of_two_ranks, tiny_data, float64):
    check(name, of_two_ranks, tiny_data)


@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_two_ranks_equal_one_in_the_other_settings(name, others_of_two_ranks, tiny_data, float64):
    check(name, others_of_two_ranks, tiny_data)


def check(name, of_two_ranks, data):
    one, two = after_steps(jobs(data)[name], STEPS), of_two_ranks[name]
    assert one.keys() == two.keys() and len(one) > 10
    # The gradient of a bias before a BatchNorm is rounding, which Adam divides by its eps; mhgan's loss is the largest.
    atol = 1e-8 if name == "mhgan" else 1e-9
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-7, atol=atol, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.long
def test_every_recipe_resumes_bit_for_bit_on_two_ranks(tmp_path, tiny_data):
    conditional = ["resume", *small("r3gan", tiny_data, 8), *CONDITIONAL]
    run_ranks(tmp_path, 20, [*(["resume", *small(recipe, tiny_data, 8)] for recipe in RECIPES), conditional])
