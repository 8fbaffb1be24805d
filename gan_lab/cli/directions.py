"""`gan-lab directions`: show the directions of a generator's latent space that change its images most."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import ABOVE_ZERO, whole


@dataclass(frozen=True, kw_only=True)
class Options(common.OfGenerator):
    """Find directions in a generator's weights (SeFa, arXiv:2007.06600) and draw what they change.

    They are the singular vectors of the layer that reads z, or of a StyleGAN2's style affines.
    """

    examples = (
        "run=runs/mine out=directions.png k=5",
        "run=runs/mine out=directions seeds=0-7 distance=6",
    )
    run: Path = common.run()
    out: Path = option(
        "a picture with a row a direction, or a folder for a picture a direction with a row a seed",
        Path("directions.png"),
    )
    k: int = option("how many directions", 5, whole(1, 1000))
    seeds: tuple[int, ...] = option("the images to change; a picture shows the first", (0,), shown="0")
    classes: tuple[int | str, ...] | None = option(
        "of the seeds: one, or one a seed", None, shown="drawn from the seeds"
    )
    distance: float = option("of the ends of a row from its middle", 4.0, ABOVE_ZERO)
    steps: int = option("images in a row", 7, whole(2, 100))
    layers: tuple[int, ...] | None = option("of a StyleGAN2, 0 the coarsest", None, shown="all")
    truncation: float = common.truncation()
    scale: int = common.scale()


def run(options: Options) -> None:
    """Write the pictures, and print where they are and how much each direction's layer responds."""
    from gan_lab.use.directions import directions

    found = directions(**common.arguments(options))
    print(f"{options.out}: directions in {found.space}, |A n|^2 = {', '.join(f'{v:.3g}' for v in found.values)}")
