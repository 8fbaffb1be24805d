"""What a figure was measured with: figures of different protocols are different quantities, never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gan_lab.errors import UserError

Protocol = Mapping[str, Any]

DIRECTIONS = "higher_is_better"
"""The entry that says how figures are read, figure -> bool. It is no part of how they were measured, so not hashed."""


_GREW = ("is_", "precision", "recall", "density", "coverage", "modes_")
"""How the figures began that were better when higher, in protocols from before these said so."""


def higher_is_better(protocol: Protocol, figure: str) -> bool | None:
    """Whether the larger value of a figure is the better one; None for one that ranks nothing, as a spread."""
    stated = protocol.get(DIRECTIONS)
    if isinstance(stated, Mapping):
        found = stated.get(figure)
        return found if isinstance(found, bool) else None
    return None if figure.endswith("_std") else figure.startswith(_GREW) and not figure.startswith("modes_kl")


def _measured(protocol: Protocol) -> dict[str, Any]:
    return {key: value for key, value in protocol.items() if key != DIRECTIONS}


def protocol_hash(protocol: Protocol) -> str:
    """16 hexadecimal digits that are equal exactly where the protocols are."""
    text = json.dumps(_measured(protocol), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(a: Protocol, b: Protocol) -> list[str]:
    """One phrase for every entry that differs, `key: a's value against b's`; empty where none does."""
    a, b, absent = _measured(a), _measured(b), "not stated"
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
                "evaluate both with gan-lab evaluate under one protocol"
            )
