"""The training loop, its state, checkpoints and files. Importing the package does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["load_generator", "train"]

_HOMES = {"load_generator": "gan_lab.training.export", "train": "gan_lab.training.loop"}


def __getattr__(name: str) -> Any:
    """Resolve a public function on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gan_lab.training' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
