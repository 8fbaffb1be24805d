"""The last sample grids of the recipes, small enough to lie in the page."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gan_lab.report.groups import Recipe
from gan_lab.report.runs import Run

MOST_BYTES, MOST_PIXELS, MOST_GRIDS = 60_000, 640, 36


@dataclass(frozen=True)
class Sample:
    """A grid as a data URI, with what it shows."""

    label: str
    note: str
    uri: str
    width: int
    height: int


def sample_grids(recipes: Sequence[Recipe]) -> tuple[list[Sample], str]:
    """The last grid of one seed of each recipe, the same seed wherever it is there, and a sentence on the choice.

    Grids of one seed are drawn from the same z where the recipes' z are of one size. A grid of reals comes first.
    """
    seed = _common_seed(recipes)
    out: list[Sample] = []
    others, sizes, left_out = 0, set(), 0
    for recipe in recipes:
        run = _run_to_show(recipe, seed)
        grid = None if run is None else last_grid(run, "samples")
        if run is None or grid is None:
            continue
        if not out and (real := last_grid(run, "real")) is not None:
            _append(out, "reals", "from the training set", real[1])
        if len(out) > MOST_GRIDS:
            left_out += 1
            continue
        others += run.seed != seed
        sizes.add(str(((run.config or {}).get("generator") or {}).get("z_dim")))
        ended = "" if run.status == "finished" else f", {run.status}"
        _append(out, recipe.label, f"seed {run.seed}, step {grid[0]:,}{ended}", grid[1])
    if len([s for s in out if s.label != "reals"]) == 0:
        return [], ""
    same = "of the same z" if len(sizes) == 1 else "of the same seed, but z is not of one size in all recipes"
    text = f"Averaged G at its last grid, seed {seed}, {same}"
    text += f"; {others} without this seed show another, of other z." if others else "."
    if left_out:
        text += f" {left_out} more recipes are not shown."
    return out, text


def _common_seed(recipes: Sequence[Recipe]) -> Any:
    """The seed that most recipes have a grid of; of equals the smallest."""
    have = Counter(
        run.seed for recipe in recipes for run in {r.seed: r for r in recipe.runs}.values() if last_grid(run, "samples")
    )
    return min(have, key=lambda seed: (-have[seed], str(seed))) if have else None


def _run_to_show(recipe: Recipe, seed: Any) -> Run | None:
    """The recipe's run of the seed, else any with a grid; those whose figures count come first."""
    having = [run for run in recipe.runs if last_grid(run, "samples") is not None]
    having.sort(key=lambda run: (run.seed != seed, run is not recipe.seeds.get(run.seed), not run.counts))
    return having[0] if having else None


def last_grid(run: Run, name: str) -> tuple[int, Path] | None:
    """Step and file of the last samples/<name>-XXXXXXXX.png."""
    found = []
    for path in (run.path / "samples").glob(f"{name}-*.png"):
        match = re.fullmatch(rf"{name}-(\d+)\.png", path.name)
        if match:
            found.append((int(match[1]), path))
    return max(found, default=None)


def _append(out: list[Sample], label: str, note: str, path: Path) -> None:
    """Add the picture, unless the file holds none."""
    try:
        with Image.open(path) as image:
            image.load()
            uri, size = encode(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return
    out.append(Sample(label, note, uri, *size))


def encode(image: Image.Image) -> tuple[str, tuple[int, int]]:
    """A data URI of at most MOST_BYTES (WebP, smaller and coarser until it fits), and the size in pixels."""
    image.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
    quality = 90
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=4)
        if buffer.tell() <= MOST_BYTES or min(image.size) < 64:
            return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", image.size
        if quality > 60:
            quality -= 15
        else:
            image = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)))
