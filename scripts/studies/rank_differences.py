"""`python -m scripts.studies.rank_differences`: how far two ranks part from one process in float32.

Each recipe is trained three times with one seed and a batch of 8: alone, with trainer.devices=2, and both once more
with eps=1e-3 in the optimizers, where a gradient that is nothing but rounding no longer decides a step.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import data_dir, option
from gan_lab.config.compose import compose
from gan_lab.config.messages import nearest
from gan_lab.config.options import group_options
from gan_lab.config.ranges import whole
from gan_lab.errors import UserError
from scripts.markdown import around_marks, table, write_between_marks

BEGIN, END = "<!-- ranks -->", "<!-- /ranks -->"


def parameters(folder: Path) -> dict[str, object]:
    """The nets' tensors in a run's last checkpoint."""
    from gan_lab.runs.checkpoint import Checkpoints

    content = Checkpoints(folder / "checkpoints", keep=9).latest()
    assert content is not None
    return {f"{net}.{k}": v for net in ("G", "D") for k, v in content["state"][net].items() if v.is_floating_point()}


def largest(a: dict[str, object], b: dict[str, object]) -> float:
    """The largest absolute difference."""
    return max(float((a[k] - b[k]).abs().max()) for k in a)  # type: ignore[operator]


def measure(recipe: str, steps: int, data_dir: str, folder: Path) -> tuple[float, float]:
    """Largest difference of any parameter between one and two processes: as the recipe is, and with eps=1e-3."""
    from gan_lab.training.train import train

    width = {"r3gan": 0.03, "wn_gan": 0.25}.get(recipe, 0.0625)
    words = [f"recipe={recipe}", f"data_dir={data_dir}", f"width={width}", "metrics=none",
             "monitor=off", "trainer.batch_size=8", f"trainer.total_steps={steps}", "trainer.sample_every_steps=0",
             "trainer.device=cpu", "trainer.threads=1", "trainer.checkpoint_every_steps=0",
             "trainer.log_every_steps=1000"]  # fmt: skip
    if recipe.startswith("stylegan2"):
        words.append("discriminator.minibatch_std_group=4")  # the samples of a group must fall to one rank
    found = []
    for eps in ([], ["optimizer.g.eps=1e-3", "optimizer.d.eps=1e-3"]):
        runs = []
        for devices in (1, 2):
            where = folder / f"{recipe}-{len(found)}-{devices}"
            words_now = [*words, *eps, f"trainer.devices={devices}", f"hydra.run.dir={where}"]
            runs.append(parameters(train(compose(*words_now))))
        found.append(largest(*runs))
    return found[0], found[1]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train recipes, narrow, on shapes in one process and in two; the differences go into a table of a document."""

    examples: ClassVar[tuple[str, ...]] = ("", "recipes=bsn,ssn steps=5")
    data_dir: Path = data_dir()
    steps: int = option("steps of training", 20, whole(1))
    recipes: tuple[str, ...] = option("names of recipes", (), shown="all of them")
    out: Path = option("the document", Path("docs/reliability.md"))


def run(options: Options) -> None:
    """Measure, print, and put the table into the document."""
    logging.getLogger().setLevel(logging.WARNING)
    names = group_options("recipe")
    chosen = options.recipes or names
    for name in chosen:
        if name not in names:
            raise UserError(f"recipes={name}: no such recipe{nearest(name, names)}")
    around_marks(options.out, BEGIN, END)  # before hours of measuring
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in chosen:
            plain, smooth = measure(recipe, options.steps, str(options.data_dir), Path(folder))
            rows.append([f"`{recipe}`", f"{plain:.1e}", f"{smooth:.1e}"])
            print(*rows[-1], flush=True)
    columns = ["recipe", f"largest difference of a parameter after {options.steps} steps", "with eps = 1e-3"]
    write_between_marks(options.out, BEGIN, END, table(columns, rows))


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.rank_differences", Options, run))
