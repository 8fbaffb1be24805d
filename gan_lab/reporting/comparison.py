"""Compare recipes: their metrics over seeds, at one step and at best, and statistical tests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan_lab.config.messages import nearest
from gan_lab.config.tree import select
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import higher_is_better, protocol_hash, require_same
from gan_lab.reporting.metrics import Metric, describe
from gan_lab.reporting.recipes import Recipe, group_runs, make_recipe
from gan_lab.reporting.runs import Run
from gan_lab.reporting.statistics import (
    ALPHA,
    UNBOUNDED,
    Bounds,
    Estimate,
    PairTest,
    compare_all,
    mean_estimate,
    sample_sd,
    seeds_to_settle,
)

_DRAWN = "fake_labels"
"""The entry of a protocol that says how the classes of fakes were drawn; only generators with classes have it."""


@dataclass(frozen=True)
class OverSeeds:
    """A metric of a recipe: seed -> value. evaluations: for values at best, how many each was chosen from."""

    values: dict[Any, float]
    bounds: Bounds = UNBOUNDED
    evaluations: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def sd(self) -> float:
        return float(sample_sd(list(self.values.values())))

    @property
    def estimate(self) -> Estimate:
        return mean_estimate(list(self.values.values()), bounds=self.bounds)

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))


@dataclass
class Comparison:
    """The recipes of one protocol, best first. `metric` and `step` are None if no run was evaluated.

    strays: runs without a recipe. metrics: the main one first. share: the report also computes how many seeds a test
    needs to find a difference of this share of the leader's mean.
    """

    recipes: list[Recipe]
    strays: list[Run]
    protocol_id: str | None
    protocol: dict[str, Any]
    metrics: list[Metric] = field(default_factory=list)
    metric: Metric | None = None
    step: int | None = None
    tests: list[PairTest] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    share: float | None = None

    @property
    def runs(self) -> list[Run]:
        return [run for recipe in self.recipes for run in recipe.runs] + self.strays

    def at_step(self, recipe: Recipe, metric: Metric) -> OverSeeds:
        """Return the metric at the comparison's step, for all seeds that have it there."""
        found = {seed: run.figures.at(metric.key) for seed, run in recipe.seeds.items()}
        return OverSeeds({s: at[self.step] for s, at in found.items() if self.step in at}, metric.bounds)

    def at_best(self, recipe: Recipe, metric: Metric) -> OverSeeds:
        """Return the best of each run's evaluations after step 0, for the same seeds as `at_step`."""
        found = {s: recipe.seeds[s].figures.at(metric.key) for s in self.at_step(recipe, metric).values}
        best = {s: b for s, at in found.items() if (b := metric.best(at)) is not None}
        values = {s: b.value for s, b in best.items()}
        return OverSeeds(values, metric.bounds, tuple(b.evaluations for b in best.values()))

    def label(self, index: Any) -> str:
        """Return the name of the recipe with this index in a test."""
        return self.recipes[index].label

    @property
    def leaders_tests(self) -> list[PairTest]:
        """The tests of the first recipe against each other one."""
        return [t if t.a == 0 else t.swapped() for t in self.tests if 0 in (t.a, t.b)]

    @property
    def smallest_difference(self) -> float | None:
        """The difference that is `share` of the leader's mean."""
        leaders = self.tests and self.metric and self.at_step(self.recipes[0], self.metric)
        return abs(self.share * leaders.mean) if self.share and leaders else None

    def seeds_needed(self, test: PairTest, difference: float | None = None) -> int | None:
        """Return the seeds per recipe that a test needs to find this difference (None: the measured one).

        The spread is the measured one. The level is corrected for the number of pairs (Bonferroni, stricter than Holm).
        """
        wanted = float(test.estimate.value) if difference is None else difference
        return seeds_to_settle(wanted, test.sds, ALPHA / len(self.tests))


def compare_runs(
    runs: Sequence[Run],
    metric: str | None = None,
    step: int | None = None,
    separate: bool = False,
    share: float | None = None,
) -> list[Comparison]:
    """Make one comparison of all runs, or with `separate` one for each protocol.

    UserError for runs of several protocols without `separate`, for a metric that no run has, and for a step at which no
    run was evaluated.
    """
    recipes, strays = group_runs(runs)
    comparable = _comparable_protocols(runs)
    by_protocol: dict[str, list[Run]] = {}
    for run in runs:
        if run.protocol_id is not None and len(run.figures.steps):
            by_protocol.setdefault(comparable[run.protocol_id], []).append(run)
    if len(by_protocol) > 1 and not separate:
        _refuse(by_protocol)
    single = {next(iter(by_protocol), None): recipes}
    parts = single if len(by_protocol) < 2 else _split(recipes, strays, list(by_protocol), comparable)
    found = []
    for i, (protocol_id, members) in enumerate(parts.items()):
        protocol = next((r.protocol for r in runs if r.protocol_id == protocol_id and r.protocol), {})
        rest = strays if i == len(parts) - 1 else []
        comparison = Comparison(members, rest, protocol_id, protocol, share=share)
        comparison.metrics = _metrics(comparison)
        found.append(comparison)
    names = sorted({m.key for c in found for m in c.metrics})
    if metric is not None and metric not in names:
        raise UserError(f"metric={metric}: no run has this figure{nearest(metric, names)}")
    for comparison in found:
        _compare(comparison, metric, step)
    steps = sorted({s for c in found if c.metric for run in c.runs for s in run.figures.at(c.metric.key)})
    if step is not None and step not in steps:
        few = steps if len(steps) <= 12 else [*steps[:5], "...", *steps[-5:]]
        there = ", ".join(map(str, few)) or "no step"
        raise UserError(f"step={step}: no run was evaluated there; there are evaluations at {there}")
    return found


def _comparable_protocols(runs: Sequence[Run]) -> dict[str | None, str]:
    """Map each protocol's hash to that of the protocol under which its figures are compared.

    It is another one for generators without classes: of runs with classes whose protocol is the same but for how the
    classes of fakes were drawn. A generator without classes has none to draw.
    """
    found: dict[str | None, str] = {run.protocol_id: run.protocol_id for run in runs if run.protocol_id is not None}
    for run in runs:
        if run.protocol_id is not None and _DRAWN in run.protocol:
            found[protocol_hash({key: value for key, value in run.protocol.items() if key != _DRAWN})] = run.protocol_id
    return found


def _refuse(by_protocol: Mapping[str, list[Run]]) -> None:
    """Raise UserError that says how the protocols differ."""
    ways = "; or give protocols=separate for one section each"
    a, b = (runs[0] for runs in list(by_protocol.values())[:2])
    try:
        require_same({run.name: run.protocol for run in (a, b)})
    except UserError as error:
        raise UserError(f"{error}{ways}") from None
    raise UserError(
        f"figures of {a.name} and {b.name} cannot be compared, their protocols differ in hash: {a.protocol_id} "
        f"against {b.protocol_id}; evaluate both with gan-lab evaluate under one protocol{ways}"
    )


def _split(
    recipes: list[Recipe], strays: list[Run], ids: list[str], comparable: Mapping[str | None, str]
) -> dict[str | None, list[Recipe]]:
    """Split recipes by protocol. Runs without evaluations stay with their recipe; recipes of such runs come last."""

    def under(run: Run) -> str | None:
        return comparable.get(run.protocol_id)

    parts: dict[str | None, list[Recipe]] = {i: [] for i in ids}
    for recipe in recipes:
        own = [under(run) for run in recipe.runs if under(run) in parts and len(run.figures.steps)]
        for i, protocol_id in enumerate(dict.fromkeys(own or [None])):
            # One recipe under several protocols (a dataset that changed) becomes a recipe in each comparison.
            runs = [r for r in recipe.runs if under(r) == protocol_id or (i == 0 and under(r) not in own)]
            parts.setdefault(protocol_id, []).append(make_recipe(recipe.label, runs))
    if strays:
        parts.setdefault(None, [])
    return parts


def _metrics(comparison: Comparison) -> list[Metric]:
    """Return the metrics of the runs, most common first. Figures without a direction (is_std, kid_std) are left out."""
    count = Counter(key for run in comparison.runs for key in run.figures.values)
    found = []
    for key, _ in count.most_common():
        higher = higher_is_better(comparison.protocol, key)
        if higher is not None:
            values = [v for run in comparison.runs for v in run.figures.at(key).values()]
            found.append(describe(key, values, higher))
    return found


def _compare(comparison: Comparison, metric: str | None, step: int | None) -> None:
    """Choose metric and step, sort the recipes by them, and run the tests."""
    if not comparison.metrics:
        return
    main = _main_metric(comparison, metric)
    comparison.metric = main
    comparison.metrics.sort(key=lambda m: m is not main)
    comparison.step = _common_step(comparison, main) if step is None else step

    def rank(recipe: Recipe) -> float:
        found = comparison.at_step(recipe, main)
        return np.inf if not found.n else -found.mean if main.higher_is_better else found.mean

    comparison.recipes.sort(key=rank)
    comparison.tests = compare_all({i: comparison.at_step(r, main).values for i, r in enumerate(comparison.recipes)})


def _main_metric(comparison: Comparison, wanted: str | None) -> Metric:
    """Return the wanted metric, else the one that chose the best checkpoints, else the first FID, else the first."""
    by_key = {m.key: m for m in comparison.metrics}
    best = [select(run.summary, "best.metric") for run in comparison.runs]
    chosen = Counter(name for name in best if isinstance(name, str))
    keys = [wanted, *(key for key, _ in chosen.most_common()), *(key for key in by_key if key.startswith("fid"))]
    return next((by_key[key] for key in keys if key in by_key), comparison.metrics[0])


def _common_step(comparison: Comparison, metric: Metric) -> int | None:
    """Return the last step at which every run that counts was evaluated, else the most common step."""
    counting = [run for recipe in comparison.recipes for run in recipe.seeds.values()]
    evaluated = [(run, at) for run in counting if (at := set(run.figures.at(metric.key)))]
    trained = [(run, at - {0}) for run, at in evaluated if at - {0}]
    evaluated = trained or evaluated
    count = Counter(step for _, at in evaluated for step in at)
    if not count:
        return None
    step = max(count, key=lambda s: (count[s], s))
    if count[step] < len(evaluated):
        comparison.warnings.append(
            f"No step is common to all runs: step {step:,} has the evaluations of {count[step]} of {len(evaluated)}."
        )
    last = max(count)
    holding = [run for run, at in evaluated if max(at) == step] if last > step else []
    unfinished = [run for run in holding if run.status != "finished"]
    if unfinished:
        comparison.warnings.append(
            f"{len(unfinished)} of {len(evaluated)} runs have not got to step {last:,}: all are compared at step "
            f"{step:,}; step={last} compares the {count[last]} that got there."
        )
    elif holding:
        comparison.warnings.append(
            f"{len(holding)} of {len(evaluated)} runs have no {metric.key} after step {step:,}, at which all are "
            f"compared, {holding[0].name} among them; step={last} compares the {count[last]} that have one there."
        )
    return step
