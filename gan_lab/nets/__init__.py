"""Generators and discriminators, one file per family."""

from gan_lab.nets.base import Discriminator, Generator, StyledGenerator, couples_samples
from gan_lab.nets.biggan import BigGANDiscriminator, BigGANGenerator
from gan_lab.nets.biggan_deep import BigGANDeepDiscriminator, BigGANDeepGenerator
from gan_lab.nets.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_lab.nets.r3gan import R3GANDiscriminator, R3GANGenerator
from gan_lab.nets.resnet import ResNetDiscriminator, ResNetGenerator
from gan_lab.nets.sngan import SNGANDiscriminator, SNGANGenerator
from gan_lab.nets.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lab.nets.wn_gan import WNGANDiscriminator, WNGANGenerator

__all__ = [
    "BigGANDeepDiscriminator",
    "BigGANDeepGenerator",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "Discriminator",
    "Generator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "SNGANDiscriminator",
    "SNGANGenerator",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "StyledGenerator",
    "WNGANDiscriminator",
    "WNGANGenerator",
    "couples_samples",
]
