"""Write films: MP4 with PyAV, GIF and WebP with Pillow."""

import io
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gan_lab.errors import UserError
from gan_lab.runs.image_grid import to_pillow
from gan_lab.use.pictures import write_file

FILMS = (".mp4", ".gif", ".webp")


def check_film(suffix: str) -> None:
    """Raise UserError if what writes this format is missing."""
    if suffix == ".mp4" and find_spec("av") is None:
        raise UserError("MP4 needs PyAV: pip install av, or name a .gif or .webp file")


def write_film(out: Path, batches: Iterable[Tensor], fps: int) -> None:
    """Write frames (uint8, b c h w each) that repeat for ever, at `fps`. UserError if they cannot be written."""
    check_film(out.suffix.lower())
    buffer = io.BytesIO()
    if out.suffix.lower() == ".mp4":
        _write_mp4(buffer, batches, fps)
    else:
        _write_animation(buffer, batches, fps, out.suffix.lower())
    write_file(out, buffer.getbuffer())


def _write_animation(buffer: io.BytesIO, batches: Iterable[Tensor], fps: int, suffix: str) -> None:
    """GIF counts hundredths of a second, so its rate is rounded to 100 / k; its colours are 256 for each frame."""
    images = _images(batches)
    first, settings = next(images), dict[str, Any](save_all=True, append_images=images, loop=0)
    if suffix == ".gif":
        first.save(buffer, "GIF", duration=max(20, round(100 / fps) * 10), disposal=1, **settings)
    else:
        first.save(buffer, "WEBP", duration=round(1000 / fps), quality=85, method=4, **settings)


def _images(batches: Iterable[Tensor]) -> Iterator[Image.Image]:
    for batch in batches:
        yield from map(to_pillow, batch)


def _write_mp4(buffer: io.BytesIO, batches: Iterable[Tensor], fps: int) -> None:
    """H.264 in 4:2:0, which every player shows; it needs even sides, so an odd one gets a black line."""
    import av

    stream: Any = None
    with av.open(buffer, "w", format="mp4") as container:
        for batch in batches:
            frames = F.pad(batch, (0, batch.shape[3] % 2, 0, batch.shape[2] % 2))
            if stream is None:
                stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
                stream.height, stream.width, stream.pix_fmt = *frames.shape[2:], "yuv420p"
            for frame in _images([frames]):
                container.mux(stream.encode(av.VideoFrame.from_image(frame.convert("RGB"))))
        container.mux(stream.encode())
