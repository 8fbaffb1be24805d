"""Ranges and cross-field rules of the configuration: plain Python on plain data, without torch."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

from gan_lab.config.compose import nearest
from gan_lab.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,99}")

Rule = tuple[str, Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _schedule(in_range: Callable[[float], bool]) -> Callable[[Any], bool]:
    """A rule for a value that may be a number or a schedule node; the node's ends are checked."""

    def rule(value: Any) -> bool:
        if isinstance(value, dict):
            return "_target_" in value and all(
                _number(value[k]) and in_range(value[k]) for k in ("start", "end") if k in value
            )
        return _number(value) and in_range(value)

    return rule


def _one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: value in choices


def _device(value: Any) -> bool:
    return bool(re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(value)))


def _betas(value: Any) -> bool:
    inside = _schedule(lambda b: 0 <= b < 1)
    return isinstance(value, list) and len(value) == 2 and all(inside(b) for b in value)


def _at_least(low: int) -> Callable[[Any], bool]:
    return lambda value: value >= low


def _if_number(in_range: Callable[[float], bool]) -> Callable[[Any], bool]:
    """A rule for a number; None, and what is of another type, is for the type check."""
    return lambda value: not _number(value) or in_range(value)


POSITIVE = _schedule(lambda x: x > 0)
NOT_NEGATIVE = _schedule(lambda x: x >= 0)

_COUNTS = ("num_samples", "fid_samples", "num_real", "splits", "kid_subsets", "pairwise", "batch_size")
METRIC_RULES: list[Rule] = [
    *((name, _if_number(lambda n: n >= 1), "must be at least 1") for name in _COUNTS),
    ("kid_subset_size", _if_number(lambda n: n >= 2), "must be at least 2"),
    ("real_split", _one_of("train", "test"), "must be train or test"),
    ("truncation", _if_number(lambda t: 0 < t <= 1), "must lie above 0 and at most 1 (1: no truncation)"),
    ("seed", _if_number(lambda s: 0 <= s < 2**32), "must be a whole number from 0 to 2^32-1"),
]
"""Settings of an evaluator, which checks them too, as it may be made without a configuration."""

RULES: list[Rule] = [
    ("seed", lambda s: 0 <= s < 2**63, "must be a whole number from 0 to 2^63-1"),
    ("name", lambda n: n is None or bool(_NAME.fullmatch(n)),
     "must be 1 to 100 letters, digits or . _ = , + - and begin with a letter or digit"),
    ("resume", _one_of("auto", "force", "never"), "must be auto, force or never"),
    ("width", lambda w: 0 < w <= 16, "must be above 0 and at most 16"),
    ("trainer.total_steps", _at_least(1), "must be at least 1"),
    ("trainer.batch_size", _at_least(1), "must be at least 1"),
    ("trainer.n_dis", _at_least(1), "must be at least 1"),
    ("trainer.eval_every_steps", _at_least(0), "must be at least 0 (0: only at the start and the end)"),
    ("trainer.checkpoint_every_steps", _at_least(0), "must be at least 0 (0: only at the end)"),
    ("trainer.sample_every_steps", _at_least(0), "must be at least 0 (0: only at the start and the end)"),
    ("trainer.log_every_steps", _at_least(1), "must be at least 1"),
    ("trainer.keep_checkpoints", _at_least(1), "must be at least 1"),
    ("trainer.threads", _at_least(0), "must be at least 0 (0: torch's own choice)"),
    ("trainer.keep_every_steps", _at_least(0), "must be at least 0 (0: only the last ones and the best)"),
    ("trainer.devices", _at_least(1), "must be at least 1"),
    ("trainer.rank_timeout_seconds", _at_least(1), "must be at least 1"),
    ("trainer.max_skipped_updates", _at_least(0), "must be at least 0 (0: stop at the first)"),
    ("monitor.level", _one_of("full", "light", "off"), "must be full, light or off"),
    ("monitor.every_steps", _at_least(1), "must be at least 1"),
    *((f"metrics.{name}", holds, requirement) for name, holds, requirement in METRIC_RULES),
    ("trainer.device", _device, "must be auto, cpu, cuda or cuda:N"),
    ("trainer.precision", _one_of("fp32", "tf32", "bf16"), "must be fp32, tf32 or bf16"),
    ("trainer.accelerate", _one_of("none", "graph", "compile", "auto"), "must be none, graph, compile or auto"),
    ("ema.halflife_images", NOT_NEGATIVE, "must be at least 0 (0: no averaging) or a schedule of such values"),
    ("ema.rampup", lambda r: 0 <= r < math.inf, "must be at least 0 (0: no ramp-up)"),
    ("optimizer.lr_scale", NOT_NEGATIVE, "must be at least 0 or a schedule of such values"),
    ("optimizer.g.lr", POSITIVE, "must be a number above 0 or a schedule of such values"),
    ("optimizer.d.lr", POSITIVE, "must be a number above 0 or a schedule of such values"),
    ("optimizer.g.betas", _betas, "must be two numbers from 0 up to, not including, 1"),
    ("optimizer.d.betas", _betas, "must be two numbers from 0 up to, not including, 1"),
]  # fmt: skip


def _get(tree: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(tree, dict) or part not in tree:
            return _get  # absent: a marker no configuration can contain
        tree = tree[part]
    return tree


def check_rules(tree: dict[str, Any]) -> None:
    """Raise UserError for the first setting out of its range or at odds with another."""
    for key, holds, requirement in RULES:
        value = _get(tree, key)
        if value is not _get and not holds(value):
            choices = requirement.removeprefix("must be ").replace(" or ", ", ").split(", ")
            hint = nearest(value, choices) if isinstance(value, str) and key != "name" else ""
            raise UserError(f"{key}={value!r}: {requirement}{hint if 'did you mean' in hint else ''}")
    for name, node in tree["penalty"].items():
        if isinstance(node, dict) and "weight" in node and not NOT_NEGATIVE(node["weight"]):
            raise UserError(f"penalty.{name}.weight={node['weight']!r}: must be at least 0 or a schedule")
    _cross_field(tree)


def _cross_field(tree: dict[str, Any]) -> None:
    trainer, metrics = tree["trainer"], tree["metrics"] or {}
    if trainer["precision"] == "tf32" and trainer["device"] == "cpu":
        raise UserError("trainer.precision=tf32 needs a GPU but trainer.device=cpu; use fp32 or bf16")
    if tree["dataset"].get("name") == "folder" and not tree["dataset"].get("path"):
        raise UserError("dataset=folder needs dataset.path=, a folder or ZIP of images")
    devices = trainer["devices"]
    if trainer["batch_size"] % devices:
        raise UserError(f"trainer.batch_size={trainer['batch_size']} cannot be shared equally by "
                        f"trainer.devices={devices}; choose a multiple")  # fmt: skip
    samples = metrics.get("num_samples")
    if isinstance(samples, int) and not isinstance(samples, bool) and samples < 2:
        raise UserError(f"metrics.num_samples={samples}: must be at least 2")
