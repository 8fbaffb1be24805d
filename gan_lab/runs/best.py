"""Which checkpoint of a run is the best one, by a figure of its evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gan_lab.metrics.base import Figure


def update_best(
    best: Mapping[str, Any], figure: Figure, value: float, step: int, identity: str
) -> tuple[dict[str, Any], bool]:
    """Take one evaluation into account; returns (best, whether it is the new best).

    best: {} or {"metric", "value", "step", "evaluations", "identity"}, `evaluations` counting those that it was chosen
    from. identity: what the value can be compared within (protocol and dataset): where figure or identity have changed,
    what was best before says nothing and the choice begins anew. The untrained G (step 0) is never the best, and
    neither is a value that is not finite.
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
