"""Generators and discriminators, one file per family."""

from gan_lab.nets.blocks import Generator, couples_samples
from gan_lab.nets.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_lab.nets.resnet import ResNetDiscriminator, ResNetGenerator
from gan_lab.nets.sngan import SNGANDiscriminator, SNGANGenerator

__all__ = [
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Generator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "couples_samples",
]
