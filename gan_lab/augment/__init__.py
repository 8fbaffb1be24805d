"""Differentiable augmentations, applied to reals and fakes alike before D."""

from gan_lab.augment.ada import ADA
from gan_lab.augment.base import Augment
from gan_lab.augment.diffaugment import DiffAugment

__all__ = ["ADA", "Augment", "DiffAugment"]
