"""Formats of checkpoints: each one's step to the next, so that an old run can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gan_lab.diagnostics.collapse import Detector

FORMAT_VERSION = 3


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Format 2 counts the updates within a step and those skipped, and holds the detector and its events.

    Its sums since the last log interval are one tensor for all scalars that come together: sums, then counts.
    """
    state = content["state"]
    sums = {
        name: torch.tensor([[float(total)], [float(count)]], dtype=torch.float64)
        for name, (total, count) in state.get("log_sums", {}).items()
    }
    new = {
        "substep": 0,
        "skipped": {"total": torch.zeros(()), "d": torch.zeros(()), "g": torch.zeros(())},
        "detector": Detector({}).state_dict(),
        "events": [],
        "pending_events": [],
    }
    return {**content, "state": {**new, **state, "log_sums": sums}}


def _from_2(content: dict[str, Any]) -> dict[str, Any]:
    """In format 3 the untrained G is never the best, and an augmentation's clock is that of the run."""
    state = dict(content["state"])
    if isinstance(state.get("augment"), dict):
        state["augment"] = {k: v for k, v in state["augment"].items() if k != "_extra_state"}
    if isinstance(state.get("best"), dict) and state["best"].get("step") == 0:
        state["best"] = {}
    return {**content, "state": state}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
FORMATS = (*_STEPS, FORMAT_VERSION)


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of any format in FORMATS as one of today's."""
    for version in range(content["format_version"], FORMAT_VERSION):
        content = {**_STEPS[version](content), "format_version": version + 1}
    return content
