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
from gan_lab.config.options import config_dir, group_options
from gan_lab.config.plain import plain
from gan_lab.config.tree import flatten
from gan_lab.errors import UserError
from gan_lab.files import read_json_object, write_atomically
from scripts.markdown import table
from scripts.studies.runner import measured_again
from scripts.studies.study import REPOSITORY, RESULTS

PARTS = ("generator", "discriminator", "norm", "loss", "penalty", "augment")
"""With another one of these a run is not of the recipe."""
SETTINGS = (
    "optimizer", "width", "dataset.hflip", "dataset.labels", "ema", "trainer.total_steps", "trainer.batch_size",
    "trainer.n_dis", "trainer.precision",
)  # fmt: skip
"""What a run of a recipe may set otherwise, which is then said."""
PAGE = """# Recipes

Written by `python -m scripts.studies.recipes_page` from the headers of `conf/recipe` and the small files of
`docs/results`.

**None of these recipes has been run to its published length.** Runs of a recipe come first, each with what it set
otherwise than the recipe. No run of the others is kept; that they run, the [smoke test](results/smoke.md) shows, which
says nothing of their quality. Each line below has its own last step and number of images, so lines do not compare: the
linked page does, at one step. A figure compares with a published one only if protocol, setting and length agree, which
none does yet. Studies that compare parts under one setting of their own are in [Results](results/README.md).

## Measured here

{measured}

## What the papers report

A recipe is run by `python train.py recipe=NAME` and the words under "data".

{published}

## Where whole groups of recipes differ from their source

What a single recipe does otherwise is in the head of its file, `conf/recipe/NAME.yaml`. Besides:

- Recipes that name StudioGAN have its rates, betas, penalties and lengths. PyTorch's constants stay: 1e-8 in Adam
  (there 1e-6) and 1e-5 in BatchNorm (there 1e-4). Weights start as is usual for the family of nets, where that code
  starts all of them orthogonal. Spectral norm does not reach the class embeddings of conditional batch norms. `mhgan`
  weighs G's class loss by 1 (there 0.05). The average of G's weights begins with the run (there after 1,000 steps, or
  20,000 on ImageNet).
- StyleGAN2 and ADA: the authors' code takes a step of its own for each lazy penalty and lowers rates and betas for it
  by k / (k + 1), which is 4/5 for G and 16/17 for D, also where G has no penalty. Here a lazy penalty is part of the
  step, and rate and betas are those that the papers state.
- The residual nets of `sngan_resnet`, `ssgan`, `infomax_gan` and `wgan_gp` double by nearest neighbours; mimicry's
  double bilinearly.
- `dcgan`, `lsgan` and `dragan` draw z from a normal distribution, and DCGAN's kernels are 4x4. Its paper draws z
  uniformly (`generator.z_prior=uniform`) and has 5x5.
- `ssn`, `bsn` and `bssn_*` take the singular vectors as constants in the gradient; the authors' code differentiates
  through them (`norm.differentiate_vectors=true`).
"""


def header(path: Path) -> dict[str, str]:
    """What a recipe says about itself: paper, command, published figures with their protocol."""
    comments = [line[1:].strip() for line in path.read_text("utf-8").splitlines() if line.startswith("#")][1:]
    command = next(line for line in comments if line.startswith("python train.py"))
    text = " ".join(line for line in comments[1:] if line != command)
    found = re.search(r"Published[:,]? *(.*?) *Measured:", text)
    papers = re.findall(r"arXiv:(\d{4}\.\d{5})|\((\d{4}\.\d{5})", " ".join(comments))
    if found is None or not papers:
        raise UserError(f"{path}: the header names no paper, or nothing between 'Published' and 'Measured:'")
    ids = list(dict.fromkeys(a or b for a, b in papers))
    return {"papers": ", ".join(ids), "command": command, "published": found[1]}


@dataclass(frozen=True)
class Trained:
    """The small files of a run that trained a recipe: its configuration, and the figures it ended with."""

    config: dict[str, Any]
    metric: str
    step: int
    figures: dict[str, float]  # that of the metric, and those measured at the end by another protocol

    @classmethod
    def read(cls, folder: Path) -> Trained | None:
        """Return the run; None if it is of no recipe as it is, has failed, or has no figure."""
        config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
        summary = read_json_object(folder / "summary.json")
        metric, final = (summary.get("best") or {}).get("metric"), summary.get("final") or {}
        failed = summary.get("status") not in ("finished", "interrupted")
        if not config.get("recipe") or failed or not metric or final.get(metric) is None or changes(config, PARTS):
            return None
        at_end = measured_again(folder).get(final["step"], {})
        return cls(config, metric, final["step"], {metric: final[metric], **at_end})


def measured() -> dict[str, list[str]]:
    """Recipe -> a sentence for each cell of a study in docs/results that trained its parts."""
    cells: dict[tuple[str, ...], list[Trained]] = defaultdict(list)
    for path in sorted(RESULTS.glob("*/*/config.yaml")):
        if run := Trained.read(path.parent):
            cell = path.parent.name.rpartition("-")[0]
            cells[run.config["recipe"], path.parents[1].name, cell, run.metric].append(run)
    found = defaultdict(list)
    for (recipe, study, *_), runs in cells.items():
        found[recipe].append(f"[{study}](results/{study}.md): {sentence(runs)}")
    return found


def changes(config: dict[str, Any], of: tuple[str, ...]) -> dict[str, Any]:
    """What a run sets otherwise than its recipe, among the keys `of`: dotted key -> its value, None if it lacks a part.

    Settings that were not yet there when it ran are none. The width of a net follows from `width`.
    """
    recipe = flatten(plain(gan_lab.compose(f"recipe={config['recipe']}", f"width={config['width']}")))
    recipe["width"] = 1.0  # of every recipe
    below = tuple(f"{key}." for key in of)
    own, wanted = (
        {key: value for key, value in tree.items() if key in of or key.startswith(below)}
        for tree in (flatten(config), recipe)
    )
    lacking = {key: None for key in wanted if key.endswith("_target_") and key not in own}
    return lacking | {key: value for key, value in own.items() if key not in recipe or recipe[key] != value}


def sentence(runs: list[Trained]) -> str:
    """The figures at the end of the runs of one cell, each at its step, and what their setting changes."""
    at: dict[int, list[Trained]] = defaultdict(list)
    for run in runs:
        at[run.step].append(run)
    parts = []
    for step, those in sorted(at.items()):
        for key in those[0].figures:
            values = ", ".join(f"{run.figures[key]:#.3g}" for run in those if key in run.figures)
            parts.append(f"{key} {values} at step {step:,}")
    parts.append("one seed" if len(runs) == 1 else f"{len(runs)} seeds")
    words = {"dataset": runs[0].config["dataset"]["name"], **changes(runs[0].config, SETTINGS)}
    shown = (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in words.items())
    return f"{'; '.join(parts)}, with `{' '.join(shown)}`"


def render() -> str:
    """The page."""
    here = [f"- `{recipe}`: {one}" for recipe, found in sorted(measured().items()) for one in found]
    rows = []
    for name in group_options("recipe"):
        head = header(config_dir() / "recipe" / f"{name}.yaml")
        data = head["command"].removeprefix(f"python train.py recipe={name} ")
        rows.append([name, head["papers"], f"`{data}`", head["published"]])
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
