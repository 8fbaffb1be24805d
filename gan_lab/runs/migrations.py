"""Migrate checkpoints from each format to the next, so that old runs can be resumed."""

from collections.abc import Callable
from typing import Any

import torch

from gan_lab.diagnostics.collapse import Detector

FORMAT_VERSION = 3


def _from_1(content: dict[str, Any]) -> dict[str, Any]:
    """Add what format 2 introduced: updates within a step, skipped updates, the detector and its events.

    Its sums since the last log interval are one tensor for all scalars of one call: sums, then counts.
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
    """Apply the changes of format 3: the untrained G is never the best, and augmentations use the run's clock."""
    state = dict(content["state"])
    if isinstance(state.get("augment"), dict):
        state["augment"] = {k: v for k, v in state["augment"].items() if k != "_extra_state"}
    if isinstance(state.get("best"), dict) and state["best"].get("step") == 0:
        state["best"] = {}
    return {**content, "state": state}


_STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1, 2: _from_2}
FORMATS = (*_STEPS, FORMAT_VERSION)


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """Convert a checkpoint of any format in FORMATS to FORMAT_VERSION."""
    for version in range(content["format_version"], FORMAT_VERSION):
        content = {**_STEPS[version](content), "format_version": version + 1}
    return content
