"""The last sample grids of the recipes, compressed to fit in the page."""

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gan_lab.config.tree import select
from gan_lab.reporting.recipes import Recipe
from gan_lab.runs.reading import last_grid

BYTES = 500_000
"""The most bytes of all pictures of a page, before base64 adds a third."""
MOST_BYTES, MOST_PIXELS, MOST_GRIDS = 60_000, 640, 36


@dataclass(frozen=True)
class Picture:
    """A grid as a data URI, with label and note."""

    label: str
    note: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Samples:
    """The last grids of the recipes. others: how many have another seed. same_z: whether all z have the same size."""

    pictures: list[Picture]
    seed: Any = None
    others: int = 0
    same_z: bool = True
    left_out: int = 0


def sample_grids(recipes: Sequence[Recipe], budget: int = BYTES) -> Samples:
    """Collect the last grid of each recipe, for the seed that most recipes have, else another one. Reals come first.

    Grids of one seed are drawn from the same z if the recipes' z have the same size.
    """
    grids = {run: grid for r in recipes for run in r.runs if (grid := last_grid(run.path, "samples"))}
    having = Counter(seed for r in recipes for seed in {run.seed for run in r.runs if run in grids})
    seed = min(having, key=lambda s: (-having[s], str(s)), default=None)
    chosen = []
    for recipe in recipes:
        runs = [run for run in recipe.runs if run in grids]
        runs.sort(key=lambda run: (run.seed != seed, run is not recipe.seeds.get(run.seed), not run.counts))
        chosen += [(recipe.label, run) for run in runs[:1]]
    shown = chosen[:MOST_GRIDS]
    most = min(MOST_BYTES, budget // (len(shown) + 1))
    pictures = []
    for label, run in shown:
        step, path = grids[run]
        ended = "" if run.status == "finished" else f", {run.status}"
        pictures += _picture(label, f"seed {run.seed}, step {step:,}{ended}", path, most)
    reals = next((grid for _, run in shown if (grid := last_grid(run.path, "real"))), None)
    if pictures and reals:
        pictures = _picture("reals", "from the training set", reals[1], most) + pictures
    sizes = {str(select(run.config, "generator.z_dim")) for _, run in shown}
    others = sum(run.seed != seed for _, run in shown)
    return Samples(pictures, seed, others, len(sizes) < 2, len(chosen) - len(shown))


def _picture(label: str, note: str, path: Path, most: int) -> list[Picture]:
    """Return the picture, or nothing if the file cannot be read."""
    try:
        with Image.open(path) as image:
            image.load()
            uri, size = encode(image.convert("RGB"), most)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return []
    return [Picture(label, note, uri, *size)]


def encode(image: Image.Image, most: int = MOST_BYTES) -> tuple[str, tuple[int, int]]:
    """Encode as a data URI of at most `most` bytes (WebP, ever coarser and smaller). Returns it and its size."""
    image.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
    quality = 90
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality, method=4)
        if buffer.tell() <= most or min(image.size) < 64:
            return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", image.size
        if quality > 60:
            quality -= 15
        else:
            shrink = 0.95 * math.sqrt(most / buffer.tell())
            image = image.resize((max(int(image.width * shrink), 1), max(int(image.height * shrink), 1)))
