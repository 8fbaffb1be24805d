"""Weight norms, applied to finished nets from outside, and activation norms, given to blocks."""

from gan_lab.norms.activation import PixelNorm, make_norm
from gan_lab.norms.base import apply_weight_norm, bake, effective_weights, weight_layers
from gan_lab.norms.equalized_lr import EqualizedLR
from gan_lab.norms.spectral import SpectralNorm
from gan_lab.norms.spectral_net import advance_power_iteration, cached_weights, spectral_sigmas
from gan_lab.norms.weight_norm import StrictWeightNorm, WeightNorm

__all__ = [
    "EqualizedLR",
    "PixelNorm",
    "SpectralNorm",
    "StrictWeightNorm",
    "WeightNorm",
    "advance_power_iteration",
    "apply_weight_norm",
    "bake",
    "cached_weights",
    "effective_weights",
    "make_norm",
    "spectral_sigmas",
    "weight_layers",
]
