"""`python -m scripts.studies.recipes_table`: every recipe, measured briefly, as docs/recipes.md."""

from __future__ import annotations

import inspect
import json
import math
import platform
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gan_lab
from gan_lab.cli.main import script
from gan_lab.cli.options import data_dir, option
from gan_lab.config.options import config_dir
from gan_lab.config.plain import plain
from gan_lab.config.ranges import whole
from gan_lab.errors import UserError
from gan_lab.files import write_atomically, write_json
from gan_lab.nets.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lab.penalties import PathLength
from gan_lab.runs.files import read_rows

SAMPLES = 1000
CIFAR_BATCH = 8
LATENTS = 16
REDUCED = {  # width and batch on shapes, by what the nets cost
    "ResNetGenerator": (0.125, 16),
    "R3GANGenerator": (0.0625, 8),
    "StyleGAN2Generator": (0.125, 8),
    "BigGANGenerator": (0.125, 8),
    "BigGANDeepGenerator": (0.125, 8),
}
REDUCED_ELSE = (0.25, 32)


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


def common(folder: Path, data_dir: str) -> list[str]:
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
        "ms_per_step": 1000 * batch * cfg.trainer.n_dis / logged[-1]["images_per_second"],
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


def nets_of(recipe: str, *extra: str) -> tuple[nn.Module, nn.Module]:
    """G and D of a recipe at its full width for CIFAR-10's 32 px, without their weight norms."""
    from gan_lab.config.targets import locate

    tree = plain(gan_lab.compose(f"recipe={recipe}", "dataset=cifar10", *extra))
    nets = []
    for key in ("generator", "discriminator"):
        node = {k: v for k, v in tree[key].items() if k != "_target_"}
        net, of_data = locate(tree[key]["_target_"], key), {"resolution": 32, "channels": 3, "num_classes": 10}
        nets.append(net(**{k: v for k, v in of_data.items() if k in inspect.signature(net).parameters}, **node))
    return nets[0], nets[1]


def path_lengths() -> list[dict[str, float]]:
    """Mean path length of fresh StyleGAN2 generators: by the penalty, and with noise that is not scaled."""
    rows, penalty = [], PathLength()
    for side in (16, 32, 64, 128, 256):
        torch.manual_seed(1)
        G, scaled, unscaled = StyleGAN2Generator(side, 3).eval(), [], []
        for _ in range(LATENTS // 4):
            styles = G.styles(G.sample_z(4, torch.device("cpu"))).detach().requires_grad_()
            images = G.synthesis(styles)
            (gradient,) = torch.autograd.grad((images * torch.randn_like(images)).sum(), styles, retain_graph=True)
            unscaled.append(gradient.square().sum(2).mean(1).sqrt().mean().item())
            scaled.append(penalty.lengths(styles, images).mean().item())
        rows.append({"side": side, "scaled": fmean(scaled), "unscaled": fmean(unscaled)})
    return rows


@torch.no_grad()
def block_rms() -> list[dict[str, Any]]:
    """RMS after each block of a fresh 256-px residual StyleGAN2 D, for smooth images and for white noise."""
    torch.manual_seed(0)
    smooth = F.interpolate(torch.randn(4, 3, 8, 8), size=256, mode="bicubic", align_corners=False)
    inputs = {"smooth": smooth / smooth.square().mean().sqrt(), "white noise": torch.randn(4, 3, 256, 256)}
    rows = []
    for name, scale in (("1/sqrt(2)", math.sqrt(0.5)), ("1", 1.0)):
        torch.manual_seed(0)
        D = StyleGAN2Discriminator(256, 3, residual_scale=scale)
        for kind, images in inputs.items():
            seen: list[float] = []

            def note(module: nn.Module, given: Any, out: Tensor, seen: list[float] = seen) -> None:
                seen.append(out.square().mean().sqrt().item())

            hooks = [block.register_forward_hook(note) for block in D.blocks]
            D(images)
            for hook in hooks:
                hook.remove()
            rows.append({"residual_scale": name, "input": kind, "rms": seen})
    return rows


def initial_values() -> dict[str, Any]:
    counts = []
    for label, recipe, extra in (
        ("StyleGAN2, CIFAR setting, unconditional", "stylegan2_cifar", ()),
        ("R3GAN, CIFAR widths, unconditional", "r3gan", ()),
        ("R3GAN, CIFAR widths, 10 labels", "r3gan",
         ("generator.conditional=true", "discriminator.condition=projection")),
    ):  # fmt: skip
        of_g, of_d = (sum(p.numel() for p in net.parameters()) for net in nets_of(recipe, *extra))
        counts.append({"net": label, "G": of_g, "D": of_d})
    return {"path_length": path_lengths(), "block_rms": block_rms(), "parameters": counts}


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


INTRODUCTION = """# Recipes

Written by `python -m scripts.studies.recipes_table` from what it measured; the raw numbers are in `recipes.json`.

**None of these recipes has been run to its published length.** What stands under "measured" is a smoke test: {steps}
steps on `dataset=shapes` at reduced width and batch, on one CPU thread ({machine}).
It shows that a recipe runs, stays finite and moves its metric, up or down, in its first steps. It says nothing about
which recipe is better, and no figure of it compares with a published one.

## What the papers report

"""
MEASURED = """
## Measured: {steps} steps on shapes, one step on CIFAR-10

`fid_shapes` and the modes hit (of {modes}) are of {samples} samples of the raw generator (`metrics.ema=false`: the
half-lives of stylegan2_cifar, stylegan2_ada and r3gan are much longer than {steps} steps), before the first step and
after the last; a conditional generator is asked for classes drawn uniformly. Linear decays of the learning rate are
over the {steps} steps. "finite" covers every logged loss and penalty. ms per step is wall clock on a machine that other
work shared, which left a run a tenth of a core or all of it: it compares no two recipes. CIFAR-10: one step at the
recipe's full width with batch {batch}, every lazy penalty being due; {cifar}.

"""
INITIAL = """
## At initialization

Path length of StyleGAN2 generators of the given side (mean of {samples} latents, width 1). With noise scaled by
1/sqrt(H W), as the penalty does it, it hardly depends on the resolution; without the scaling it grows with the side.

"""
RESIDUAL = """
Root mean square of the activations after each block of a 256-px StyleGAN2 discriminator (width 1, four images of unit
RMS), with `discriminator.residual_scale` 1/sqrt(2) and 1. Smooth: noise of 8 px enlarged to 256.

"""


def render(data: dict[str, Any]) -> str:
    """The whole document from the raw numbers."""
    recipes: dict[str, Any] = {name: r for name, r in data["recipes"].items() if r["shapes"] is not None}
    protocols = {(r["shapes"].get("fake_labels"), r["shapes"].get("protocol")) for r in recipes.values()}
    several = len(protocols) > len({labels for labels, _ in protocols})  # fake_labels itself is part of a protocol
    if several or len({r["shapes"]["steps"] for r in recipes.values()}) > 1:
        raise UserError("recipes.json holds figures of different steps or protocols; measure all of them anew")
    steps = next(iter(recipes.values()))["shapes"]["steps"]
    skipped = any(r["cifar10"] is None for r in recipes.values())
    cifar = "it was left out where cifar10 was not packed" if skipped else "all took it"
    text = INTRODUCTION.format(steps=steps, machine=data["machine"])
    text += table(["recipe", "arXiv", "command", "published"], [
        [name, r["header"]["papers"], f"`{r['header']['command']}`", r["header"]["published"]]
        for name, r in data["recipes"].items()
    ])  # fmt: skip
    text += MEASURED.format(steps=steps, modes=16, samples=SAMPLES, batch=CIFAR_BATCH, cifar=cifar)
    missing = [name for name in data["recipes"] if name not in recipes]
    if missing:
        text += f"Not measured yet: {', '.join(missing)}.\n\n"
    rows = []
    for name, r in recipes.items():
        s, c = r["shapes"], r["cifar10"]
        one = "not packed" if c is None else ("finite" if c["finite"] else "NOT FINITE")
        rows.append([name, str(s["width"]), str(s["batch"]), str(s["n_dis"]), "yes" if s["finite"] else "NO",
                     f"{number(s['fid_before'])} -> {number(s['fid_after'])}",
                     f"{s['modes_before']:.0f} -> {s['modes_after']:.0f}", f"{s['ms_per_step']:.0f}", one])  # fmt: skip
    columns = ["recipe", "width", "batch", "n_dis", "finite", "fid_shapes", "modes", "ms per step", "CIFAR-10 step"]
    text += table(columns, rows)
    return text + render_initial(data["init"]) if data.get("init") else text


def render_initial(init: dict[str, Any]) -> str:
    lengths = [[str(r["side"]), f"{r['scaled']:.2f}", f"{r['unscaled']:.1f}"] for r in init["path_length"]]
    text = INITIAL.format(samples=LATENTS) + table(["side", "scaled", "not scaled"], lengths)
    blocks = [f"block {i + 1}" for i in range(len(init["block_rms"][0]["rms"]))]
    rms = [[r["residual_scale"], r["input"], *(f"{v:.3f}" for v in r["rms"])] for r in init["block_rms"]]
    text += RESIDUAL + table(["residual_scale", "input", *blocks], rms)
    text += "\nParameters:\n\n"
    return text + table(["nets", "G", "D"],
                        [[r["net"], f"{r['G']:,}", f"{r['D']:,}"] for r in init["parameters"]])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure recipes briefly, and write recipes.json and recipes.md."""

    examples: ClassVar[tuple[str, ...]] = ("data_dir=data", "recipes=none init=false")
    data_dir: Path = data_dir()
    recipes: tuple[str, ...] = option(
        "names, all or none; what recipes.json holds of the others is kept", ("all",), shown="all"
    )
    steps: int = option("steps on shapes", 200, whole(1))
    init: bool = option("measure the tables of initial values, too", True)
    out: Path = option("where recipes.md and recipes.json are written", Path("docs"))


def run(options: Options) -> None:
    """Measure, writing the numbers after each recipe, and write the document."""
    paths = {p.stem: p for p in sorted((config_dir() / "recipe").glob("*.yaml"))}
    chosen = {("all",): tuple(paths), ("none",): ()}.get(options.recipes, options.recipes)
    if unknown := [name for name in chosen if name not in paths]:
        raise UserError(f"recipes={unknown[0]}: no such recipe; there are: {', '.join(paths)}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    raw = options.out / "recipes.json"
    data = json.loads(raw.read_text("utf-8")) if raw.is_file() else {"recipes": {}, "init": None}
    data["machine"] = f"{platform.system()} {platform.machine()}, torch {torch.__version__}"
    if options.init:
        data["init"] = initial_values()
        write_json(raw, data)
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            measured = {
                "shapes": on_shapes(name, str(options.data_dir), options.steps, Path(folder) / "shapes"),
                "cifar10": on_cifar(name, str(options.data_dir), Path(folder) / "cifar10"),
            }
        data["recipes"][name] = measured
        write_json(raw, data)
    kept = {name: data["recipes"].get(name, {"shapes": None, "cifar10": None}) for name in paths}
    data["recipes"] = {name: {**r, "header": header(paths[name])} for name, r in kept.items()}
    write_json(raw, data)
    write_atomically(options.out / "recipes.md", render(data).encode())
    known = sum(r["shapes"] is not None for r in kept.values())
    print(f"{len(chosen)} recipes measured, {known} of {len(paths)} in {options.out / 'recipes.md'}")


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.recipes_table", Options, run))
