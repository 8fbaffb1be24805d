"""docs/recipes.md is what the script makes of the recipes' headers and of the runs in docs/results."""

import json

import pytest
import yaml

import gan_lab
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

    def write(name, step, figure, *words):
        folder = tmp_path / "mine" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(plain(gan_lab.compose(*words))))
        final, best = {"step": step, "fid768": figure}, {"metric": "fid768", "value": figure, "step": step}
        (folder / "summary.json").write_text(json.dumps({"final": final, "best": best}))

    return write


def test_runs_of_a_recipe_as_it_is_are_named_with_their_length(run):
    words = ("recipe=wn_gan", "dataset=cifar10", "width=0.25", "trainer.total_steps=3000")
    run("wn-0", 3000, 0.12345, *words, "seed=0")
    run("wn-1", 2000, 0.5, *words, "seed=1")
    run("none-0", 3000, 0.01, *words, "norm=none", "norm.generator=none")
    run("free-0", 3000, 0.02, "dataset=cifar10")
    assert recipes_page.measured() == {
        "wn_gan": ["[mine](results/mine.md): fid768 0.123, 0.5 at step 2,000, 3,000 of 3,000 on cifar10 at width 0.25 "
                   "(2 seeds)"]}  # fmt: skip


def test_a_header_without_published_figures_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# @package _global_\n# Mine, arXiv:1704.03971.\n#     python train.py recipe=mine dataset=x\n")
    with pytest.raises(UserError, match="names no paper, or nothing between 'Published' and 'Measured:'"):
        recipes_page.header(path)
