"""Numbers and names as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable

MISSING = "–"

_FIGURES = {
    "fid": "FID", "is": "inception score", "kid": "KID", "precision": "precision", "recall": "recall",
    "density": "density", "coverage": "coverage", "modes_kl": "KL of modes", "modes": "modes",
}  # fmt: skip


def decimals_for(values: Iterable[float], digits: int = 4) -> int:
    """Decimals that give a typical one of the values so many significant digits."""
    sizes = sorted(abs(v) for v in values if v == v and v != 0)
    if not sizes:
        return 2
    return min(max(digits - 1 - math.floor(math.log10(sizes[len(sizes) // 2])), 0), 7)


def fixed(value: float | None, decimals: int) -> str:
    """A number with so many decimals and a true minus sign."""
    if value is None or value != value:
        return MISSING
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def p_value(p: float | None) -> str:
    """A p value to two digits, never 0."""
    if p is None or p != p:
        return MISSING
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.0995 else f"{p:.2f}"


def duration(seconds: float | None) -> str:
    """41 s, 12 min 5 s, 3 h 20 min."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(n: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(words: list[str]) -> str:
    """a; a and b; a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def spelled(key: str) -> str:
    """What a figure's key stands for."""
    for name, text in _FIGURES.items():
        if key == name or key.startswith(f"{name}_") or (key.startswith(name) and key[len(name) :].isdigit()):
            return text
    return key


def direction(lower: bool) -> str:
    return "lower is better" if lower else "higher is better"
