"""Draw images from a trained generator, as one grid or as separate PNG files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from gan_lab.distributed.randomness import own_randomness
from gan_lab.errors import UserError
from gan_lab.nets import Generator
from gan_lab.use.load import load_generator

BATCH = 100


@torch.no_grad()
def sample(
    path: str | Path,
    out: str | Path = "samples.png",
    n: int = 64,
    *,
    seed: int = 0,
    checkpoint: str = "best",
    ema: bool = True,
    extensions: Sequence[str] = (),
) -> Path:
    """Draw `n` images from the generator of a run and write them as one grid, or as separate PNG files.

    Args:
        path: a run directory or a checkpoint file.
        out: the grid, if it ends in .png; else a folder for 000000.png, 000001.png, ...
        seed: seed of z and of the classes. The state of torch's random generators is restored.
        checkpoint: "best", "latest" or a step of a run directory.
        ema: use the moving average of the weights, not the raw weights.
        extensions: your own modules that the run uses; their code is executed.

    Returns:
        `out`.

    Raises:
        UserError: a path or checkpoint cannot be used, or `out` cannot be written to.
    """
    out = Path(out)
    with own_randomness(seed, torch.device("cpu")):
        G = load_generator(path, checkpoint, ema=ema, extensions=extensions)  # draws initial weights
        torch.manual_seed(seed)
        try:
            if out.suffix.lower() == ".png":
                out.parent.mkdir(parents=True, exist_ok=True)
                save_image(torch.cat(list(_images(G, n))), str(out), nrow=max(int(n**0.5), 1))
            else:
                out.mkdir(parents=True, exist_ok=True)
                for i, image in enumerate(image for batch in _images(G, n) for image in batch):
                    save_image(image, str(out / f"{i:06d}.png"))
        except OSError as error:
            raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    return out


def _images(G: Generator, n: int) -> Iterator[Tensor]:
    """Yield `n` images in batches: b c h w in [0, 1]."""
    for start in range(0, n, BATCH):
        k = min(BATCH, n - start)
        yield (G(G.sample_z(k, "cpu"), G.sample_y(k, "cpu")) + 1) / 2
