"""docs/recipes.md is what the script makes of the measured numbers, of the recipes as they are now."""

import json
from pathlib import Path

from gan_lab.config.options import config_dir
from scripts.studies import recipes_table as table

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_document_is_of_these_recipes_and_these_numbers():
    data = json.loads((REPOSITORY / "docs" / "recipes.json").read_text())
    paths = {p.stem: p for p in sorted((config_dir() / "recipe").glob("*.yaml"))}
    assert list(data["recipes"]) == list(paths)
    for name, path in paths.items():
        assert data["recipes"][name]["header"] == table.header(path), name
        assert data["recipes"][name]["shapes"]["steps"] == 200
    text = (REPOSITORY / "docs" / "recipes.md").read_text()
    assert text == table.render(data)
    assert "Not measured yet" not in text
    assert "None of these recipes has been run to its published length" in text


def test_every_recipe_was_measured_finite_and_moved_its_metric():
    data = json.loads((REPOSITORY / "docs" / "recipes.json").read_text())
    for name, measured in data["recipes"].items():
        assert measured["shapes"]["finite"] and measured["cifar10"]["finite"], name
        assert abs(measured["shapes"]["fid_after"] / measured["shapes"]["fid_before"] - 1) > 0.001, name
