"""docs/recipes.md is what the script makes of the recipes' headers and of the runs in docs/results."""

import json

import pytest
import yaml

import gan_lab
from gan_lab.config.options import config_dir
from gan_lab.config.plain import plain
from gan_lab.errors import UserError
from scripts.studies import recipes_page
from scripts.studies.study import REPOSITORY


def test_the_page_is_of_these_recipes_and_these_runs():
    text = (REPOSITORY / "docs" / "recipes.md").read_text()
    assert text == recipes_page.render()
    assert "None of these recipes has been run to its published length" in text


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(name, step, figure, *words)` leaves the small files of a run in a study called `mine`."""
    monkeypatch.setattr(recipes_page, "RESULTS", tmp_path)

    def write(name, step, figure, *words, status="finished", again=()):
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain(gan_lab.compose(*words))))
        final, best = {"step": step, "fid768": figure}, {"metric": "fid768", "value": figure, "step": step}
        summary = {"status": status, "final": final if step else None, "best": best if step else None}
        (folder / "summary.json").write_text(json.dumps(summary))
        rows = [{"step": step, "fid768": figure}, *({"step": step, **row, "checkpoint": "c.pt"} for row in again)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


def test_runs_of_a_recipe_are_named_with_their_length_and_what_they_change(run):
    words = ("recipe=wn_gan", "dataset=cifar10", "width=0.25", "trainer.total_steps=3000")
    at_best = {"step": 2000, "reconstruction_error": 0.01}  # not at the end
    run("wn-0", 3000, 0.12345, *words, "seed=0", again=[at_best, {"reconstruction_error": 0.02}])
    run("wn-1", 2000, 0.5, *words, "seed=1", status="interrupted")
    run("wn-2", 3000, 0.25, *words, "seed=2", again=[{"reconstruction_error": 0.03}])
    run("wn-3", 3000, None, *words, "seed=3")  # it has no last figure
    run("wn-4", None, None, *words, "seed=4", status="interrupted")  # nor any
    run("wn-5", 3000, 0.75, *words, "seed=5", status="collapsed")
    run("fast-0", 3000, 1.0, "recipe=wn_gan", "dataset=shapes", "optimizer.g.lr=0.01", "trainer.precision=bf16")
    assert recipes_page.measured() == {"wn_gan": [
        "[mine](results/mine.md): fid768 1.00 at step 3,000; one seed, with `dataset=shapes optimizer.g.lr=0.01 "
        "trainer.precision=bf16`",
        "[mine](results/mine.md): fid768 0.500 at step 2,000; fid768 0.123, 0.250 at step 3,000; reconstruction_error "
        "0.0200, 0.0300 at step 3,000; 3 seeds, with `dataset=cifar10 trainer.total_steps=3000 width=0.25`",
    ]}  # fmt: skip


@pytest.mark.parametrize("words", [
    "recipe=bssn_cnn norm=sn", "recipe=bssn_cnn norm.scale=1.5", "recipe=bssn_cnn loss=nonsaturating",
    "recipe=sngan_cnn norm=none", "recipe=wn_gan norm=none", "recipe=wn_gan discriminator.activation_norm=batch",
    "recipe=wn_gan penalty=r1", "recipe=icrgan ~penalty.bcr_real", "recipe=stylegan2 penalty=r1", "dataset=cifar10",
])  # fmt: skip
def test_runs_with_other_parts_are_not_of_the_recipe(run, words):
    run("mine-0", 3000, 0.01, *words.split())
    assert recipes_page.measured() == {}


def test_every_recipe_has_width_1():
    recipes = [path.stem for path in (config_dir() / "recipe").glob("*.yaml")]
    assert {yaml.safe_load((config_dir() / "recipe" / f"{name}.yaml").read_text())["width"] for name in recipes} == {
        1.0
    }


def test_a_header_without_published_figures_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\n# Mine, arXiv:1704.03971.\n#     python train.py recipe=mine dataset=x\n")
    with pytest.raises(UserError, match="names no paper, or nothing between 'Published' and 'Measured:'"):
        recipes_page.header(path)
