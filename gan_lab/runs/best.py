"""Choose the best checkpoint of a run by one figure of its evaluations (`metrics/settings.py` says which)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gan_lab.metrics.base import Figure


def update_best(
    best: Mapping[str, Any], figure: Figure, value: float, step: int, identity: str
) -> tuple[dict[str, Any], bool]:
    """Compare one evaluation with the best so far. Returns (best, whether this one is the new best).

    best: {} or {"metric", "value", "step", "evaluations", "identity"}; `evaluations` counts those compared so far.
    identity: protocol and dataset. Values of another figure or identity are not comparable: the choice starts over.
    The untrained G (step 0) and non-finite values are never the best.
    """
    if step == 0 or not math.isfinite(value):
        return dict(best), False
    if (best.get("metric"), best.get("identity", identity)) != (figure.name, identity):  # version 0.1 kept no identity
        best = {}
    evaluations = int(best.get("evaluations", 0)) + 1
    improved = "value" not in best or figure.improves(value, best["value"])
    if not improved:
        return {**best, "evaluations": evaluations, "identity": identity}, False
    found = {"metric": figure.name, "value": value, "step": step, "evaluations": evaluations, "identity": identity}
    return found, True
