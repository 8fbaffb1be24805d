"""Differentiable augmentations, applied to reals and fakes alike before D; and APA, which replaces reals."""

from gan_lab.augment.ada import ADA
from gan_lab.augment.apa import APA
from gan_lab.augment.base import Augment
from gan_lab.augment.diffaugment import DiffAugment
from gan_lab.augment.instance_noise import InstanceNoise

__all__ = ["ADA", "APA", "Augment", "DiffAugment", "InstanceNoise"]
