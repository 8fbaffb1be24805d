"""Every recipe trains, and a run of it that is stopped and resumed is bit for bit the run that was not."""

import math
import os
import re
import signal

import pytest
import torch

import gan_lab
from gan_lab.config.options import config_dir
from gan_lab.errors import InterruptedRun
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from tests.distributed.rank_steps import leaves

RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
PENALTIES = {"dragan": ["dragan"], "ortho": ["ortho"], "r3gan": ["r1r2"], "stylegan2": ["path_length", "r1"],
             "stylegan2_ada": ["r1"], "stylegan2_cifar": ["r1"], "wgan": ["clip"], "wgan_gp": ["gp"]}  # fmt: skip


def train(folder, data, recipe):
    small = ("trainer.total_steps=20", "trainer.batch_size=4", "trainer.n_dis=2", "trainer.log_every_steps=1",
             "trainer.sample_every_steps=0", "trainer.device=cpu", "metrics=none")  # fmt: skip
    width = {"r3gan": 0.03, "wn_gan": 0.25}.get(recipe, 0.0625)
    words = (f"recipe={recipe}", f"width={width}", f"data_dir={data}", f"hydra.run.dir={folder}")
    return gan_lab.train(gan_lab.compose(*words, *small))


def test_all_recipes_of_the_plan_are_there():
    wanted = (
        "dcgan wgan wgan_gp dragan lsgan sngan_cnn sngan_resnet ssn bsn bssn_cnn bssn_resnet wn_gan ortho "
        "stylegan2 stylegan2_cifar stylegan2_ada r3gan"
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


LARGE = ("r3gan", "stylegan2", "stylegan2_cifar")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(r, marks=[pytest.mark.long] * (r in LARGE)) for r in RECIPES])
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
