"""`gan-lab export`: write a trained generator in a format that others can load."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import one_of


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a trained generator for others: weights with norms baked in, and nothing private.

    hub is a folder of the Hugging Face layout with a model card, torch a program of torch.export, onnx an ONNX model
    (pip install onnx onnxscript onnxruntime). The latter two run without gan_lab. What is written is read back and
    compared.
    """

    examples = ("run=runs/mine out=mine", "run=runs/mine out=mine.onnx noise=none")
    run: Path = option("a run directory, a checkpoint file or an exported folder")
    out: Path = option("a folder for hub, else a file that ends in .pt2 or .onnx")
    format: str | None = option("the format", None, one_of("hub", "torch", "onnx"), shown="by the ending of out")
    checkpoint: str | None = common.checkpoint()
    raw: bool = common.raw()
    noise: str = option(
        "StyleGAN2's noise; random only in the format hub", "constant", one_of("constant", "none", "random")
    )
    standing_statistics: int = common.standing_statistics()
    extensions: tuple[str, ...] = common.extensions()


def run(options: Options) -> None:
    """Write the files, and print where they are and how far they differ."""
    from gan_lab.use.export import export

    path, difference = export(**common.arguments(options))
    print(f"{path}  (read back: images differ by at most {difference:.1g})")
