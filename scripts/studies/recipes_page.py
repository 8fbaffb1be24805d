"""`python -m scripts.studies.recipes_page`: each recipe, published and measured figures, as docs/recipes.md."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

import gan_lab
from gan_lab.cli.main import script
from gan_lab.cli.options import option
from gan_lab.config.options import config_dir
from gan_lab.config.plain import plain
from gan_lab.config.tree import flatten
from gan_lab.errors import UserError
from gan_lab.files import read_json_object, write_atomically
from scripts.markdown import table
from scripts.studies.study import REPOSITORY, RESULTS

PARTS = ("generator", "discriminator", "norm", "loss", "penalty", "augment")
"""With another one of these a run is not of the recipe."""
SETTINGS = (
    "optimizer", "width", "dataset.hflip", "ema", "trainer.total_steps", "trainer.batch_size", "trainer.n_dis",
)  # fmt: skip
"""What a run of a recipe may set otherwise, which is then said."""
PAGE = """# Recipes

Written by `python -m scripts.studies.recipes_page` from the headers of `conf/recipe` and the small files of
`docs/results`.

**None of these recipes has been run to its published length.** Runs of a recipe come first, each with what it set
otherwise than the recipe. No run of the others is kept; that they run, the [smoke test](results/smoke.md) shows, which
says nothing of their quality. A figure compares with a published one only if protocol, setting and length agree, which
none does yet. Studies that compare parts under one setting of their own are in [Results](results/README.md).

## Measured here

{measured}

## What the papers report

A recipe is run by `python train.py recipe=NAME` and the words under "data".

{published}"""


def header(path: Path) -> dict[str, str]:
    """What a recipe says about itself: title, paper, command, published figures with their protocol."""
    comments = [line[1:].strip() for line in path.read_text("utf-8").splitlines() if line.startswith("#")][1:]
    command = next(line for line in comments if line.startswith("python train.py"))
    text = " ".join(line for line in comments[1:] if line != command)
    found = re.search(r"Published[:,]? *(.*?) *Measured:", text)
    papers = re.findall(r"arXiv:(\d{4}\.\d{5})|\((\d{4}\.\d{5})", " ".join(comments))
    if found is None or not papers:
        raise UserError(f"{path}: the header names no paper, or nothing between 'Published' and 'Measured:'")
    ids = list(dict.fromkeys(a or b for a, b in papers))
    return {"title": comments[0], "papers": ", ".join(ids), "command": command, "published": found[1]}


def measured() -> dict[str, list[str]]:
    """Recipe -> a sentence for each cell of a study in docs/results that trained its parts."""
    cells: dict[tuple[str, str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for path in sorted(RESULTS.glob("*/*/config.yaml")):
        config, summary = yaml.safe_load(path.read_text("utf-8")), read_json_object(path.with_name("summary.json"))
        metric = summary.get("best", {}).get("metric")
        if config.get("recipe") and summary.get("final", {}).get(metric) is not None and not changes(config, PARTS):
            cell = path.parent.name.rpartition("-")[0]
            cells[config["recipe"], path.parents[1].name, cell].append((config, summary))
    found = defaultdict(list)
    for (recipe, study, _), runs in cells.items():
        found[recipe].append(f"[{study}](results/{study}.md): {sentence(runs)}")
    return found


def changes(config: dict[str, Any], of: tuple[str, ...]) -> dict[str, Any]:
    """What a run sets otherwise than its recipe, among the keys `of`: dotted key -> its value.

    Settings that were not yet there when it ran are none. The width of a net follows from `width`.
    """
    recipe = flatten(plain(gan_lab.compose(f"recipe={config['recipe']}", f"width={config['width']}")))
    recipe["width"] = 1.0  # of every recipe
    own = {
        key: value for key, value in flatten(config).items() if key in of or key.startswith(tuple(f"{k}." for k in of))
    }
    return {key: value for key, value in own.items() if key not in recipe or recipe[key] != value}


def sentence(runs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """The final figures of the runs of one cell, each at its step, and what their setting changes."""
    config, metric = runs[0][0], runs[0][1]["best"]["metric"]
    at: dict[int, list[str]] = defaultdict(list)
    for _, summary in runs:
        at[summary["final"]["step"]].append(f"{summary['final'][metric]:.3g}")
    figures = "; ".join(f"{', '.join(values)} at step {step:,}" for step, values in sorted(at.items()))
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in changes(config, SETTINGS).items())
    seeds = "one seed" if len(runs) == 1 else f"{len(runs)} seeds"
    return f"{metric} {figures}, {seeds}, dataset={config['dataset']['name']}{' and ' if words else ''}" + (
        f"`{words}`" if words else ""
    )


def render() -> str:
    """The page."""
    here = [f"- `{recipe}`: {one}" for recipe, found in sorted(measured().items()) for one in found]
    rows = []
    for path in sorted((config_dir() / "recipe").glob("*.yaml")):
        head = header(path)
        data = head["command"].removeprefix(f"python train.py recipe={path.stem} ")
        rows.append([path.stem, head["papers"], f"`{data}`", head["published"]])
    published = table(["recipe", "arXiv", "data", "published"], rows)
    return PAGE.format(measured="\n".join(here), published=published)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write docs/recipes.md."""

    examples: ClassVar[tuple[str, ...]] = ("",)
    out: Path = option("the page", REPOSITORY / "docs" / "recipes.md", shown="docs/recipes.md")


def run(options: Options) -> None:
    """Write the page."""
    write_atomically(options.out, render().encode())


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.recipes_page", Options, run))
