"""Suggest names for a misspelt one. Nothing here imports Hydra or OmegaConf."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def similar(word: str, names: Iterable[str]) -> str:
    """Suggest the name most similar to `word`: `; did you mean 'x'?`, or "" if none is."""
    close = difflib.get_close_matches(word, sorted(set(names)), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """Suggest as `similar` does, else return the list of names if it is short, else ""."""
    options = sorted(set(names))
    return similar(word, options) or (f"; there are: {', '.join(options)}" if 0 < len(options) <= 25 else "")
