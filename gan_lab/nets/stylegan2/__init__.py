"""StyleGAN2 (arXiv:1912.04958)."""

from gan_lab.nets.stylegan2.discriminator import StyleGAN2Discriminator
from gan_lab.nets.stylegan2.generator import StyleGAN2Generator
from gan_lab.nets.stylegan2.layers import MinibatchStd, ModulatedConv2d

__all__ = ["MinibatchStd", "ModulatedConv2d", "StyleGAN2Discriminator", "StyleGAN2Generator"]
