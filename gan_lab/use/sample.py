"""Draw images from a trained generator: a grid, an array, or a folder of files."""

import logging
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.config.ranges import SEED, one_of, whole
from gan_lab.data import to_pixels
from gan_lab.data.decode import SUFFIXES
from gan_lab.distributed.device import exact_fp32
from gan_lab.errors import UserError
from gan_lab.nets import Generator
from gan_lab.nets.sampling import with_standing_statistics
from gan_lab.runs.image_grid import to_pillow
from gan_lab.use.checks import check, whole_numbers
from gan_lab.use.generate import Classes, class_numbers, generate, latents_of, own_generator
from gan_lab.use.pictures import FORMATS, check_suffix, encoded, write_arrays, write_picture, writing

log = logging.getLogger(__name__)
CHUNK = 512  # images held at a time while files are written
MOST_IN_GRID = 10_000
_OURS = re.compile(r"\d{6,}(-class\d+)?\.(png|jpg|jpeg|webp)")


def sample(
    path: str | Path | Generator,
    out: str | Path = "samples.png",
    n: int | None = None,
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    classes: Classes = None,
    truncation: float = 1.0,
    standing_statistics: int = 0,
    format: str = "png",
    overwrite: bool = False,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    batch_size: int | None = None,
    extensions: Sequence[str] = (),
) -> Path:
    """Write the images of seeds. A seed gives the same image whatever the other seeds, the batch and the device.

    Args:
        path: a run directory, a checkpoint file, or a generator.
        out: a grid (.png, .jpg, .webp), an array (.npz: images, uint8 n h w c; seeds; classes), or a folder for one
            file a seed, 000007.png (with `classes` 000007-class2.png).
        n, seed: instead of `seeds`, the n seeds from `seed` on. None: 64.
        classes: draw each seed in each of these classes (numbers or names), side by side. None: the class that the
            seed draws.
        truncation: distance to the mean latent, in w (StyleGAN2) or z: 1 changes nothing, 0 gives the mean.
        standing_statistics: batches of 100 images over which batch norms take their statistics (0: the running ones).
        format: of the files in a folder: png, jpg or webp.
        overwrite: allow a folder that holds other images. Earlier samples in it are removed, other files stay.
        checkpoint: "best", "latest" or a step of a run. None: the best, or the latest if there is none.
        ema: use the moving average of the weights, not the raw weights.
        device: "auto", "cpu" or "cuda".
        batch_size: images at once. None: 8 on a CPU, 64 on a GPU, fewer where the memory is small.
        extensions: your own modules that the run uses; their code is executed.

    Returns:
        `out`. The state of torch's random generators is left alone.

    Raises:
        UserError: a path, checkpoint, class or `out` cannot be used.
    """
    check(n=(n, whole(1)), standing_statistics=(standing_statistics, whole(0)), batch_size=(batch_size, whole(1)),
          format=(format, one_of("png", "jpg", "jpeg", "webp")))  # fmt: skip
    out, chosen = Path(out).expanduser(), _seeds(seeds, n, seed)
    suffix = check_suffix(out, (*FORMATS, ".npz"), folder=True)
    G = own_generator(path, device, checkpoint=checkpoint, ema=ema, extensions=extensions)
    with exact_fp32(next(G.parameters()).device):  # as its images are drawn
        G = with_standing_statistics(G, standing_statistics)
    numbers = class_numbers(G, classes)
    pairs = [(s, c) for s in chosen for c in numbers or (None,)]
    if suffix in FORMATS and len(pairs) > MOST_IN_GRID:
        raise UserError(
            f"a grid holds at most {MOST_IN_GRID:,} images; for {len(pairs):,}, name a folder or a .npz file"
        )

    def draw() -> Iterator[Tensor]:  # uint8 b c h w
        for i in range(0, len(pairs), CHUNK):
            part = pairs[i : i + CHUNK]
            wanted = [c for _, c in part if c is not None]
            latents = latents_of(G, [s for s, _ in part], wanted)
            labels.append(latents.y)
            yield to_pixels(generate(G, latents, truncation, batch_size))

    labels: list[Tensor | None] = []
    if not suffix:
        names = [f"{s:06d}{'' if c is None else f'-class{c}'}.{format}" for s, c in pairs]
        _write_folder(out, names, draw(), overwrite)
        return out
    images = torch.cat(list(draw()))
    if suffix == ".npz":
        arrays = {"images": images.permute(0, 2, 3, 1), "seeds": torch.tensor([s for s, _ in pairs])}
        if labels[0] is not None:
            arrays["classes"] = torch.cat([y for y in labels if y is not None])
        write_arrays(out, arrays)
    else:
        write_picture(out, images, len(numbers) or max(int(len(images) ** 0.5), 1))
    return out


def _seeds(seeds: Sequence[int] | None, n: int | None, seed: int) -> Sequence[int]:
    if seeds is None:
        last = seed + (64 if n is None else n)
        for number in (seed, last - 1):
            check(seed=(number, SEED))
        return range(seed, last)
    if n is not None or seed != 0:
        raise UserError("give seeds=, or n= and seed=, but not both")
    return whole_numbers("seeds", seeds)


def _write_folder(out: Path, names: Sequence[str], batches: Iterator[Tensor], overwrite: bool) -> None:
    """Write one file an image. UserError, before anything is drawn, for a folder of other images."""
    wanted = set(names)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        others = sorted(p.name for p in out.iterdir() if p.suffix.lower() in SUFFIXES and p.name not in wanted)
        if others and not overwrite:
            raise UserError(
                f"out={out} holds other images, such as {others[0]}: choose another folder, or repeat with "
                "overwrite=true, which removes earlier samples"
            )
        earlier = [name for name in others if _OURS.fullmatch(name)]
        for name in earlier:
            (out / name).unlink()
        if len(others) > len(earlier):
            log.warning("%s also holds %d images that are no samples; they stay", out, len(others) - len(earlier))
        for name, image in zip(names, chain.from_iterable(batches), strict=True):
            (out / name).write_bytes(encoded(to_pillow(image), Path(name).suffix))
