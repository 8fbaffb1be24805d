"""Metrics: their base class (`base`), their arithmetic (`functional`), and the evaluators that compute them.

Importing this package does not import torch, so that the report can read protocols without it.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Figure": "base",
    "Metric": "base",
    "IntraFID": "fid",
    "LabelAccuracy": "modes",
    "inception_evaluator": "evaluator",
    "classifier_evaluator": "evaluator",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Resolve a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gan_lab.metrics' has no attribute '{name}'")
    return getattr(import_module(f"gan_lab.metrics.{_HOMES[name]}"), name)
