"""Write progress.gif: a run's grids of samples one after another, which show the same z while G learns."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from gan_lab.errors import useful_line
from gan_lab.files import write_atomically

log = logging.getLogger(__name__)

NAME = "progress.gif"
MOST_BYTES = 2_000_000
MOST_FRAMES, MOST_PIXELS = 48, 560
FRAME_MS, LAST_MS = 200, 2_500


def write_progress_gif(folder: Path) -> Path | None:
    """Write `folder`/progress.gif from the grids of samples in `folder`/samples, at most 2 MB. Returns its path.

    Takes at most 48 grids, the first and the last among them, at most 560 px wide. A file that would be larger gets
    fewer and smaller frames. None if there are fewer than two grids. Raises OSError if they cannot be read or the file
    not be written.
    """
    grids = sorted((folder / "samples").glob("samples-*.png"))
    if len(grids) < 2:
        return None
    with Image.open(grids[-1]) as last:
        frames, pixels = min(MOST_FRAMES, len(grids)), min(MOST_PIXELS, max(last.size))
    while len(data := encode_gif(spread(grids, frames), pixels)) > MOST_BYTES and pixels > 64:
        frames, pixels = max(2, frames * 3 // 4), pixels * 4 // 5
    write_atomically(folder / NAME, data)
    return folder / NAME


def write_if_possible(folder: Path) -> None:
    """`write_progress_gif`, with a warning where the file cannot be written."""
    try:
        write_progress_gif(folder)
    except Exception as error:  # a full disk, a damaged grid, one that Pillow takes for a bomb, ...
        log.warning("cannot write %s (%s)", folder / NAME, useful_line(error))


def spread(grids: Sequence[Path], most: int) -> list[Path]:
    """Return at most `most` (at least 2) of the grids, evenly spread from the first to the last."""
    count = min(most, len(grids))
    return [grids[round(i * (len(grids) - 1) / (count - 1))] for i in range(count)]


def encode_gif(grids: Sequence[Path], pixels: int) -> memoryview:
    """Return the pictures as a GIF that repeats for ever, with 255 colours in all and at most `pixels` on a side."""
    frames = [_fitted(path, pixels) for path in grids]
    colours = _common_colours(frames)
    images = [frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    durations = [*[FRAME_MS] * (len(images) - 1), LAST_MS]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return buffer.getbuffer()


def _fitted(path: Path, pixels: int) -> Image.Image:
    with Image.open(path) as file:
        image = file.convert("RGB")
    if max(image.size) > pixels:
        image.thumbnail((pixels, pixels))
    return image


def _common_colours(frames: Sequence[Image.Image]) -> Image.Image:
    """Return a picture whose palette is of 255 colours for all frames: one for each would take most of the time."""
    side = max(16, 512 // len(frames))
    strip = Image.new("RGB", (side * len(frames), 512))
    for i, frame in enumerate(frames):
        strip.paste(frame.resize((side, 512), Image.Resampling.NEAREST), (i * side, 0))
    return strip.quantize(255)
