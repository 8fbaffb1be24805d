"""The training loop, its state, checkpoints and files."""

from gan_lab.training.export import load_generator
from gan_lab.training.loop import train

__all__ = ["load_generator", "train"]
