"""What to try first, and what then, for each kind of event.

The order was chosen on runs made to fail; others are to check it: `python -m scripts.studies.advice`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """A change of a run: its name in tables, what a message says of it, and the words that the study added for it."""

    title: str
    text: str
    words: tuple[str, ...] = ()


REMEDIES = {
    "rates": Remedy(
        "lower, equal rates",
        "one constant learning rate for both nets, half of G's and at most 1e-3 "
        "(optimizer.g.lr, optimizer.d.lr, optimizer.lr_scale=1)",
        ("optimizer.g.lr=1e-3", "optimizer.d.lr=1e-3", "optimizer.lr_scale=1"),
    ),
    "penalty": Remedy("R1 and R2", "R1 and R2 in place of other penalties (penalty=r1r2)", ("penalty=r1r2",)),
    "term": Remedy("without the term", "a run without the term that is not finite (~penalty.NAME)"),
}
_RATES, _PENALTY = ("rates", "penalty"), ("penalty", "rates")
ADVICE: dict[str, tuple[str, str]] = {
    "metric_worse": _RATES,
    "no_progress": _PENALTY,
    "spread_lost": _RATES,
    "not_moving": _RATES,
    "d_saturated": _PENALTY,
    "g_starved": _PENALTY,
    "d_beaten": _RATES,
    "d_flat": _PENALTY,
    "gradient_vanished": _RATES,
    "gradient_exploded": _RATES,
    "out_of_scale": _RATES,
    "non_finite": ("term", "rates"),
}
"""Kind of event -> names of the first remedy and of the one to try in its place."""


def advise(kind: str) -> str:
    """Return what to try first and what in its place, as the end of an event's message."""
    first, then = (REMEDIES[name].text for name in ADVICE[kind])
    return f"try {first}; if that fails, {then}"
