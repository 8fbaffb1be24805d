"""Format numbers and words of the report."""

import math
from collections.abc import Iterable, Sequence

MISSING = "–"


def decimals_for(values: Iterable[float], digits: int = 4) -> int:
    """Return the number of decimals that shows the median value with `digits` significant digits."""
    sizes = sorted(abs(v) for v in values if v == v and v != 0)
    if not sizes:
        return 2
    return min(max(digits - 1 - math.floor(math.log10(sizes[len(sizes) // 2])), 0), 7)


def fixed(value: float | None, decimals: int) -> str:
    """Format a number with so many decimals and a typographic minus sign."""
    if value is None or value != value:
        return MISSING
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def with_sd(mean: float, sd: float, decimals: int) -> str:
    """Format `mean ± SD`, or the mean alone if SD is NaN."""
    return fixed(mean, decimals) + ("" if sd != sd else f" ± {fixed(sd, decimals)}")


def interval(low: float, high: float, decimals: int) -> str:
    """Format `[low, high]`; an empty string for NaN."""
    return "" if low != low else f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def p_value(p: float | None) -> str:
    """Format a p value with two digits, or as < 0.0001. One near 0.05 has more, to tell on which side of it it lies."""
    if p is None or p != p:
        return MISSING
    if f"{p:.2g}" == "0.05":
        texts = (f"{p:.{decimals}f}" for decimals in range(4, 16))
        return next((text for text in texts if (float(text) < 0.05) == (p < 0.05)), "0.0500")
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.0995 else f"{p:.2f}"


def duration(seconds: float | None) -> str:
    """Format as 41 s, 12 min 5 s or 3 h 20 min."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(n: int, noun: str) -> str:
    """Format as 1 run, 2 runs."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def span(numbers: Iterable[int]) -> str:
    """Format as `5` if all numbers are 5, else as `3 to 5`."""
    found = sorted(set(numbers))
    return MISSING if not found else f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def listed(words: Sequence[str], most: int = 6, last: str = "and") -> str:
    """Format as a; a and b; a, b and c. Of more than `most`: the first ones and `N more`."""
    words = [*words[:most], *([f"{len(words) - most} more"] if len(words) > most else [])]
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
