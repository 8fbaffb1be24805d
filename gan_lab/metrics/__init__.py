"""Metrics: the arithmetic (`functional`), the backbones, and the evaluators that a configuration names.

Importing the package does not import torch, so that protocols and figures can be read without it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["classifier_evaluator", "inception_evaluator"]


def __getattr__(name: str) -> Any:
    """Resolve an evaluator on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'gan_lab.metrics' has no attribute '{name}'")
    from gan_lab.metrics import factories

    return getattr(factories, name)
