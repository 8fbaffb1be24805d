"""report.md and report.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from gan_lab.report.numbers import MISSING, count, decimals_for, duration, fixed, p_value
from gan_lab.report.page import facts_of
from gan_lab.report.runs import FAILED, STATUSES
from gan_lab.report.sections import Cell, Section
from gan_lab.report.tables import MOST_PAIRS, with_sd
from gan_lab.report.verdict import interval, of_leader, verdict

COLUMNS = (
    "protocol", "recipe", "figure", "at", "step", "n", "mean", "sd", "low95", "high95", "evaluations", "values",
    "runs", *STATUSES, "collapse_events", "images_per_second", "wall_seconds",
)  # fmt: skip


def make_csv(sections: Sequence[Section]) -> str:
    """One line for each recipe and figure, at the step and at best; `values` holds seed=value of each run."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for section in sections:
        for recipe in section.recipes:
            statuses = recipe.statuses()
            ends: list[Any] = [len(recipe.runs), *(statuses.get(s, 0) for s in STATUSES), recipe.collapse_events()]
            ends += [_plain(recipe.mean_of("images_per_second")), _plain(recipe.mean_of("wall_seconds"))]
            start = [section.protocol_id or "", recipe.label]
            for metric in section.metrics:
                cell, best = section.at_step(recipe, metric), section.at_best(recipe, metric)
                writer.writerow([*start, metric, "step", section.step, *_numbers(cell), *ends])
                writer.writerow([*start, metric, "best", _span(best.steps), *_numbers(best), *ends])
            if not section.metrics:
                writer.writerow([*start, "", "", "", 0, "", "", "", "", "", "", *ends])
    return file.getvalue()


def _numbers(cell: Cell) -> list[Any]:
    if not cell.n:
        return [0, "", "", "", "", "", ""]
    e = cell.estimate
    values = " ".join(f"{seed}={value!r}" for seed, value in cell.values.items())
    return [cell.n, *map(_plain, (cell.mean, cell.sd, e.low, e.high)), _span(cell.evaluations), values]


def _span(numbers: Sequence[int]) -> str:
    return "" if not numbers else " ".join(str(n) for n in dict.fromkeys(numbers))


def _plain(value: float | None) -> str:
    return "" if value is None or value != value else f"{float(value):.6g}"


def make_markdown(sections: Sequence[Section]) -> str:
    """The verdict and the tables."""
    facts = facts_of(sections)
    lines = [f"# {facts.title}", "", " · ".join(facts.lines), ""]
    if facts.warnings:
        lines += ["**Mind**", "", *(f"- {w}" for w in facts.warnings), ""]
    for section in sections:
        if len(sections) > 1:
            lines += [f"## Protocol {section.protocol_id or MISSING}", ""]
        first, *others = verdict(section)
        lines += [f"**{first}**", "", *(f"- {sentence}" for sentence in others), ""]
        if section.metric and section.step is not None:
            lines += [*_results(section), *_figures(section), *_tests(section)]
        lines += _runs(section)
    return "\n".join(lines)


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(str(c).replace('|', chr(92) + '|').replace(chr(10), ' ') for c in cells)} |"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]


def _results(section: Section) -> list[str]:
    metric = section.metric or ""
    cells = [(r, section.at_step(r, metric), section.at_best(r, metric)) for r in section.recipes]
    decimals = decimals_for([c.mean for _, a, b in cells for c in (a, b) if c.n])

    def spread(c: Cell) -> list[str]:
        if not c.n:
            return [MISSING] * 3
        return [fixed(c.mean, decimals), fixed(c.sd, decimals), interval(c.estimate, decimals) or MISSING]

    rows = []
    for recipe, at, best in cells:
        ends = ", ".join(f"{n} {s}" for s, n in recipe.statuses().items())
        chosen = _span(sorted(set(best.evaluations))).replace(" ", ", ") or MISSING
        speed, wall = recipe.mean_of("images_per_second"), recipe.mean_of("wall_seconds")
        told = [chosen, ends, MISSING if speed is None else f"{speed:,.0f}", duration(wall)]
        rows.append([recipe.label, at.n, *spread(at), *spread(best), *told])
    head = ["recipe", "seeds", f"{metric} at step {section.step:,}", "sd", "95% interval", "at best", "sd",
            "95% interval", "evaluations chosen from", "runs", "images/s", "wall time"]  # fmt: skip
    note = (
        f"Over the seeds that have the figure; a run that failed ({', '.join(FAILED)}) has none and is only counted. "
        f"{'Lower' if section.lower_is_better(metric) else 'Higher'} is better."
    )
    return [*_table(head, rows), note, ""]


def _figures(section: Section) -> list[str]:
    """All figures at the step."""
    keys = section.metrics
    cells = [[section.at_step(recipe, key) for key in keys] for recipe in section.recipes]
    decimals = [decimals_for([row[j].mean for row in cells if row[j].n]) for j in range(len(keys))]
    rows = []
    for recipe, row in zip(section.recipes, cells, strict=True):
        shown = [with_sd(c, d) if c.n else MISSING for c, d in zip(row, decimals, strict=True)]
        rows.append([recipe.label, *shown])
    return [f"All figures at step {section.step:,}, mean ± SD over seeds:", "", *_table(["recipe", *keys], rows)]


def _tests(section: Section) -> list[str]:
    found = section.comparisons
    pairs = found if len(found) <= MOST_PAIRS else of_leader(section)
    if not pairs:
        return []
    decimals = decimals_for([abs(float(c.estimate.value)) for c in pairs])
    rows = []
    for c in pairs:
        a, b = section.recipes[c.a].label, section.recipes[c.b].label  # type: ignore[call-overload]
        difference = f"{fixed(c.estimate.value, decimals)} {interval(c.estimate, decimals)}".strip()
        p = p_value(c.estimate.p) if c.tested else MISSING
        rows.append([a, b, difference, c.kind, p, p_value(c.adjusted), c.reason or ""])
    family = sum(c.tested for c in found)
    head = ["recipe", "minus", "difference [95%]", "t test", "p", "p, Holm", "note"]
    return [
        f"Differences of {section.metric} at step {section.step:,}, p corrected by Holm over "
        f"{count(family, 'comparison')}:", "", *_table(head, rows),
    ]  # fmt: skip


def _runs(section: Section) -> list[str]:
    """The runs that did not finish, and what could not be read."""
    odd = [run for run in section.runs if run.status != "finished" or run.problems or run.events]
    if not odd:
        return []
    rows = [
        [run.name, run.status, f"{run.step:,}",
         "; ".join([*run.problems, *(f"step {e['step']}: {e.get('message', e.get('kind'))}" for e in run.events[:3])])]
        for run in odd
    ]  # fmt: skip
    head = ["run", "status", "step", "note"]
    return ["Runs that did not finish, or with something to note:", "", *_table(head, rows)]
