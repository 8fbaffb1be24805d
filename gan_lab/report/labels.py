"""Short names for recipes: what differs between them, in the words of the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gan_lab.config.compose import GROUPS, config_dir

# Settings that may differ between the runs of one recipe: the seed, and where and how a run was computed.
NOT_RECIPE = frozenset(
    {"seed", "name", "run_dir", "data_dir", "resume", "trainer.device", "trainer.devices", "trainer.threads"}
    | {"trainer.keep_checkpoints", "trainer.keep_every_steps", "trainer.rank_timeout_seconds"}
)
LONGEST = 90
_NO_OPTION_MATCHES = 4  # with more settings changed than these, an option's name would mislead

Settings = Mapping[str, Any]


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted leaf settings of a nested mapping; an empty mapping is a leaf, too."""
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node}
    leaves: dict[str, Any] = {}
    for key, child in node.items():
        leaves |= flatten(child, f"{prefix}{key}.")
    return leaves


def recipe_settings(config: Settings) -> dict[str, Any]:
    """The leaf settings that make a recipe."""
    return {k: v for k, v in flatten(dict(config)).items() if k not in NOT_RECIPE}


def name_recipes(configs: Sequence[Settings], overrides: Sequence[Mapping[str, str] | None]) -> list[str]:
    """One label per recipe, all different: from the overrides where every recipe has them, else from the settings.

    configs: the recipes' settings as nested mappings; overrides: what was given on their command lines.
    """
    if len(configs) == 1:
        given = overrides[0] or {}
        return [_join([f"{k}={v}" for k, v in given.items()]) or str(configs[0].get("recipe") or "the recipe")]
    if all(o is not None for o in overrides):
        labels = _differences([dict(o or {}) for o in overrides])
        if len(set(labels)) == len(labels):
            return labels
    return _told_apart(_differences(_named_options([dict(c) for c in configs])))


def _differences(settings: Sequence[Settings]) -> list[str]:
    """Per mapping, its settings that are not the same in all of them."""
    keys = list(dict.fromkeys(key for s in settings for key in s))
    differ = [k for k in keys if len({_text(s[k]) if k in s else None for s in settings}) > 1]
    return [_join([f"{k}={_text(s[k])}" for k in differ if k in s]) or "default" for s in settings]


def _join(words: list[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _text(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, default=str).replace('"', "").replace(", ", ",")


def _told_apart(labels: list[str]) -> list[str]:
    """Equal labels get a number."""
    out: list[str] = []
    for i, label in enumerate(labels):
        out.append(f"{label} ({labels[: i + 1].count(label)})" if labels.count(label) > 1 else label)
    return out


def _named_options(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leaf settings in which each group whose option differs (norm, loss, ...) is named by its option."""
    flat = [recipe_settings(c) for c in configs]
    for group in GROUPS:
        if group in ("recipe", "optimizer") or not any(isinstance(c.get(group), dict) for c in configs):
            continue
        found = [_option(group, c.get(group)) for c in configs]
        if any(f is None for f in found) or len({f[0] for f in found if f}) == 1:
            continue
        for leaves, choice in zip(flat, found, strict=True):
            assert choice is not None
            for key in [k for k in leaves if k == group or k.startswith(f"{group}.")]:
                del leaves[key]
            leaves[group] = choice[0]
            leaves |= {f"{group}.{key}": value for key, value in choice[1].items()}
    return flat


def _option(group: str, node: Any) -> tuple[str, dict[str, Any]] | None:
    """The option of conf/<group>/ that a node comes from, and the node's settings that are not the option's."""
    if not isinstance(node, dict):
        return ("none", {}) if node is None else None
    if group == "penalty":
        return ("+".join(node) or "none"), {}
    leaves = flatten(node)
    best: tuple[str, dict[str, Any]] | None = None
    for name, theirs in _options(group).items():
        if any(k.endswith("_target_") and leaves.get(k) != theirs.get(k) for k in {**leaves, **theirs}):
            continue
        changed = {k: v for k, v in leaves.items() if k not in theirs or not _same(v, theirs[k])}
        if len(changed) <= _NO_OPTION_MATCHES and (best is None or len(changed) < len(best[1])):
            best = name, changed
    return best


def _same(value: Any, written: Any) -> bool:
    """Whether a resolved value may have come from what a file of conf/ says."""
    return value == written or (isinstance(written, str) and ("${" in written or written == "???"))


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """Option -> its leaf settings, of conf/<group>/; nothing where the files are not there."""
    options = {}
    for path in sorted(Path(config_dir() / group).glob("*.yaml")):
        try:
            node = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError):
            continue
        if node is None or isinstance(node, dict):
            options[path.stem] = flatten(node or {})
    return options
