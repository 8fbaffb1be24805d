"""Group runs into recipes (equal configurations, except for the seed and where they ran), and name the recipes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.config.changes import DECIDES, INTERVAL, RUNTIME_SETTINGS
from gan_lab.config.options import GROUPS
from gan_lab.config.schema import PATH_KEYS
from gan_lab.config.tree import flatten
from gan_lab.reporting.named import contradiction, option
from gan_lab.reporting.runs import STATUSES, Run

NOT_RECIPE = RUNTIME_SETTINGS | {"seed"}
"""Settings that may differ between the runs of one recipe."""
WATCHING = frozenset(key for key, what in DECIDES.items() if what == INTERVAL) | {"monitor"}
"""Settings of what is measured and how often. They compute nothing, unless a detected collapse ends the run."""
LONGEST = 90
_ABSENT = object()

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

    A run without a readable configuration joins the recipe that has the same command-line overrides. Overrides that
    contradict the configuration name nothing: the command was refused, or settings have changed since.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.config is not None:
            key = json.dumps(recipe_settings(run.config), sort_keys=True, default=str)
            groups.setdefault(key, []).append(run)
    members = [run for group in groups.values() for run in group]
    commands = {run: command for run in members if (command := _true_command(run)) is not None}
    by_command = {_key(commands[run]): group for group in groups.values() for run in group if run in commands}
    strays: list[Run] = []
    for run in runs:
        if run.config is None:
            by_command.get(_key(_command(run)), strays).append(run)
    labels = name_recipes(
        [group[0].config or {} for group in groups.values()],
        [next((commands[run] for run in group if run in commands), None) for group in groups.values()],
    )
    return [make_recipe(label, group) for label, group in zip(labels, groups.values(), strict=True)], strays


def _command(run: Run) -> dict[str, str] | None:
    """Return the overrides that define a recipe; None if the run has no file of them."""
    given = run.overrides
    if given is None:
        return None
    ignored = _ignored(given.get("stop_on_collapse", "").lower() == "true") | {"hydra"}
    return {k: v for k, v in given.items() if not _is_among(k, ignored)}


def _true_command(run: Run) -> dict[str, str] | None:
    command = _command(run)
    return None if command is None or contradiction(command, run.config or {}) else command


def _key(command: Mapping[str, str] | None) -> frozenset[tuple[str, str]] | None:
    return None if command is None else frozenset(command.items())


def _ignored(stops: bool) -> frozenset[str]:
    """Return the settings that make no recipe. stops: whether a detected collapse ends the run."""
    return NOT_RECIPE if stops else NOT_RECIPE | WATCHING


def _is_among(key: str, names: frozenset[str]) -> bool:
    """Whether a dotted key or its section (`hydra/launcher` is of `hydra`) is among the names."""
    return key in names or key.partition(".")[0].partition("/")[0] in names


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
    ignored = _ignored(leaves.get("stop_on_collapse") is True)
    kept = {k: v for k, v in leaves.items() if not _is_among(k, ignored)}
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
        found = [named for c in configs if (named := option(group, c.get(group))) is not None]
        if len(found) < len(configs) or len({name for name, _ in found}) == 1:
            continue
        if group == "penalty":
            found = _told_apart([name for name, _ in found], [flatten(c.get(group) or {}) for c in configs])
        for i, (name, changed) in enumerate(found):
            others = {k: v for k, v in flat[i].items() if k != group and not k.startswith(f"{group}.")}
            flat[i] = others | {group: name} | {f"{group}.{key}": value for key, value in changed.items()}
    return flat


def _told_apart(names: list[str], nodes: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return each name with the settings of its node in which it differs from another node of the same name."""
    out = []
    for name, node in zip(names, nodes, strict=True):
        others = [other for n, other in zip(names, nodes, strict=True) if n == name]
        differing = {k: v for k, v in node.items() if any(other.get(k, _ABSENT) != v for other in others)}
        out.append((name, {k: v for k, v in differing.items() if k}))
    return out
