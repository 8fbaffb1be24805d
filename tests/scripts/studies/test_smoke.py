"""docs/results/smoke.md is what the script makes of the measured numbers, of the recipes that there are."""

import json

import pytest

from gan_lab.cli.main import run_command
from gan_lab.config.options import config_dir
from gan_lab.errors import UserError
from scripts.studies import smoke
from scripts.studies.study import RESULTS


def measured():
    return json.loads((RESULTS / "smoke.json").read_text())


def test_the_page_is_of_these_recipes_and_these_numbers():
    data = measured()
    assert list(data["recipes"]) == sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
    assert {r["shapes"]["steps"] for r in data["recipes"].values()} == {200}
    assert (RESULTS / "smoke.md").read_text() == smoke.render(data)


def test_every_recipe_was_measured_finite_and_moved_its_metric():
    for name, found in measured()["recipes"].items():
        assert found["shapes"]["finite"] and found["cifar10"]["finite"], name
        assert abs(found["shapes"]["fid_after"] / found["shapes"]["fid_before"] - 1) > 0.001, name


def test_figures_of_different_lengths_are_not_put_side_by_side():
    data = measured()
    data["recipes"]["bsn"]["shapes"]["steps"] = 100
    with pytest.raises(UserError, match="different steps or protocols"):
        smoke.render(data)


def test_one_recipe_is_measured_and_the_others_are_kept(tmp_path, monkeypatch):
    found = measured()["recipes"]["bsn"]
    new = {**found["shapes"], "fid_after": 1.25}
    monkeypatch.setattr(smoke, "on_shapes", lambda recipe, *rest: new)
    monkeypatch.setattr(smoke, "on_cifar", lambda recipe, *rest: None)
    kept = {"machine": "another", "recipes": {"ssn": found}}
    (tmp_path / "smoke.json").write_text(json.dumps(kept))
    assert run_command("smoke", smoke.Options, smoke.run, [f"out={tmp_path}", "recipes=bsn"]) in (None, 0)
    data = json.loads((tmp_path / "smoke.json").read_text())
    assert data["recipes"] == {"bsn": {"shapes": new, "cifar10": None}, "ssn": found}
    page = (tmp_path / "smoke.md").read_text()
    assert page == smoke.render(data) and "it was left out where cifar10 was not packed" in page
    with pytest.raises(UserError, match="recipes=bsm: no such recipe"):
        run_command("smoke", smoke.Options, smoke.run, [f"out={tmp_path}", "recipes=bsm"])
