"""`python -m scripts.studies.smoke`: every recipe runs for 200 steps, as docs/results/smoke.md."""

from __future__ import annotations

import json
import math
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

import gan_lab
from gan_lab.cli.main import script
from gan_lab.cli.options import data_dir, option
from gan_lab.config.options import group_options
from gan_lab.config.ranges import whole
from gan_lab.errors import UserError
from gan_lab.files import write_atomically, write_json
from gan_lab.runs.files import read_rows
from scripts.markdown import table
from scripts.studies.study import RESULTS

SAMPLES = 1000
CIFAR_BATCH = 8
REDUCED = {  # width and batch on shapes, by what the nets cost
    "ResNetGenerator": (0.125, 16),
    "R3GANGenerator": (0.0625, 8),
    "StyleGAN2Generator": (0.125, 8),
    "BigGANGenerator": (0.125, 8),
    "BigGANDeepGenerator": (0.125, 8),
}
REDUCED_ELSE = (0.25, 32)


def common(folder: Path, data_dir: str) -> list[str]:
    """Return the words of every run: where it lies, on one thread, and as few files as can be."""
    return [f"hydra.run.dir={folder}", f"data_dir={data_dir}", "trainer.device=cpu", "trainer.threads=1",
            "trainer.sample_every_steps=0", "trainer.checkpoint_every_steps=0"]  # fmt: skip


def at_32(recipe: str) -> list[str]:
    """What a recipe for larger images needs at 32 px: attention at a side that its nets then have."""
    large = gan_lab.compose(f"recipe={recipe}").generator.get("attention") == 64
    return ["generator.attention=16", "discriminator.attention=16"] if large else []


def on_shapes(recipe: str, data_dir: str, steps: int, folder: Path) -> dict[str, Any]:
    """`steps` steps at reduced width, measured before and after with the weights as they are (no average)."""
    generator = gan_lab.compose(f"recipe={recipe}").generator["_target_"].rpartition(".")[2]
    width, batch = REDUCED.get(generator, REDUCED_ELSE)
    words = [f"recipe={recipe}", "dataset=shapes", f"width={width}", f"trainer.batch_size={batch}", *at_32(recipe)]
    quiet = [f"trainer.total_steps={steps}", "trainer.eval_every_steps=0", "trainer.log_every_steps=10",
             f"metrics.num_samples={SAMPLES}", "metrics.ema=false", "metrics.kid=false",
             "metrics.precision_recall=false"]  # fmt: skip
    cfg = gan_lab.compose(*words, *quiet, *common(folder, data_dir))
    run = gan_lab.train(cfg)
    before, after = read_rows(run / "metrics.jsonl")
    logged = read_rows(run / "train.jsonl")
    speed = json.loads((run / "summary.json").read_text("utf-8"))["images_per_second"]
    names = sorted({k for row in logged for k in row if k.startswith(("loss/", "penalty/"))})
    losses = {k: [row[k] for row in logged if k in row] for k in names}  # a lazy penalty is not in every row
    return {
        "command": "python train.py " + " ".join(words),
        "width": width,
        "batch": batch,
        "steps": steps,
        "n_dis": cfg.trainer.n_dis,
        "protocol": after["protocol"],
        "fake_labels": json.loads((run / "protocol.json").read_text("utf-8")).get("fake_labels"),
        "finite": all(v is not None and math.isfinite(v) for values in losses.values() for v in values),
        "last_logged": {k: values[-1] for k, values in losses.items()},
        "fid_before": before["fid_shapes"],
        "fid_after": after["fid_shapes"],
        "modes_before": before["modes_shapes"],
        "modes_after": after["modes_shapes"],
        "ms_per_step": 1000 * batch * cfg.trainer.n_dis / speed,
    }


def on_cifar(recipe: str, data_dir: str, folder: Path) -> dict[str, Any] | None:
    """One step on CIFAR-10 at full width, every lazy penalty due; None where cifar10 is not packed."""
    if not (Path(data_dir) / "cifar10" / "dataset.json").is_file():
        return None
    words = [f"recipe={recipe}", "dataset=cifar10", f"trainer.batch_size={CIFAR_BATCH}", *at_32(recipe)]
    cfg = gan_lab.compose(*words, "metrics=none", "trainer.total_steps=1", *common(folder, data_dir))
    run = gan_lab.train(cfg)
    (row,) = read_rows(run / "train.jsonl")
    state = torch.load(next((run / "checkpoints").glob("*.pt")), map_location="cpu", weights_only=True)["state"]
    weights = [v for net in ("G", "D") for v in state[net].values() if v.is_floating_point()]
    logged = {k: v for k, v in row.items() if k.startswith(("loss/", "penalty/"))}
    finite = all(v is not None and math.isfinite(v) for v in logged.values())
    return {
        "command": "python train.py " + " ".join(words),
        "logged": logged,
        "finite": finite and all(bool(torch.isfinite(w).all()) for w in weights),
    }


def number(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


PAGE = """# Smoke test of the recipes

Written by `python -m scripts.studies.smoke` from what it measured; the raw numbers are in `smoke.json`.

{steps} steps of each recipe on `dataset=shapes` at reduced width and batch, on one CPU thread ({machine}), and one step
on CIFAR-10 at full width. It shows that a recipe runs, stays finite and moves its metric, up or down, in its first
steps. It says nothing about which recipe is better, and no figure of it compares with a published one.

`fid_shapes` and the modes hit (of {modes}) are of {samples} samples of the raw generator (`metrics.ema=false`: the
half-lives of stylegan2_cifar, stylegan2_ada and r3gan are much longer than {steps} steps), before the first step and
after the last; a conditional generator is asked for classes drawn uniformly. Linear decays of the learning rate are
over the {steps} steps. "finite" covers every logged loss and penalty. ms per step is wall clock on a machine that other
work shared: it compares no two recipes. CIFAR-10: batch {batch}, every
lazy penalty being due; {cifar}.

{missing}"""


def render(data: dict[str, Any]) -> str:
    """The page from the raw numbers."""
    recipes: dict[str, Any] = data["recipes"]
    if not recipes:
        raise UserError("smoke.json holds no figures; measure recipes first, without page=true")
    protocols = {(r["shapes"].get("fake_labels"), r["shapes"].get("protocol")) for r in recipes.values()}
    several = len(protocols) > len({labels for labels, _ in protocols})  # fake_labels itself is part of a protocol
    if several or len({r["shapes"]["steps"] for r in recipes.values()}) > 1:
        raise UserError("smoke.json holds figures of different steps or protocols; measure all of them anew")
    skipped = any(r["cifar10"] is None for r in recipes.values())
    rows = []
    for name, r in recipes.items():
        s, c = r["shapes"], r["cifar10"]
        one = "not packed" if c is None else ("finite" if c["finite"] else "NOT FINITE")
        rows.append([name, str(s["width"]), str(s["batch"]), str(s["n_dis"]), "yes" if s["finite"] else "NO",
                     f"{number(s['fid_before'])} -> {number(s['fid_after'])}",
                     f"{s['modes_before']:.0f} -> {s['modes_after']:.0f}", f"{s['ms_per_step']:.0f}", one])  # fmt: skip
    columns = ["recipe", "width", "batch", "n_dis", "finite", "fid_shapes", "modes", "ms per step", "CIFAR-10 step"]
    missing = [name for name in group_options("recipe") if name not in recipes]
    return PAGE.format(
        steps=next(iter(recipes.values()))["shapes"]["steps"],
        machine=data["machine"],
        modes=16,
        samples=SAMPLES,
        batch=CIFAR_BATCH,
        cifar="it was left out where cifar10 was not packed" if skipped else "all took it",
        missing=f"Not measured yet: {', '.join(missing)}.\n\n" if missing else "",
    ) + table(columns, rows)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train each recipe for some steps, and write smoke.json and smoke.md."""

    examples: ClassVar[tuple[str, ...]] = ("data_dir=data", "recipes=bsn", "page=true")
    data_dir: Path = data_dir()
    recipes: tuple[str, ...] = option("names, or all; of the others smoke.json is kept", ("all",), shown="all")
    steps: int = option("steps on shapes", 200, whole(1))
    page: bool = option("only write the page, from smoke.json", False)
    out: Path = option("where smoke.md and smoke.json are written", RESULTS, shown="docs/results")


def run(options: Options) -> None:
    """Measure, writing the numbers after each recipe, and write the page."""
    known = group_options("recipe")
    chosen = () if options.page else known if options.recipes == ("all",) else options.recipes
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"recipes={unknown[0]}: no such recipe; there are: {', '.join(known)}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    raw = options.out / "smoke.json"
    data = json.loads(raw.read_text("utf-8")) if raw.is_file() else {"recipes": {}}
    for name in chosen:
        data["machine"] = f"{platform.system()} {platform.machine()}, torch {torch.__version__}"
        with tempfile.TemporaryDirectory() as folder:
            data["recipes"][name] = {
                "shapes": on_shapes(name, str(options.data_dir), options.steps, Path(folder) / "shapes"),
                "cifar10": on_cifar(name, str(options.data_dir), Path(folder) / "cifar10"),
            }
        write_json(raw, data)
    data["recipes"] = {name: data["recipes"][name] for name in known if name in data["recipes"]}
    write_json(raw, data)
    write_atomically(options.out / "smoke.md", render(data).encode())
    print(f"{len(chosen)} recipes measured, {len(data['recipes'])} of {len(known)} in {options.out / 'smoke.md'}")


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.smoke", Options, run))
