"""`python -m scripts.studies.initialization`: fresh nets, as docs/results/initialization.md."""

from __future__ import annotations

import inspect
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gan_lab
from gan_lab.cli.main import script
from gan_lab.cli.options import option
from gan_lab.config.plain import plain
from gan_lab.errors import UserError
from gan_lab.files import read_json_object, write_atomically, write_json
from gan_lab.nets.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lab.penalties import PathLength
from scripts.markdown import table
from scripts.studies.study import RESULTS

LATENTS = 16


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
    """Measure path lengths, levels after blocks, and numbers of parameters."""
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


PAGE = """# At initialization

Written by `python -m scripts.studies.initialization` from what it measured; the raw numbers are in
`initialization.json`.

## Path length

Of StyleGAN2 generators of the given side (mean of {samples} latents, width 1). With noise scaled by 1/sqrt(H W), as the
penalty does it, it hardly depends on the resolution; without the scaling it grows with the side.

{lengths}
## Residual blocks

Root mean square of the activations after each block of a 256-px StyleGAN2 discriminator (width 1, four images of unit
RMS), with `discriminator.residual_scale` 1/sqrt(2) and 1. Smooth: noise of 8 px enlarged to 256.

{blocks}
## Parameters

{parameters}"""


def render(init: dict[str, Any]) -> str:
    """The page from the raw numbers."""
    lengths = [[str(r["side"]), f"{r['scaled']:.2f}", f"{r['unscaled']:.1f}"] for r in init["path_length"]]
    blocks = [f"block {i + 1}" for i in range(len(init["block_rms"][0]["rms"]))]
    rms = [[r["residual_scale"], r["input"], *(f"{v:.3f}" for v in r["rms"])] for r in init["block_rms"]]
    parameters = [[r["net"], f"{r['G']:,}", f"{r['D']:,}"] for r in init["parameters"]]
    return PAGE.format(
        samples=LATENTS,
        lengths=table(["side", "scaled", "not scaled"], lengths),
        blocks=table(["residual_scale", "input", *blocks], rms),
        parameters=table(["nets", "G", "D"], parameters),
    )


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure fresh nets, and write initialization.json and initialization.md."""

    examples: ClassVar[tuple[str, ...]] = ("", "page=true")
    page: bool = option("only write the page, from initialization.json", False)
    out: Path = option("where initialization.md and initialization.json are written", RESULTS, shown="docs/results")


def run(options: Options) -> None:
    """Measure and write."""
    raw = options.out / "initialization.json"
    if not options.page:
        torch.set_num_threads(1)
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(raw, initial_values())
    if not (init := read_json_object(raw)):
        raise UserError(f"there is no {raw}; leave page=true away, and it is measured")
    write_atomically(options.out / "initialization.md", render(init).encode())


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.initialization", Options, run))
