"""What is put side by side: the recipes of one protocol, their figures at one step and at their best, and the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan_lab.config.messages import nearest
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import difference, higher_is_better, require_same
from gan_lab.report.groups import Recipe, group_runs, make_recipe
from gan_lab.report.runs import Run
from gan_lab.report.statistics import Comparison, Estimate, compare_all, mean_estimate, sample_sd


@dataclass(frozen=True)
class Cell:
    """A figure of a recipe over its seeds: `values` by seed; at best also the steps and numbers of evaluations."""

    values: dict[Any, float]
    steps: tuple[int, ...] = ()
    evaluations: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def sd(self) -> float:
        return float(sample_sd(list(self.values.values())))

    @property
    def estimate(self) -> Estimate:
        return mean_estimate(list(self.values.values()))

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))


@dataclass
class Section:
    """One protocol's comparison. `metric` and `step` are None where no run was evaluated."""

    recipes: list[Recipe]
    strays: list[Run]
    protocol_id: str | None
    protocol: dict[str, Any]
    metric: str | None = None
    step: int | None = None
    metrics: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        return [run for recipe in self.recipes for run in recipe.runs] + self.strays

    def at_step(self, recipe: Recipe, metric: str) -> Cell:
        """The figure at the section's step, of the seeds that have it there."""
        found = {seed: run.figures.at(metric) for seed, run in recipe.seeds.items()}
        return Cell({seed: at[self.step] for seed, at in found.items() if self.step in at})  # type: ignore[index]

    def lower_is_better(self, metric: str) -> bool:
        """Whether a smaller value of the figure is the better one, as the protocol says."""
        return not higher_is_better(self.protocol, metric)

    def at_best(self, recipe: Recipe, metric: str) -> Cell:
        """The figure's best over all evaluations of a run, of the same seeds as at the fixed step."""
        values, steps, evaluations = {}, [], []
        choose = min if self.lower_is_better(metric) else max
        for seed in self.at_step(recipe, metric).values:
            at = recipe.seeds[seed].figures.at(metric)
            step = choose(at, key=lambda s: at[s])
            values[seed] = at[step]
            steps.append(step)
            evaluations.append(len(at))
        return Cell(values, tuple(steps), tuple(evaluations))


def make_sections(
    runs: Sequence[Run], metric: str | None = None, step: int | None = None, separate: bool = False
) -> list[Section]:
    """The comparison of the runs: one section, or with `separate` one for each protocol.

    UserError for runs of several protocols without `separate`, for a metric that no run has, and for a step at
    which none was evaluated.
    """
    recipes, strays = group_runs(runs)
    families = _by_protocol(runs)
    if len(families) > 1 and not separate:
        _refuse(families)
    if len(families) < 2:
        parts = [(next(iter(families), None), recipes, strays)]
    else:
        parts = _split(recipes, strays, list(families))
    sections = []
    for protocol_id, members, rest in parts:
        found = families.get(protocol_id, []) if protocol_id is not None else []
        protocol = next((run.protocol for run in found if run.protocol), {})
        sections.append(Section(members, rest, protocol_id, protocol))
    names = sorted({key for s in sections for key in _metrics_of(s)})
    if metric is not None and metric not in names:
        raise UserError(f"metric={metric}: no run has this figure{nearest(metric, names)}")
    for section in sections:
        _fill(section, metric, step)
    steps = sorted({s for section in sections for run in section.runs for s in run.figures.at(section.metric or "")})
    if step is not None and step not in steps:
        raise UserError(f"step={step}: no run was evaluated there; there are evaluations at {_few(steps)}")
    return sections


def _by_protocol(runs: Sequence[Run]) -> dict[str, list[Run]]:
    families: dict[str, list[Run]] = {}
    for run in runs:
        if run.protocol_id is not None and len(run.figures.steps):
            families.setdefault(run.protocol_id, []).append(run)
    return families


def _refuse(families: Mapping[str, list[Run]]) -> None:
    """Say in what the protocols differ."""
    ways = "; or give protocols=separate for one section each"
    first, second = list(families.values())[:2]
    a, b = first[0], second[0]
    try:
        require_same({run.name: run.protocol for run in (a, b)})
    except UserError as error:
        raise UserError(f"{error}{ways}") from None
    assert not difference(a.protocol, b.protocol)
    raise UserError(
        f"figures of {a.name} and {b.name} cannot be compared, their protocols differ in hash: {a.protocol_id} "
        f"against {b.protocol_id}; evaluate both with scripts/evaluate.py under one protocol{ways}"
    )


def _split(
    recipes: list[Recipe], strays: list[Run], ids: list[str]
) -> list[tuple[str | None, list[Recipe], list[Run]]]:
    """Recipes by their runs' protocol. Runs that were never evaluated stay with their recipe, else come last."""
    parts: dict[str | None, list[Recipe]] = {i: [] for i in ids}
    for recipe in recipes:
        own = [run.protocol_id for run in recipe.runs if run.protocol_id in parts and len(run.figures.steps)]
        for protocol_id in dict.fromkeys(own or [None]):
            # One recipe under several protocols (a dataset that changed) becomes a recipe in each section.
            runs = [r for r in recipe.runs if r.protocol_id == protocol_id or r.protocol_id not in own]
            if protocol_id != (own or [None])[0]:
                runs = [r for r in runs if r.protocol_id == protocol_id]
            parts.setdefault(protocol_id, []).append(make_recipe(recipe.label, runs))
    if strays:
        parts.setdefault(None, [])
    return [(i, members, strays if i is None else []) for i, members in parts.items()]


def _metrics_of(section: Section) -> list[str]:
    """The figures of the section, most common first; those that rank nothing (is_std, kid_std) are left out."""
    count = Counter(key for run in section.runs for key in run.figures.values)
    keys = [key for key, _ in count.most_common()]
    return [key for key in keys if higher_is_better(section.protocol, key) is not None]


def _fill(section: Section, metric: str | None, step: int | None) -> None:
    """Choose metric and step, order the recipes by them, and test."""
    section.metrics = _metrics_of(section)
    if not section.metrics:
        return
    section.metric = metric if metric in section.metrics else _main_metric(section)
    section.metrics.sort(key=lambda key: key != section.metric)
    section.step = _choose_step(section, section.metric) if step is None else step
    sign = 1.0 if section.lower_is_better(section.metric) else -1.0

    def rank(recipe: Recipe) -> float:
        cell = section.at_step(recipe, section.metric or "")
        return sign * cell.mean if cell.n else np.inf

    section.recipes.sort(key=rank)
    figures = {i: section.at_step(r, section.metric).values for i, r in enumerate(section.recipes)}
    section.comparisons = compare_all(figures)


def _main_metric(section: Section) -> str:
    """The figure by which the runs chose their best checkpoint; else the first FID; else the first figure."""
    chosen: Counter[str] = Counter()
    for run in section.runs:
        best = run.summary.get("best")
        name = best.get("metric") if isinstance(best, dict) else None
        if name in section.metrics:
            chosen[name] += 1
    if chosen:
        return chosen.most_common(1)[0][0]
    return next((key for key in section.metrics if key.startswith("fid")), section.metrics[0])


def _choose_step(section: Section, metric: str) -> int | None:
    """The last step at which every run that counts was evaluated; where there is none, the most common one."""
    evaluated = [(run, set(run.figures.at(metric))) for recipe in section.recipes for run in recipe.seeds.values()]
    evaluated = [(run, steps) for run, steps in evaluated if steps - {0}] or [(r, s) for r, s in evaluated if s]
    count = Counter(step for _, steps in evaluated for step in steps)
    if not count:
        return None
    step = max(count, key=lambda s: (count[s] if s else 0, s))
    if count[step] < len(evaluated):
        section.warnings.append(
            f"No step is common to all runs: step {step:,} has the evaluations of {count[step]} of {len(evaluated)}."
        )
    unfinished = [run for run, steps in evaluated if run.status != "finished" and max(steps) == step]
    last = max(count)
    if last > step and unfinished:
        section.warnings.append(
            f"{len(unfinished)} of {len(evaluated)} runs are not finished and hold the comparison at step {step:,}; "
            f"step={last} compares the {count[last]} that got there."
        )
    return step


def _few(steps: list[int]) -> str:
    shown = [str(s) for s in steps]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:5], "...", *shown[-5:]]) or "no step"
