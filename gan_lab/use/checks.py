"""Check arguments of the functions, as the commands check theirs: one sentence for what cannot be used."""

import operator
from collections.abc import Iterable
from typing import Any

from gan_lab.config.messages import similar
from gan_lab.config.ranges import Range
from gan_lab.errors import UserError


def check(**given: tuple[Any, Range]) -> None:
    """Raise UserError for a value out of its range: name=(value, range). None, which stands for a default, passes."""
    for name, (value, allowed) in given.items():
        try:
            good = value is None or (allowed.holds(value) and not (allowed.whole and isinstance(value, float)))
        except TypeError:  # of another type
            good = False
        if not good:
            raise UserError(f"{name}={value}: must be {allowed.text}{similar(str(value), allowed.choices)}")


def whole_numbers(name: str, values: Iterable[Any]) -> list[int]:
    """Return whole numbers of any kind (of Python, NumPy or torch) as Python's. UserError for none, or other values."""
    try:
        found = [operator.index(value) for value in values]
    except TypeError as error:
        raise UserError(f"{name}={values}: must be whole numbers, as in {name}=[0, 1]") from error
    if not found:
        raise UserError(f"{name}={values}: give at least one number")
    return found
