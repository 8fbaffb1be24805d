"""`gan-lab interpolate`: show the images between seeds or classes."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options(common.OfGenerator):
    """Go from one seed or class to the next, as a film (.mp4, .gif, .webp) or as a strip (.png, .jpg).

    MP4 needs PyAV: pip install av.
    """

    examples = (
        "run=runs/mine out=loop.mp4 seeds=0-5",
        "run=runs/mine out=strip.png seeds=3,9 loop=false frames=10",
        "run=runs/mine out=classes.gif seeds=0 classes=0-9",
    )
    run: Path = common.run()
    out: Path = option("the file; its ending is the format", Path("interpolation.mp4"))
    seeds: tuple[int, ...] = option("the stations: numbers and ranges", (0, 1, 2, 3), shown="0-3")
    classes: tuple[int | str, ...] | None = option(
        "of the stations: one, or one a seed", None, shown="drawn from the seeds"
    )
    frames: int | None = option(
        "images from one station to the next", None, whole(2, 10_000), shown="30 in a film, 8 in a strip"
    )
    mode: str = option("on great circles, or straight", "slerp", one_of("slerp", "lerp"))
    space: str = option("z, or w of a generator with styles, where paths are straight", "z", one_of("z", "w"))
    loop: bool = option("return from the last station to the first", True)
    truncation: float = common.truncation()
    fps: int = option("images a second of a film", 30, whole(1, 100))
    scale: int | None = option(
        "the side in pixels of each pixel", None, whole(1, 64), shown="films of at least 256 px, strips as they are"
    )


def run(options: Options) -> None:
    """Write the file and print where it is."""
    from gan_lab.use.interpolate import interpolate

    print(interpolate(**common.arguments(options)))
