"""`gan-lab sample`: images from a trained run, as one grid or as separate PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torchvision.utils import save_image

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.errors import UserError
from gan_lab.use.load import load_generator

BATCH = 100


@torch.no_grad()
def sample_command(words: Sequence[str]) -> int:
    """run=DIR [out=samples.png] [n=64] [seed=0] [checkpoint=best] [raw=false] [extensions=MODULE,...].

    `out` without .png is a folder.
    """
    defaults = {"run": None, "out": "samples.png", "n": "64", "seed": "0", "checkpoint": "best", "raw": "false",
                "extensions": ""}  # fmt: skip
    given = parse_words(words, defaults)
    if given["run"] is None:
        raise UserError("run= is missing: name a run directory or a checkpoint file")
    n, seed = whole_number("n", given["n"], 1, 1_000_000), whole_number("seed", given["seed"], 0)
    if given["raw"] not in ("true", "false"):
        raise UserError(f"raw={given['raw']}: must be true or false")
    G = load_generator(str(given["run"]), str(given["checkpoint"]), ema=given["raw"] == "false",
                       extensions=str(given["extensions"]).split(",") if given["extensions"] else ())  # fmt: skip
    torch.manual_seed(seed)
    out = Path(str(given["out"]))
    try:
        if out.suffix.lower() == ".png":
            images = torch.cat([G(G.sample_z(k, "cpu"), G.sample_y(k, "cpu")) for k in _batches(n)])
            out.parent.mkdir(parents=True, exist_ok=True)
            save_image((images + 1) / 2, str(out), nrow=max(int(n**0.5), 1))
        else:
            out.mkdir(parents=True, exist_ok=True)
            done = 0
            for k in _batches(n):
                for image in G(G.sample_z(k, "cpu"), G.sample_y(k, "cpu")):
                    save_image((image + 1) / 2, str(out / f"{done:06d}.png"))
                    done += 1
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    print(f"{n} images in {out}")
    return 0


def _batches(n: int) -> list[int]:
    return [BATCH] * (n // BATCH) + ([n % BATCH] if n % BATCH else [])
