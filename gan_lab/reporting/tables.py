"""The tables of the report. Their captions are in templates/captions.txt."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from gan_lab.reporting.comparison import Comparison, OverSeeds
from gan_lab.reporting.formatting import MISSING, decimals_for, duration, fixed, interval, p_value, span, with_sd
from gan_lab.reporting.metrics import Metric
from gan_lab.reporting.recipes import Recipe
from gan_lab.reporting.runs import FAILED, Run, raised
from gan_lab.reporting.statistics import MOST_SEEDS, PairTest
from gan_lab.reporting.table import Cell, Column, Table, number, text

MOST_PAIRS, MOST_EVENTS, MOST_RUNS = 60, 200, 400
DOWN = "descending"


def results(comparison: Comparison, metric: Metric) -> Table:
    """Make the main table: the main metric at the step and at best, how the runs ended, and speed."""
    recipes = comparison.recipes
    at = [comparison.at_step(r, metric) for r in recipes]
    best = [comparison.at_best(r, metric) for r in recipes]
    decimals = decimals_for([found.mean for found in at + best if found.n])
    spread = strips(at)
    speed, wall = ([r.mean_of(name) for r in recipes] for name in ("images_per_second", "wall_seconds"))
    first, over, over_best = metric.first, f"{metric.key} at step {comparison.step:,}", "at best"
    columns = [
        _recipe_column(recipes),
        Column("Mean ± SD", lambda i: _mean(at[i], decimals), group=over, sort=first),
        Column("95% interval", lambda i: Cell(_interval(at[i], decimals) or MISSING), group=over, sort=""),
        Column("Spread", lambda i: Cell("", strip=spread[i]), False, group=over, sort="", where="html"),
        Column("Mean ± SD", lambda i: _mean(best[i], decimals), group=over_best, sort=first),
        Column("95% interval", lambda i: Cell(_interval(best[i], decimals) or MISSING), group=over_best, sort=""),
        Column(
            "Best of",
            lambda i: Cell(span(best[i].evaluations), max(best[i].evaluations, default=None)),
            group=over_best,
        ),
        Column("Seeds", lambda i: _of(at[i].n, len({run.seed for run in recipes[i].runs})), sort=DOWN),
        Column("Runs", lambda i: _outcome(recipes[i]), numeric=False),
        Column("Images/s", lambda i: number(speed[i]), sort=DOWN, where="html md"),
        Column("Wall time", lambda i: Cell(duration(wall[i]), wall[i]), where="html md"),
    ]
    return Table(columns, range(len(recipes)))


def _recipe_column(recipes: Sequence[Recipe]) -> Column:
    return Column("Recipe", lambda i: Cell(recipes[i].label, i, recipe=i), numeric=False)


def _mean(found: OverSeeds, decimals: int, note: str = "") -> Cell:
    return Cell(with_sd(found.mean, found.sd, decimals), found.mean, note) if found.n else Cell()


def _interval(found: OverSeeds, decimals: int) -> str:
    return interval(found.estimate.low, found.estimate.high, decimals) if found.n else ""


def _of(n: int, total: int) -> Cell:
    return Cell(str(n) if n == total else f"{n} of {total}", n)


def _outcome(recipe: Recipe) -> Cell:
    """Make a cell with the number of runs of each status."""
    statuses = recipe.statuses()
    failed, noticed = sum(n for s, n in statuses.items() if s in FAILED), recipe.collapse_events()
    words = [f"{n} {status}" for status, n in statuses.items()]
    words += [f"{noticed} with a collapse event"] if noticed else []
    mark = "bad" if failed or noticed else "good" if set(statuses) == {"finished"} else "open"
    return Cell(", ".join(words), failed, mark=mark)


def _status(status: str) -> Cell:
    return text(status, "bad" if status in FAILED else "good" if status == "finished" else "open")


def strips(found: Sequence[OverSeeds]) -> list[dict[str, Any] | None]:
    """Return mean, seeds and interval of each recipe as positions on one axis, in percent. Clips wide intervals."""
    values = [v for f in found for v in f.values.values()]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = (high - low) * 0.35 or abs(high) * 0.1 or 1.0

    def x(value: float) -> float:
        share = (value - low + margin) / (high - low + 2 * margin)
        return round(min(max(share, 0.0), 1.0) * 96 + 2, 1)

    def strip(f: OverSeeds) -> dict[str, Any]:
        ends = [x(f.estimate.low), x(f.estimate.high)] if f.estimate.low == f.estimate.low else []  # NaN: no interval
        return {"mean": x(f.mean), "seeds": [x(v) for v in f.values.values()], "ends": ends}

    return [strip(f) if f.n else None for f in found]


def all_metrics(comparison: Comparison, best: bool) -> Table:
    """Make the table of all metrics, at the step or each at its own best."""

    def column(metric: Metric) -> Column:
        get = comparison.at_best if best else comparison.at_step
        found = [get(recipe, metric) for recipe in comparison.recipes]
        decimals = decimals_for([f.mean for f in found if f.n], digits=3)

        def cell(i: int) -> Cell:
            of = f" of {span(found[i].evaluations)}" if found[i].evaluations else ""
            return _mean(found[i], decimals, f"{_interval(found[i], decimals)}{of}".strip())

        return Column(metric.key, cell, note=metric.direction, sort=metric.first)

    columns = [_recipe_column(comparison.recipes), *map(column, comparison.metrics)]
    return Table(columns, range(len(comparison.recipes)))


def seeds(comparison: Comparison, metric: Metric) -> Table:
    """Make the table of the main metric by recipe and seed."""
    recipes = comparison.recipes
    values = [comparison.at_step(recipe, metric).values for recipe in recipes]
    decimals = decimals_for([v for found in values for v in found.values()])

    def column(seed: Any) -> Column:
        def cell(i: int) -> Cell:
            if seed in values[i]:
                return number(values[i][seed], decimals)
            ended = [run.status for run in recipes[i].runs if run.seed == seed and run.status != "finished"]
            return _status(ended[0]) if ended else Cell()

        return Column(f"seed {seed}", cell, sort=metric.first)

    names = sorted({run.seed for r in recipes for run in r.runs}, key=lambda seed: (len(str(seed)), str(seed)))
    return Table([_recipe_column(recipes), *map(column, names)], range(len(recipes)))


def tests(comparison: Comparison, metric: Metric) -> Table:
    """Make the table of all pairs of recipes, or of the leader's pairs if there are too many."""
    pairs = comparison.tests if len(comparison.tests) <= MOST_PAIRS else comparison.leaders_tests
    decimals = decimals_for([abs(float(t.estimate.value)) for t in pairs])
    readings = ("no test", "no difference can be claimed", "differs")
    kinds = {"paired": "paired t", "welch": "Welch t", "none": "none"}

    def needed(test: PairTest, difference: float | None = None) -> Cell:
        if not test.tested:  # the spread of two seeds says next to nothing
            return Cell()
        n = comparison.seeds_needed(test, difference)
        too_many = Cell(f"over {MOST_SEEDS:,}", MOST_SEEDS + 1)
        return number(n) if n is not None else too_many

    columns = [
        Column("Recipe", lambda t: text(comparison.label(t.a)), numeric=False),
        Column("minus", lambda t: text(comparison.label(t.b)), numeric=False),
        Column("Difference", lambda t: number(float(t.estimate.value), decimals)),
        Column("95% interval", lambda t: Cell(interval(t.estimate.low, t.estimate.high, decimals) or MISSING), sort=""),
        Column("Test", lambda t: text(kinds[t.kind]), numeric=False),
        Column("df", lambda t: number(t.estimate.df, 1) if t.tested else Cell(), where="html"),
        Column("p", lambda t: Cell(p_value(t.estimate.p), t.estimate.p) if t.tested else Cell()),
        Column("p, Holm", lambda t: Cell(p_value(t.adjusted), t.adjusted)),
        Column("Reading", lambda t: text(readings[t.tested + t.significant]), numeric=False),
        Column("Seeds to settle", needed),
    ]
    if (smallest := comparison.smallest_difference) is not None:
        columns.append(Column(f"Seeds for {fixed(smallest, decimals)}", lambda t: needed(t, smallest)))
    columns.append(Column("Note", lambda t: text(t.note), numeric=False, sort="", where="html md"))
    return Table(columns, pairs)


class _Row(NamedTuple):
    """A run, or one event of it, with its recipe and the index of that; None for a run without a recipe."""

    number: int | None
    recipe: Recipe | None
    run: Run
    event: dict[str, Any]

    def name(self) -> Cell:
        return Cell() if self.recipe is None else Cell(self.recipe.label, self.number, recipe=self.number)


def _rows(comparison: Comparison) -> list[_Row]:
    members = [_Row(i, recipe, run, {}) for i, recipe in enumerate(comparison.recipes) for run in recipe.runs]
    return members + [_Row(None, None, run, {}) for run in comparison.strays]


def events(comparison: Comparison) -> Table:
    """Make the table of the detector's events."""

    def severity(row: _Row) -> Cell:
        found = str(row.event.get("severity", ""))
        return text(found, "bad" if found == "collapse" else "open")

    def measured(value: Any) -> Cell:
        return Cell(f"{value:.4g}", value) if isinstance(value, (int, float)) else Cell()

    columns = [
        Column("Recipe", _Row.name, numeric=False),
        Column("Seed", lambda row: text(row.run.seed)),
        Column("Step", lambda row: number(row.event["step"])),
        Column("Kind", lambda row: text(row.event.get("kind", "")), numeric=False),
        Column("Severity", severity, numeric=False),
        Column("What", lambda row: text(row.event.get("message", "")), numeric=False),
        Column("Value", lambda row: measured(row.event.get("value"))),
        Column("Threshold", lambda row: measured(row.event.get("threshold"))),
    ]
    rows = [row._replace(event=e) for row in _rows(comparison) for e in row.run.events]
    table = Table(columns, rows, MOST_EVENTS)
    table.total = raised([row.event for row in rows])
    return table


def runs(comparison: Comparison, remarkable: bool = False) -> Table:
    """Make the table of all runs, or only of those that are unfinished or have problems or events."""
    items, metric, step = _rows(comparison), comparison.metric, comparison.step or 0
    columns = [
        Column("Run", lambda row: text(row.run.name, note="; ".join(row.run.problems)), numeric=False),
        Column("Recipe", _Row.name, numeric=False),
        Column("Seed", lambda row: text(row.run.seed)),
        Column("Status", lambda row: _status(row.run.status), numeric=False),
        Column("Step", lambda row: number(row.run.step)),
    ]
    if metric is not None:
        at = {row.run: row.run.figures.at(metric.key) for row in items}
        best = {run: comparison.best_of(run, metric) for run in at}
        decimals = decimals_for([v for found in at.values() for v in found.values()])
        first, name = metric.first, f"{metric.key} at step {step:,}"
        columns += [
            Column(name, lambda row: number(at[row.run].get(step), decimals), sort=first),
            Column("at best", lambda row: number(b.value, decimals) if (b := best[row.run]) else Cell(), sort=first),
            Column("best step", lambda row: number(b.step) if (b := best[row.run]) else Cell()),
        ]
    columns += [
        Column("Images/s", lambda row: number(row.run.images_per_second), sort=DOWN),
        Column("Wall time", lambda row: Cell(duration(row.run.wall_seconds), row.run.wall_seconds)),
        Column("Events", lambda row: text(raised(row.run.events)), sort=DOWN),
    ]
    if remarkable:
        items = [row for row in items if row.run.status != "finished" or row.run.problems or row.run.events]
    return Table(columns, items, MOST_RUNS)


LONG_FORM = (
    "protocol", "recipe", "run", "seed", "status", "in_means", "metric", "higher_is_better", "step", "value",
    "best_step", "best_value", "best_of", "last_step", "images_per_second", "wall_seconds", "collapse_events",
)  # fmt: skip


def long_form(comparison: Comparison) -> list[list[Any]]:
    """Return one row per run and metric, with the columns LONG_FORM. A run without metrics has one row."""
    out: list[list[Any]] = []
    for _, recipe, run, _ in _rows(comparison):
        label, counts = (recipe.label, recipe.seeds.get(run.seed) is run) if recipe else (None, False)
        start = [comparison.protocol_id, label, run.name, run.seed, run.status, counts]
        end = [run.step, run.images_per_second, run.wall_seconds, run.collapses]
        measured = [(m, at) for m in comparison.metrics if (at := run.figures.at(m.key))]
        for metric, at in measured:
            best = comparison.best_of(run, metric) or (None, None, None)
            value = [comparison.step, at.get(comparison.step or 0)]
            out.append([*start, metric.key, metric.higher_is_better, *value, *best, *end])
        if not measured:
            out.append([*start, *[None] * 7, *end])
    return out
