"""`python -m scripts.studies.recipes_page`: each recipe, published and measured figures, as docs/recipes.md."""

from __future__ import annotations

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
from gan_lab.errors import UserError
from gan_lab.files import read_json_object, write_atomically
from scripts.markdown import table
from scripts.studies.study import REPOSITORY, RESULTS

GROUPS = ("generator", "discriminator", "norm", "loss", "penalty", "augment", "optimizer")
PAGE = """# Recipes

Written by `python -m scripts.studies.recipes_page` from the headers of `conf/recipe` and the small files of
`docs/results`.

**None of these recipes has been run to its published length.** Those that have been trained here, and how far, come
first; of the others it is only known that they run: the [smoke test](results/smoke.md) says nothing of their quality. A
figure compares with a published one only if protocol and length agree, which none does yet.

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
    """Recipe -> the runs in docs/results that trained it as it is, a sentence a study."""
    runs: dict[tuple[str, str], list[tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(list)
    for path in sorted(RESULTS.glob("*/*/config.yaml")):
        config, summary = yaml.safe_load(path.read_text("utf-8")), read_json_object(path.with_name("summary.json"))
        if config.get("recipe") and summary.get("best") and as_published(config):
            runs[config["recipe"], path.parents[1].name].append((config, summary))
    found = defaultdict(list)
    for (recipe, study), of_study in runs.items():
        found[recipe].append(f"[{study}](results/{study}.md): {sentence(of_study)}")
    return found


def as_published(config: dict[str, Any]) -> bool:
    """Whether a run's nets, norm, losses, penalties and optimizers are of the kinds that its recipe names."""
    recipe = plain(gan_lab.compose(f"recipe={config['recipe']}"))
    return all(kinds(config.get(group)) == kinds(recipe.get(group)) for group in GROUPS)


def kinds(node: Any) -> Any:
    """The `_target_`s in a part of a configuration, in their places."""
    if not isinstance(node, dict):
        return None
    inner = {k: kinds(v) for k, v in node.items() if isinstance(v, dict)}
    return node.get("_target_"), {k: v for k, v in inner.items() if v is not None}


def sentence(runs: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """The final figures of the runs of one study."""
    config, finals = runs[0][0], [summary["final"] for _, summary in runs]
    metric = runs[0][1]["best"]["metric"]
    values = ", ".join(f"{final[metric]:.3g}" for final in finals)
    steps = ", ".join(f"{step:,}" for step in sorted({final["step"] for final in finals}))
    total = config["trainer"]["total_steps"]
    width = "" if config["width"] == 1 else f" at width {config['width']:g}"
    seeds = "one seed" if len(runs) == 1 else f"{len(runs)} seeds"
    return f"{metric} {values} at step {steps} of {total:,} on {config['dataset']['name']}{width} ({seeds})"


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
