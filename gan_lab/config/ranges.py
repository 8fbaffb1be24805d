"""Ranges of settings: a test for values, and its description for messages."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """`holds(value)` says whether a value is allowed; `text` completes the sentence "KEY=VALUE: must be ..."."""

    holds: Callable[[Any], bool]
    text: str
    choices: tuple[str, ...] = ()  # the allowed words, if there are few
    whole: bool = False  # whether it is of whole numbers


def is_number(value: Any) -> bool:
    """Whether `value` is a finite int or float, but not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def at_least(low: float, meaning: str = "") -> Range:
    """Numbers of at least `low`; `meaning` says what `low` itself stands for."""
    text = f"at least {low:g} ({meaning})" if meaning else f"at least {low:g}"
    return Range(lambda value: is_number(value) and value >= low, text)


def whole(low: int, high: int = 2**31) -> Range:
    """Whole numbers from `low` to `high`, both included."""
    text = f"a whole number from {low} to {'2^31' if high == 2**31 else high}"
    return Range(lambda value: low <= value <= high and value == int(value), text, whole=True)


def one_of(*choices: str) -> Range:
    """One of a few words."""
    text = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return Range(lambda value: value in choices, text, choices)


def scheduled(inside: Callable[[float], bool], text: str) -> Range:
    """A number, or a schedule's node whose `start` and `end` lie in the range too."""

    def holds(value: Any) -> bool:
        if isinstance(value, dict):
            ends = [value[name] for name in ("start", "end") if name in value]
            return "_target_" in value and all(is_number(end) and inside(end) for end in ends)
        return is_number(value) and inside(value)

    return Range(holds, text)


NOT_NEGATIVE = scheduled(lambda x: x >= 0, "at least 0 or a schedule of such values")
ABOVE_ZERO = Range(lambda x: is_number(x) and x > 0, "a number above 0")
SHARE = scheduled(lambda x: 0 < x <= 1, "above 0 and at most 1, or a schedule of such values")
POSITIVE = scheduled(lambda x: x > 0, "a number above 0 or a schedule of such values")
_BETA = scheduled(lambda beta: 0 <= beta < 1, "from 0 up to, not including, 1")
BETAS = Range(
    lambda value: isinstance(value, list) and len(value) == 2 and all(map(_BETA.holds, value)),
    "two numbers from 0 up to, not including, 1",
)
SEED = Range(lambda seed: 0 <= seed < 2**63, "a whole number from 0 to 2^63-1", whole=True)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,99}")
NAME = Range(
    lambda name: name is None or bool(_NAME.fullmatch(name)),
    "1 to 100 letters, digits or . _ = , + - and begin with a letter or digit",
)
DEVICE = Range(
    lambda name: bool(re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", str(name))),
    "auto, cpu, cuda, cuda:N, xpu, xpu:N or mps",
    ("auto", "cpu", "cuda", "cuda:N", "xpu", "xpu:N", "mps"),
)
TRUNCATION = Range(lambda t: is_number(t) and 0 <= t <= 2, "from 0 (the mean image) to 2; 1 changes nothing")
WIDTH = Range(lambda width: 0 < width <= 16, "above 0 and at most 16")


_TAPS = ("64", "192", "768", "2048", "logits")
FEATURE = Range(lambda tap: str(tap) in _TAPS, "64, 192, 768, 2048 or logits", _TAPS)


def if_number(allowed: Range) -> Range:
    """Apply a range to numbers only. None and other types are left to the type check."""
    return Range(lambda value: not is_number(value) or allowed.holds(value), allowed.text)


METRIC_RANGES: dict[str, Range] = {
    **dict.fromkeys(
        ("num_samples", "fid_samples", "num_real", "splits", "kid_subsets", "pairwise", "batch_size"),
        if_number(at_least(1)),
    ),
    "kid_subset_size": if_number(at_least(2)),
    "standing_statistics": if_number(at_least(0, "0: running statistics")),
    "real_split": one_of("train", "test"),
    "truncation": if_number(Range(lambda t: 0 < t <= 1, "above 0 and at most 1 (1: no truncation)")),
    "seed": if_number(Range(lambda s: 0 <= s < 2**32, "a whole number from 0 to 2^32-1")),
}
"""Ranges of an evaluator's settings. It checks them too, as it can be used without a configuration."""
