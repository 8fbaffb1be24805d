"""`key=value` words of the small commands, checked against what a command takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gan_lab.config.messages import nearest
from gan_lab.errors import UserError


def parse_words(words: Sequence[str], defaults: Mapping[str, str | None]) -> dict[str, str | None]:
    """The defaults updated by the words; UserError for a word that is not `key=value` or an unknown key."""
    values = dict(defaults)
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise UserError(f"'{word}' is not key=value; the keys are: {', '.join(defaults)}")
        if key not in defaults:
            raise UserError(f"unknown key '{key}'{nearest(key, defaults)}")
        values[key] = value
    return values


def whole_number(key: str, text: str | None, low: int, high: int = 2**31) -> int:
    """A value as a whole number in [low, high]; UserError otherwise."""
    try:
        number = int(str(text))
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise UserError(f"{key}={text}: must be a whole number from {low} to {high}")
    return number
