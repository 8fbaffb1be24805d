"""The tables of the page: results, all figures, tests, events and runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from gan_lab.report.groups import Recipe
from gan_lab.report.markup import Column, Td, swatch, table, text
from gan_lab.report.numbers import MISSING, count, decimals_for, direction, duration, fixed, p_value, spelled
from gan_lab.report.runs import FAILED, Run
from gan_lab.report.sections import Cell, Section
from gan_lab.report.verdict import ALPHA, interval, of_leader

MOST_PAIRS, MOST_EVENTS = 60, 200


def results(section: Section) -> str:
    """The main table: the chosen figure at the step and at best, what became of the runs, and speed."""
    metric, recipes = section.metric or "", section.recipes
    cells = [(section.at_step(r, metric), section.at_best(r, metric)) for r in recipes]
    decimals = decimals_for([c.mean for pair in cells for c in pair if c.n])
    at, best = f"{metric} at step {section.step:,}", "at best"
    columns = [
        Column("Recipe", False), Column("Seeds"),
        Column("Spread", False, at, False), Column("Mean ± SD", group=at),
        Column("95% interval", group=at, sortable=False),
        Column("Mean ± SD", group=best), Column("95% interval", group=best, sortable=False),
        Column("Best of", group=best), Column("Runs", False), Column("Images/s"), Column("Wall time"),
    ]  # fmt: skip
    scale = _Scale([c for c, _ in cells])
    rows = []
    for i, (recipe, (at_step, at_best)) in enumerate(zip(recipes, cells, strict=True)):
        speed, wall = recipe.mean_of("images_per_second"), recipe.mean_of("wall_seconds")
        rows.append(
            [
                swatch(i, recipe.label), text(_of(at_step.n, len(recipe.runs)), at_step.n),
                (scale.strip(at_step, i), None), *_spread(at_step, decimals), *_spread(at_best, decimals),
                text(_chosen_from(at_best), max(at_best.evaluations, default=0)),
                (_outcome(recipe), sum(n for s, n in recipe.statuses().items() if s in FAILED)),
                text(MISSING if speed is None else f"{speed:,.0f}", speed), text(duration(wall), wall),
            ]
        )  # fmt: skip
    way = direction(section.lower_is_better(metric))
    caption = (
        f"<b>{escape(metric)}</b> ({escape(spelled(metric))}, {way}). SD and 95% t interval are over "
        "seeds. Both halves are of the same runs. A run that collapsed, diverged or failed has no final figure: it "
        "is left out of the means and counted under Runs, so a recipe that lost runs is judged by its survivors. "
        "At best: each run at the best of so many evaluations, which flatters the more, the more there were. "
        "Spread: a dot for the mean, ticks for the seeds, a line for the interval, all on one axis."
    )
    return table("Results", caption, columns, rows, "results")


def _of(n: int, total: int) -> str:
    return str(n) if n == total else f"{n} of {total}"


def _spread(cell: Cell, decimals: int) -> list[Td]:
    """Mean with SD, and the interval."""
    if not cell.n:
        return [text(MISSING, math.nan)] * 2
    return [text(with_sd(cell, decimals), cell.mean), text(interval(cell.estimate, decimals) or MISSING, math.nan)]


def with_sd(cell: Cell, decimals: int) -> str:
    """`mean ± SD`, of one value the value alone."""
    return fixed(cell.mean, decimals) + ("" if cell.n < 2 else f" ± {fixed(cell.sd, decimals)}")


def _chosen_from(cell: Cell) -> str:
    numbers = sorted(set(cell.evaluations))
    return MISSING if not numbers else str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _outcome(recipe: Recipe) -> str:
    """The ends of a recipe's runs, in words."""
    parts = [
        f'<span class="{"bad" if status in FAILED else "ok" if status == "finished" else "open"}">{n} {status}</span>'
        for status, n in recipe.statuses().items()
    ]
    noticed = recipe.collapse_events()
    if noticed:
        parts.append(f'<span class="bad">{noticed} with a collapse event</span>')
    return ", ".join(parts)


class _Scale:
    """The common axis of the strips: seeds as ticks, interval as a line, mean as a dot. Wide intervals are cut."""

    width, height = 120, 22

    def __init__(self, cells: Sequence[Cell]) -> None:
        values = [v for c in cells for v in c.values.values()]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        margin = (high - low) * 0.35 or abs(high) * 0.1 or 1.0
        self.low, self.high = low - margin, high + margin

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(min(max(share, 0.0), 1.0) * (self.width - 8) + 4, 1)

    def strip(self, cell: Cell, index: int) -> str:
        if not cell.n:
            return ""
        middle, e = self.height / 2, cell.estimate
        line = ""
        if e.low == e.low:
            line = f'<line x1="{self.x(e.low)}" x2="{self.x(e.high)}" y1="{middle}" y2="{middle}"/>'
        ticks = "".join(
            f'<line class="seed" x1="{x}" x2="{x}" y1="{middle - 5}" y2="{middle + 5}"/>'
            for x in map(self.x, cell.values.values())
        )
        dot = f'<circle cx="{self.x(cell.mean)}" cy="{middle}" r="4"/>'
        return (
            f'<svg class="strip c{index % 8}" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" aria-hidden="true">{line}{ticks}{dot}</svg>'
        )


def all_metrics(section: Section, best: bool) -> str:
    """Every figure, at the step or each at its own best."""
    columns = [Column("Recipe", False)]
    columns += [Column(key, note=direction(section.lower_is_better(key))) for key in section.metrics]
    get = section.at_best if best else section.at_step
    cells = [[get(recipe, key) for key in section.metrics] for recipe in section.recipes]
    numbers = {k for row in cells for c in row for k in c.evaluations}
    one = next(iter(numbers), 0) if len(numbers) < 2 else None  # the same number of evaluations everywhere, if so
    means = [[row[j].mean for row in cells if row[j].n] for j in range(len(section.metrics))]
    decimals = [decimals_for(column, digits=3) for column in means]
    rows = []
    for i, (recipe, line) in enumerate(zip(section.recipes, cells, strict=True)):
        shown = [_stacked(cell, d, one is None) for cell, d in zip(line, decimals, strict=True)]
        rows.append([swatch(i, recipe.label), *shown])
    when = "each at its own best evaluation" if best else f"at step {section.step:,}"
    told = f", chosen from {one}" if best and one else ""
    more = "; in brackets: 95% t interval" + (", then the number of evaluations chosen from" if one is None else "")
    caption = f"Every figure, {when}{told}: mean ± SD over seeds{more}."
    return table(f"All figures, {when}", caption, columns, rows, "metrics")


def _stacked(cell: Cell, decimals: int, with_number: bool) -> Td:
    if not cell.n:
        return text(MISSING, math.nan)
    chosen = f" of {_chosen_from(cell)}" if with_number else ""
    below = f"{interval(cell.estimate, decimals)}{chosen}".strip()
    return with_sd(cell, decimals) + (f"<small>{below}</small>" if below else ""), cell.mean


def tests(section: Section) -> str:
    """Every comparison; those of the leader where there are too many."""
    pairs = section.comparisons if len(section.comparisons) <= MOST_PAIRS else of_leader(section)
    if not pairs:
        return ""
    family = sum(c.tested for c in section.comparisons)
    decimals = decimals_for([abs(float(c.estimate.value)) for c in pairs])
    columns = [
        Column("Recipe", False), Column("minus", False), Column("Difference"), Column("95% interval", sortable=False),
        Column("Test", False), Column("df"), Column("p"), Column("p, Holm"), Column("Reading", False),
        Column("", False, sortable=False),
    ]  # fmt: skip
    rows = []
    kinds = {"paired": "paired t", "welch": "Welch t", "none": "none"}
    for c in pairs:
        e = c.estimate
        a, b = section.recipes[c.a].label, section.recipes[c.b].label  # type: ignore[call-overload]
        df = f"{float(e.df):.1f}".removesuffix(".0") if c.tested else MISSING
        reading = "no test" if not c.tested else "differs" if (c.adjusted or 0) < ALPHA else "no difference claimed"
        rows.append(
            [
                text(a), text(b), text(fixed(e.value, decimals), e.value),
                text(interval(e, decimals) or MISSING, math.nan), text(kinds[c.kind]),
                text(df, e.df if c.tested else math.nan), text(p_value(e.p if c.tested else None), e.p),
                text(p_value(c.adjusted), math.nan if c.adjusted is None else c.adjusted),
                text(reading), (f"<small>{escape(c.reason)}</small>", None),
            ]
        )  # fmt: skip
    shown = "" if len(pairs) == len(section.comparisons) else (
        f" Of {len(section.comparisons):,} pairs those of {escape(section.recipes[0].label)} are shown.")  # fmt: skip
    caption = (
        f"<b>{escape(section.metric or '')}</b> at step {section.step:,}, difference of means. Paired t test where "
        "two recipes have the same seeds, Welch's otherwise; two-sided; p corrected by Holm over "
        f"{count(family, 'comparison')}. Intervals are for one difference each, not corrected. The correction covers "
        f"this figure at this step, not a choice among figures.{shown}"
    )
    return table("Tests", caption, columns, rows, "tests")


def events(section: Section) -> str:
    """What the detector raised."""
    columns = [Column("Recipe", False), Column("Seed", False), Column("Step"), Column("Kind", False),
               Column("Severity", False), Column("What", False), Column("Value"), Column("Threshold")]  # fmt: skip
    rows = []
    for i, recipe in enumerate(section.recipes):
        for run in recipe.runs:
            for e in run.events:
                severity = str(e.get("severity", ""))
                mark = "bad" if severity == "collapse" else "open"
                rows.append(
                    [
                        swatch(i, recipe.label), text(run.seed), text(f"{int(e['step']):,}", e["step"]),
                        text(e.get("kind", "")), (f'<span class="{mark}">{escape(severity)}</span>', severity),
                        text(e.get("message", "")), _number(e.get("value")), _number(e.get("threshold")),
                    ]
                )  # fmt: skip
    if not rows:
        return ""
    first = f" The first {MOST_EVENTS} are shown." if len(rows) > MOST_EVENTS else ""
    caption = f"{count(len(rows), 'event')} raised while training; triangles in the curves.{first}"
    return table("Events", caption, columns, rows[:MOST_EVENTS])


def _number(value: Any) -> Td:
    return text(f"{value:.4g}", value) if isinstance(value, (int, float)) else text(MISSING, math.nan)


def run_list(section: Section) -> str:
    """Every run with its end; what could not be read is said below its name."""
    metric = section.metric
    columns = [Column("Run", False), Column("Recipe", False), Column("Seed"), Column("Status", False), Column("Step")]
    if metric:
        columns += [Column(f"{metric} at step {section.step:,}"), Column("at best"), Column("best step")]
    columns += [Column("Images/s"), Column("Wall time"), Column("Events")]
    labels = [(i, recipe.label, run) for i, recipe in enumerate(section.recipes) for run in recipe.runs]
    everything: list[tuple[int | None, str, Run]] = [*labels, *((None, MISSING, run) for run in section.strays)]
    at = [run.figures.at(metric) for _, _, run in everything] if metric else [{} for _ in everything]
    decimals = decimals_for([v for found in at for v in found.values()])
    rows = []
    for (i, label, run), found in zip(everything, at, strict=True):
        notes = "".join(f"<small>{escape(p)}</small>" for p in run.problems)
        mark = "bad" if run.status in FAILED else "ok" if run.status == "finished" else "open"
        row = [
            (f"{escape(run.name)}{notes}", run.name), text(label) if i is None else swatch(i, label), text(run.seed),
            (f'<span class="{mark}">{run.status}</span>', run.status), text(f"{run.step:,}", run.step),
        ]  # fmt: skip
        if metric:
            choose = min if section.lower_is_better(metric) else max
            best = choose(found, key=lambda s: found[s], default=None)  # noqa: B023
            here = found.get(section.step or 0)
            row += [text(fixed(here, decimals), math.nan if here is None else here)]
            row += [text(MISSING, math.nan)] * 2 if best is None else [
                text(fixed(found[best], decimals), found[best]), text(f"{best:,}", best)]  # fmt: skip
        speed = run.images_per_second
        row += [text(MISSING if speed is None else f"{speed:,.0f}", math.nan if speed is None else speed)]
        row += [text(duration(run.wall_seconds), run.wall_seconds), text(len(run.events))]
        rows.append(row)
    caption = f"{count(len(rows), 'run')}. Figures of failed runs are shown here but enter no mean."
    return table("Runs", caption, columns, rows)
