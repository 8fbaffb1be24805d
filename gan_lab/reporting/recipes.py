"""Group runs into recipes (equal configurations, except for the seed and where they ran), and name the recipes."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gan_lab.config.changes import RUNTIME_SETTINGS
from gan_lab.config.options import GROUPS, config_dir
from gan_lab.config.schema import PATH_KEYS
from gan_lab.config.tree import flatten
from gan_lab.reporting.runs import STATUSES, Run

NOT_RECIPE = RUNTIME_SETTINGS | {"seed"}
"""Settings that may differ between the runs of one recipe."""
LONGEST = 90
_NO_OPTION_MATCHES = 4  # if more settings differ from an option, its name would mislead

Settings = Mapping[str, Any]


@dataclass(eq=False)
class Recipe:
    """The runs of one recipe. seeds: seed -> the run that counts for it."""

    label: str
    runs: list[Run]
    seeds: dict[Any, Run] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def statuses(self) -> dict[str, int]:
        """Return status -> number of runs, in a fixed order."""
        found = [run.status for run in self.runs]
        return {status: found.count(status) for status in STATUSES if status in found}

    def collapse_events(self) -> int:
        """Return the number of finished runs that have a collapse event."""
        return sum(run.status == "finished" and run.collapses > 0 for run in self.runs)

    def mean_of(self, attribute: str) -> float | None:
        """Return the mean of an attribute over the runs that have it and did not fail."""
        numbers = [n for run in self.runs if run.counts and (n := getattr(run, attribute)) is not None]
        return float(np.mean(numbers)) if numbers else None


def group_runs(runs: Sequence[Run]) -> tuple[list[Recipe], list[Run]]:
    """Group runs into recipes, in order of appearance. Returns them and the runs without a recipe.

    A run without a readable configuration joins the recipe that has the same command-line overrides.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.config is not None:
            key = json.dumps(recipe_settings(run.config), sort_keys=True, default=str)
            groups.setdefault(key, []).append(run)
    by_command = {_command_key(run): group for group in groups.values() for run in group if run.overrides is not None}
    strays: list[Run] = []
    for run in runs:
        if run.config is None:
            by_command.get(_command_key(run), strays).append(run)
    labels = name_recipes(
        [group[0].config or {} for group in groups.values()],
        [next((_command(run) for run in group if run.overrides is not None), None) for group in groups.values()],
    )
    return [make_recipe(label, group) for label, group in zip(labels, groups.values(), strict=True)], strays


def _command(run: Run) -> dict[str, str]:
    """Return the overrides that define a recipe."""
    given = (run.overrides or {}).items()
    return {k: v for k, v in given if k not in NOT_RECIPE and not re.match(r"hydra\b", k)}


def _command_key(run: Run) -> frozenset[tuple[str, str]] | None:
    return None if run.overrides is None else frozenset(_command(run).items())


def make_recipe(label: str, runs: list[Run]) -> Recipe:
    """Make a recipe. Runs with the same seed are not independent: only a finished one, else the longest, counts."""
    recipe = Recipe(label, runs)
    for run in [run for run in runs if run.counts]:
        other = recipe.seeds.setdefault(run.seed, run)
        if other is not run:
            recipe.seeds[run.seed] = max(other, run, key=lambda r: (r.status == "finished", r.step))
            recipe.warnings.append(
                f"{label}: {other.name} and {run.name} have one seed, {run.seed}; the one that came further counts"
            )
    return recipe


def recipe_settings(config: Settings) -> dict[str, Any]:
    """Return the leaf settings that define a recipe; of paths the last part, as they differ between machines."""
    leaves = flatten(dict(config))
    kept = {k: v for k, v in leaves.items() if k not in NOT_RECIPE and k.partition(".")[0] not in NOT_RECIPE}
    return kept | {k: Path(v).name for k, v in kept.items() if k in PATH_KEYS and isinstance(v, str)}


def name_recipes(configs: Sequence[Settings], overrides: Sequence[Mapping[str, str] | None]) -> list[str]:
    """Return a unique label for each recipe: from the overrides if every recipe has them, else from the settings.

    configs: the recipes' settings as nested mappings. overrides: those of their command lines. A single recipe has its
    own name where the command is long.
    """
    if len(configs) == 1:
        given = " ".join(f"{k}={v}" for k, v in (overrides[0] or {}).items() if k not in PATH_KEYS)
        return [given if 0 < len(given) <= LONGEST else str(configs[0].get("recipe") or "the recipe")]
    commands = [command for command in overrides if command is not None]
    labels = _differences(commands)
    if len(commands) < len(configs) or len(set(labels)) < len(labels):
        labels = _differences(_named_options([dict(c) for c in configs]))
    numbered = [f"{label} ({labels[: i + 1].count(label)})" for i, label in enumerate(labels)]
    return [n if labels.count(label) > 1 else label for n, label in zip(numbered, labels, strict=True)]


def _differences(settings: Sequence[Settings]) -> list[str]:
    """Return a text for each mapping: its settings that are not the same in all mappings."""
    keys = list(dict.fromkeys(key for s in settings for key in s))
    differ = [k for k in keys if len({_text(s[k]) if k in s else None for s in settings}) > 1]
    return [_join([f"{k}={_text(s[k])}" for k in differ if k in s]) or "default" for s in settings]


def _join(words: list[str]) -> str:
    text = " ".join(" ".join(words).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _text(value: Any) -> str:
    """Format a value as on the command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, default=str).replace('"', "").replace(", ", ",")


def _named_options(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return leaf settings in which groups that differ (norm, loss, ...) are replaced by the name of their option."""
    flat = [recipe_settings(c) for c in configs]
    for group in GROUPS:
        if group in ("recipe", "optimizer") or not any(isinstance(c.get(group), dict) for c in configs):
            continue
        found = [option for c in configs if (option := _option(group, c.get(group))) is not None]
        if len(found) < len(configs) or len({name for name, _ in found}) == 1:
            continue
        for i, (name, changed) in enumerate(found):
            others = {k: v for k, v in flat[i].items() if k != group and not k.startswith(f"{group}.")}
            flat[i] = others | {group: name} | {f"{group}.{key}": value for key, value in changed.items()}
    return flat


def _option(group: str, node: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the option of conf/<group>/ that a node comes from, and the settings in which the node differs from it."""
    if not isinstance(node, dict):
        return ("none", {}) if node is None else None
    if group == "penalty":
        return ("+".join(node) or "none"), {}
    leaves, fitting = flatten(node), []
    for name, theirs in _options(group).items():
        changed = {k: v for k, v in leaves.items() if k not in theirs or not _same(v, theirs[k])}
        targets = [k for k in {**leaves, **theirs} if k.endswith("_target_")]
        if len(changed) <= _NO_OPTION_MATCHES and all(leaves.get(k) == theirs.get(k) for k in targets):
            fitting.append((name, changed))
    return min(fitting, key=lambda option: len(option[1]), default=None)


def _same(value: Any, written: Any) -> bool:
    """Return whether a resolved value may come from this value of a file in conf/."""
    return value == written or (isinstance(written, str) and ("${" in written or written == "???"))


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """Return option -> leaf settings of conf/<group>/."""
    options = {}
    for path in sorted((config_dir() / group).glob("*.yaml")):
        try:
            node = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError):
            continue
        if node is None or isinstance(node, dict):
            options[path.stem] = flatten(node or {})
    return options
