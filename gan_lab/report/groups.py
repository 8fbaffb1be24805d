"""Recipes: runs whose configurations are the same up to the seed and to where they were computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan_lab.report.labels import NOT_RECIPE, name_recipes, recipe_settings
from gan_lab.report.runs import STATUSES, Run


@dataclass
class Recipe:
    """The runs of one recipe. `seeds` holds the runs whose figures count, one for each seed."""

    label: str
    runs: list[Run]
    seeds: dict[Any, Run] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def statuses(self) -> dict[str, int]:
        """How many runs came to each end, in a fixed order."""
        found = [run.status for run in self.runs]
        return {status: found.count(status) for status in STATUSES if status in found}

    def collapse_events(self) -> int:
        """Finished runs in which a collapse was noticed on the way."""
        return sum(
            run.status == "finished" and any(e.get("severity") == "collapse" for e in run.events) for run in self.runs
        )

    def mean_of(self, attribute: str) -> float | None:
        """Mean of a number over the runs that have it and did not fail."""
        numbers = [getattr(run, attribute) for run in self.runs if run.counts]
        numbers = [n for n in numbers if n is not None]
        return float(np.mean(numbers)) if numbers else None


def group_runs(runs: Sequence[Run]) -> tuple[list[Recipe], list[Run]]:
    """The recipes of the runs, in order of appearance, and the runs that belong to none.

    A run without a readable configuration is counted with the recipe that has the same command-line overrides.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.config is not None:
            members.setdefault(recipe_key(run.config), []).append(run)
    commands = {_command(run): key for key, group in members.items() for run in group if run.overrides is not None}
    strays: list[Run] = []
    for run in runs:
        if run.config is None:
            key = commands.get(_command(run)) if run.overrides is not None else None
            (strays if key is None else members[key]).append(run)
    groups = list(members.values())
    if not groups:
        return [], strays
    labels = name_recipes(
        [_config(group) or {} for group in groups],
        [next((_kept(run.overrides) for run in group if run.overrides is not None), None) for group in groups],
    )
    return [make_recipe(label, group) for label, group in zip(labels, groups, strict=True)], strays


def recipe_key(config: Mapping[str, Any]) -> str:
    """Text that is equal exactly where two configurations are the same recipe."""
    return json.dumps(recipe_settings(config), sort_keys=True, default=str)


def _config(group: list[Run]) -> dict[str, Any] | None:
    return next((run.config for run in group if run.config is not None), None)


def _kept(overrides: Mapping[str, str] | None) -> dict[str, str]:
    """Overrides that describe a recipe."""
    return {
        k: v for k, v in (overrides or {}).items() if k not in NOT_RECIPE and k.split(".")[0].split("/")[0] != "hydra"
    }


def _command(run: Run) -> str:
    return json.dumps(_kept(run.overrides), sort_keys=True)


def make_recipe(label: str, runs: list[Run]) -> Recipe:
    """The recipe, with one run for each seed: equal runs are not independent, the one that came further counts."""
    recipe = Recipe(label, runs)
    for run in runs:
        if not run.counts:
            continue
        other = recipe.seeds.get(run.seed)
        if other is not None:
            recipe.warnings.append(
                f"{label}: {other.name} and {run.name} have one seed, {run.seed}; the one that came further counts"
            )
        if other is None or (run.status == "finished", run.step) > (other.status == "finished", other.step):
            recipe.seeds[run.seed] = run
    return recipe
