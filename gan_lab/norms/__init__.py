"""Weight norms, applied to finished nets from outside, and activation norms, given to blocks."""

from gan_lab.norms.activation import PixelNorm, make_norm
from gan_lab.norms.gain import EqualizedLR, StrictWeightNorm, WeightNorm
from gan_lab.norms.weight import (
    SpectralNorm,
    advance_power_iteration,
    apply_weight_norm,
    bake,
    cached_weights,
    effective_weights,
    spectral_sigmas,
    weight_layers,
)

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
