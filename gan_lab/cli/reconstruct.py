"""`gan-lab reconstruct`: measure the reconstruction error of WN-GAN (arXiv:1704.03971)."""

import json
from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Search for the z whose image is nearest to each test image, and print the mean squared error as JSON.

    The row is appended to the run's metrics.jsonl, and its protocol is written beside it.
    """

    examples = ("run=runs/mine", "run=runs/mine recon_images=2000 restarts=3")
    run: Path = common.run()
    checkpoint: str | None = common.checkpoint()
    recon_images: int = option("images, evenly spaced over the split (the paper's final figure: 2000)", 200, whole(1))
    recon_steps: int = option(
        "RMSprop steps for each (the paper: 50 while training, more for the final figure)", 50, whole(0)
    )
    restarts: int = option("starts for each: the first at z = 0, as in the paper, further ones at random", 1, whole(1))
    split: str = option("which images", "test", one_of("test", "train"))
    seed: int = option("seed of the random starts", 0, whole(0))
    batch_size: int = option("searches at once", 100, whole(1))
    ema: bool = option("use the moving average of the weights; false: the raw weights", True)
    data_dir: Path | None = common.data_dir()
    dataset_path: Path | None = common.dataset_path()
    device: str = common.device()
    extensions: tuple[str, ...] = common.extensions()


def run(options: Options) -> None:
    """Print the row, with its protocol."""
    from gan_lab.use.reconstruct import reconstruct

    how = common.arguments(options)
    how |= {"images": how.pop("recon_images"), "steps": how.pop("recon_steps")}
    print(json.dumps(reconstruct(**how), indent=2))
