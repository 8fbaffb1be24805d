"""The settings of the detection of collapse: their defaults, and which overrides make sense."""

from collections.abc import Mapping
from typing import Any

from gan_lab.config.messages import nearest
from gan_lab.config.ranges import ABOVE_ZERO
from gan_lab.errors import UserError

DEFAULTS: dict[str, float] = {
    "metric_factor": 1.5,
    "metric_loss": 0.01,
    "metric_gain": 1.5,
    "metric_patience": 3,
    "progress_patience": 4,
    "progress_steps": 2000,
    "spread_factor": 0.3,
    "spread_floor": 2 / 255,
    "still_ratio": 1e-6,
    "measured_patience": 2,
    "separation": 4.0,
    "starve_factor": 0.1,
    "beaten": 3.0,
    "flat_tolerance": 1e-3,
    "vanish_factor": 0.03,
    "explode_factor": 100.0,
    "logit_limit": 1e4,
    "row_patience": 5,
    "warmup_rows": 5,
    "non_finite_patience": 3,
}
"""Settings; `monitor.detection` overrides them."""
_WHOLE = ("_patience", "_steps", "_rows")  # endings of settings that must be whole numbers
_ABOVE_1 = ("metric_factor", "metric_gain", "explode_factor")
_BELOW_1 = ("metric_loss", "spread_factor", "still_ratio", "starve_factor", "vanish_factor")


def checked(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the overrides as numbers. UserError for an unknown key or a value out of range."""
    for name, number in settings.items():
        key = f"monitor.detection.{name}"
        if name not in DEFAULTS:
            raise UserError(f"unknown key '{key}'{nearest(name, DEFAULTS)}")
        if not ABOVE_ZERO.holds(number):
            raise UserError(f"{key}={number!r}: must be {ABOVE_ZERO.text}")
        if name.endswith(_WHOLE) and number != int(number):
            raise UserError(f"{key}={number!r}: must be a whole number")
        if (name in _ABOVE_1 and number <= 1) or (name in _BELOW_1 and number >= 1):
            raise UserError(f"{key}={number!r}: must be {'above' if name in _ABOVE_1 else 'below'} 1")
    return {name: float(number) for name, number in settings.items()}
