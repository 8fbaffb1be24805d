"""Choose the best checkpoint of a run by one figure of its evaluations (`metrics/settings.py` says which)."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gan_lab.metrics.base import Figure


def is_comparable(best: Mapping[str, Any], figure: Figure, identity: str) -> bool:
    """Return whether the best so far was chosen by this figure under this protocol and dataset."""
    return (best.get("metric"), best.get("identity", identity)) == (figure.name, identity)  # 0.1 kept no identity


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
    if not is_comparable(best, figure, identity):
        best = {}
    evaluations = int(best.get("evaluations", 0)) + 1
    if "value" in best and not figure.improves(value, best["value"]):
        return {**best, "evaluations": evaluations, "identity": identity}, False
    found = {"metric": figure.name, "value": value, "step": step, "evaluations": evaluations, "identity": identity}
    return found, True


def best_of_rows(
    rows: Iterable[Mapping[str, Any]], figure: Figure, identity: str, steps: Collection[int]
) -> dict[str, Any]:
    """Choose the best again, from rows of metrics.jsonl of the same protocol whose `steps` have a checkpoint."""
    best: dict[str, Any] = {}
    protocol = identity.partition(" ")[0]
    for row in rows:
        value = row.get(figure.name)
        if row.get("protocol") == protocol and row.get("step") in steps and isinstance(value, (int, float)):
            best, _ = update_best(best, figure, float(value), row["step"], identity)
    return best
