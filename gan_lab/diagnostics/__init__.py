"""What is measured while training. These need a net only, and work in a loop of one's own:

    from gan_lab import diagnostics

    diagnostics.exact_sigmas(D)    layer -> its largest singular values, exactly
    diagnostics.sigma_product(D)   their product, running estimates where there is a spectral norm
    diagnostics.variances(D)       layer -> variance of its weights
    diagnostics.gradient_bound(D)  the bound of arXiv:2009.02773; the submodule `gradients` has what it bounds
    diagnostics.Detector           tells a collapse from the numbers of a run

They are imported on first use, as reports read the catalogue without torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "exact_sigmas": "spectra",
    "sigma_product": "spectra",
    "variances": "spectra",
    "gradient_bound": "gradients",
    "Detector": "collapse",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a function on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gan_lab.diagnostics' has no attribute '{name}'")
    return getattr(import_module(f"gan_lab.diagnostics.{_HOMES[name]}"), name)
