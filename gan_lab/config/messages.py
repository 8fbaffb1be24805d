"""Suggest names for a misspelt one. Nothing here imports Hydra or OmegaConf."""

import difflib
from collections.abc import Iterable

_SYNONYMS = {"gpu": "cuda", "float32": "fp32", "float16": "bf16", "bfloat16": "bf16", "fp16": "bf16", "half": "bf16"}


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def closest(word: str, names: Iterable[str]) -> str | None:
    """Return the name most similar to `word`, or None. One that differs only in case or hyphens comes first."""
    folded = {_folded(name): name for name in sorted(set(names), reverse=True)}
    kind, colon, number = _folded(word).partition(":")
    if _SYNONYMS.get(kind) in folded.values():  # gpu:1 is cuda:1
        return f"{_SYNONYMS[kind]}{colon}{number}"
    close = difflib.get_close_matches(_folded(word), sorted(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def similar(word: str, names: Iterable[str]) -> str:
    """Suggest the name most similar to `word`: `; did you mean 'x'?`, or "" if none is."""
    return did_you_mean(filter(None, [closest(word, names)]))


def did_you_mean(names: Iterable[str]) -> str:
    """Suggest all of `names`: `; did you mean 'x' or 'y'?`, or "" if there are none."""
    quoted = [f"'{name}'" for name in names]
    return f"; did you mean {' or '.join(filter(None, [', '.join(quoted[:-1]), *quoted[-1:]]))}?" if quoted else ""


def nearest(word: str, names: Iterable[str]) -> str:
    """Suggest as `similar` does, else return the list of names if it is short, else ""."""
    options = sorted(set(names))
    return similar(word, options) or (f"; there are: {', '.join(options)}" if 0 < len(options) <= 25 else "")
