"""Compare recipes: their metrics over seeds, at one step and at best, and statistical tests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gan_lab.config.messages import nearest
from gan_lab.config.ranges import is_number
from gan_lab.config.tree import select
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import higher_is_better
from gan_lab.reporting.formatting import listed
from gan_lab.reporting.metrics import Best, Metric, describe
from gan_lab.reporting.protocols import comparable_protocols, refuse, split, with_later_figures
from gan_lab.reporting.recipes import Recipe, group_runs
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


@dataclass(frozen=True)
class OverSeeds:
    """A metric of a recipe: seed -> value. evaluations: for values at best, how many each was chosen from.

    fewest: with fewer seeds there is no interval.
    """

    values: dict[Any, float]
    bounds: Bounds = UNBOUNDED
    evaluations: tuple[int, ...] = ()
    fewest: int = 2

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def sd(self) -> float:
        return float(sample_sd(list(self.values.values())))

    @property
    def estimate(self) -> Estimate:
        found = mean_estimate(list(self.values.values()), bounds=self.bounds)
        return found if self.n >= self.fewest else replace(found, low=np.nan, high=np.nan)

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
        values = {s: at[self.step] for s, at in found.items() if self.step in at}
        return OverSeeds(values, metric.bounds, fewest=metric.fewest_for_interval)

    def at_best(self, recipe: Recipe, metric: Metric) -> OverSeeds:
        """Return the best of each run's evaluations up to the comparison's step, for the same seeds as `at_step`."""
        seeds = self.at_step(recipe, metric).values
        best = {s: b for s in seeds if (b := self.best_of(recipe.seeds[s], metric)) is not None}
        values = {s: b.value for s, b in best.items()}
        numbers = tuple(b.evaluations for b in best.values())
        return OverSeeds(values, metric.bounds, numbers, metric.fewest_for_interval)

    def best_of(self, run: Run, metric: Metric) -> Best | None:
        """Return the best evaluation of a run after step 0 and up to the comparison's step.

        A run that went on has had more chances, and longer training: its later evaluations do not count.
        """
        at = run.figures.at(metric.key).items()
        return metric.best({step: value for step, value in at if self.step is None or step <= self.step})

    def chosen_from_many(self, metric: Metric) -> bool:
        """Whether any value at best was chosen from more than one evaluation."""
        return any(k > 1 for recipe in self.recipes for k in self.at_best(recipe, metric).evaluations)

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

    def seconds_of(self, test: PairTest, seeds: int) -> float | None:
        """Return the wall time of so many runs of both recipes up to the comparison's step, one after another.

        Runs that went on count for their share of steps. None if a recipe has no run with a time.
        """
        total = 0.0
        for recipe in (r for i, r in enumerate(self.recipes) if i in (test.a, test.b)):
            times = [(run.wall_seconds, run.step) for run in recipe.runs if run.counts]
            shares = [wall * min((self.step or 0) / step, 1) for wall, step in times if wall is not None and step]
            if not shares:
                return None
            total += float(np.mean(shares))
        return seeds * total


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
    runs, warnings = with_later_figures(runs, metric, separate)
    recipes, strays = group_runs(runs)
    comparable = comparable_protocols(runs)
    by_protocol: dict[str, list[Run]] = {}
    for run in runs:
        if run.protocol_id is not None and len(run.figures.steps):
            by_protocol.setdefault(comparable[run.protocol_id], []).append(run)
    if len(by_protocol) > 1 and not separate:
        refuse(by_protocol)
    single = {next(iter(by_protocol), None): recipes}
    parts = single if len(by_protocol) < 2 else split(recipes, strays, list(by_protocol), comparable)
    found = []
    for i, (protocol_id, members) in enumerate(parts.items()):
        protocol = next((r.protocol for r in runs if r.protocol_id == protocol_id and r.protocol), {})
        rest = strays if i == len(parts) - 1 else []
        comparison = Comparison(members, rest, protocol_id, protocol, share=share, warnings=warnings if i == 0 else [])
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
    comparison.warnings += _unequal_steps(comparison, main)


def _unequal_steps(comparison: Comparison, metric: Metric) -> list[str]:
    """Return a warning where a step is more images in one recipe than in another, so that equal steps mislead."""
    images: dict[Any, list[str]] = {}
    for recipe in comparison.recipes:
        per_step = [select(recipe.runs[0].config, f"trainer.{key}", None) for key in ("batch_size", "n_dis")]
        if comparison.at_step(recipe, metric).n and is_number(per_step[0]):
            images.setdefault(per_step[0] * (per_step[1] or 1), []).append(recipe.label)
    if len(images) < 2:
        return []
    found = [f"{n:,} ({listed(names, most=2)})" for n, names in sorted(images.items())]
    return [
        f"Images a step (trainer.batch_size times trainer.n_dis) differ: {listed(found)}. At one step these recipes "
        "have not seen equally many images."
    ]


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
