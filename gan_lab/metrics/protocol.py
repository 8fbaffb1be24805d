"""What a figure was measured with: figures of different protocols are different quantities, never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from gan_lab.errors import UserError

Protocol = Mapping[str, Any]

# Figures that grow as the generator gets better; every other one shrinks.
_GROWING = ("is_", "precision", "recall", "density", "coverage", "modes_")


def protocol_hash(protocol: Protocol) -> str:
    """16 hexadecimal digits that are equal exactly where the protocols are."""
    text = json.dumps(protocol, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(a: Protocol, b: Protocol) -> list[str]:
    """One phrase for every entry that differs, `key: a's value against b's`; empty where none does."""
    absent = "not stated"
    return [
        f"{key}: {a.get(key, absent)} against {b.get(key, absent)}"
        for key in sorted({*a, *b})
        if a.get(key, absent) != b.get(key, absent)
    ]


def require_same(protocols: Mapping[str, Protocol]) -> None:
    """UserError naming the difference where the named protocols (run name -> protocol) are not all one."""
    names = list(protocols)
    for name in names[1:]:
        found = difference(protocols[names[0]], protocols[name])
        if found:
            raise UserError(
                f"figures of {names[0]} and {name} cannot be compared, their protocols differ in "
                f"{'; '.join(found)}; "
                "evaluate both with scripts/evaluate.py under one protocol"
            )


def lower_is_better(key: str) -> bool:
    """Whether a smaller value of this figure is the better one."""
    return key.startswith("modes_kl") or not key.startswith(_GROWING)


def choose_best(rows: Iterable[Mapping[str, Any]], key: str) -> dict[str, Any] | None:
    """The best row of a metrics.jsonl by figure `key`: its step, value, and of how many it is the best.

    The count belongs to the figure: the best of 50 evaluations is biased further than the best of 5. None
    where no row has the figure. Raises UserError where the rows that have it are of different protocols.
    """
    having = [row for row in rows if isinstance(row.get(key), (int, float))]
    if not having:
        return None
    hashes = {row.get("protocol") for row in having}
    if len(hashes) > 1:
        raise UserError(
            f"'{key}' was measured under {len(hashes)} protocols here "
            f"({', '.join(map(str, sorted(hashes, key=str)))}); "
            "name the one to choose by"
        )
    best = (min if lower_is_better(key) else max)(having, key=lambda row: row[key])
    return {"step": best.get("step"), "value": best[key], "evaluations": len(having)}
