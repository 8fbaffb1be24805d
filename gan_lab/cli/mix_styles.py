"""`gan-lab mix-styles`: combine the styles of seeds."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import TRUNCATION


@dataclass(frozen=True, kw_only=True)
class Options(common.OfGenerator):
    """Draw a grid of mixed styles of a StyleGAN2: some layers from the seed of the column, the others from the row."""

    examples = ("run=runs/mine out=styles.png rows=0-3 columns=10-15 layers=0-2",)
    run: Path = common.run()
    out: Path = option("a picture (.png, .jpg or .webp)", Path("styles.png"))
    rows: tuple[int, ...] = option("seeds on the left", (0, 1, 2, 3), shown="0-3")
    columns: tuple[int, ...] = option("seeds on top", (4, 5, 6, 7), shown="4-7")
    layers: tuple[int, ...] | None = option(
        "layers that take the styles of the column; 0 is the coarsest", None, shown="the first half"
    )
    truncation: float = option("distance to the mean latent", 1.0, TRUNCATION)
    scale: int = common.scale()


def run(options: Options) -> None:
    """Write the picture and print where it is."""
    from gan_lab.use.interpolate import mix_styles

    print(mix_styles(**common.arguments(options)))
