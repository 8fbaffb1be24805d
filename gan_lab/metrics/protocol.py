"""The protocol of an evaluation: all that its figures depend on. Only figures of one protocol are comparable."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gan_lab.errors import UserError

Protocol = Mapping[str, Any]

DIRECTIONS = "higher_is_better"
"""The entry of a protocol that maps figure -> whether higher is better. It is not hashed: it changes no figure."""

ADVICE = (
    "measure every run by gan-lab evaluate with the same metrics= and checkpoint=latest: the report takes its figures"
)
"""What makes figures of several protocols comparable."""

_HIGHER = ("is_", "precision", "recall", "density", "coverage", "modes_")
_LOWER = ("fid", "kid", "modes_kl")
"""Prefixes of figures for which higher, or lower, is better, for old protocols that lack the entry."""


def higher_is_better(protocol: Protocol, figure: str) -> bool | None:
    """Return whether a higher value of a figure is better; None for one that ranks nothing (a standard deviation)."""
    stated = protocol.get(DIRECTIONS)
    if isinstance(stated, Mapping):
        found = stated.get(figure)
        return found if isinstance(found, bool) else None
    if figure.endswith("_std") or not figure.startswith((*_HIGHER, *_LOWER)):
        return None
    return not figure.startswith(_LOWER)


def _hashed(protocol: Protocol) -> dict[str, Any]:
    return {key: value for key, value in protocol.items() if key != DIRECTIONS}


def protocol_hash(protocol: Protocol) -> str:
    """Return 16 hexadecimal digits of the protocol's sha256."""
    text = json.dumps(_hashed(protocol), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def difference(a: Protocol, b: Protocol) -> list[str]:
    """Return one phrase `key: value in a against value in b` per entry that differs."""
    a, b, absent = _hashed(a), _hashed(b), "not stated"
    return [
        f"{key}: {a.get(key, absent)} against {b.get(key, absent)}"
        for key in sorted({*a, *b})
        if a.get(key, absent) != b.get(key, absent)
    ]


def require_same(protocols: Mapping[str, Protocol]) -> None:
    """Raise UserError that names the differences unless all protocols (run name -> protocol) are equal."""
    names = list(protocols)
    for name in names[1:]:
        found = difference(protocols[names[0]], protocols[name])
        if found:
            # A run is measured against its own images, so that other images stay others.
            advice = "" if any(phrase.startswith("dataset") for phrase in found) else f"; {ADVICE}"
            raise UserError(
                f"figures of {names[0]} and {name} cannot be compared, their protocols differ in {'; '.join(found)}"
                f"{advice}"
            )
