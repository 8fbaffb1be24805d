"""Write the page of a study from its small files, and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from gan_lab.files import write_atomically
from gan_lab.reporting import statistics
from gan_lab.reporting import tables as report_tables
from gan_lab.reporting.comparison import Comparison, compare_runs
from gan_lab.reporting.formatting import count, duration
from gan_lab.reporting.page import render
from gan_lab.reporting.runs import Run, find_runs, read_run
from scripts.studies.measured import Measured, by_cell, pairwise_tests, table
from scripts.studies.runner import begun, status_of
from scripts.studies.study import Study

POWER = 0.05
"""The page says how many seeds would show a difference of this share of the best mean."""

_PAGE = """\
{% import "captions.txt" as captions %}
# Study: {{ study.name }}

Written by `python -m scripts.studies {{ study.name }} page=true` from the files in `{{ study.name }}/` and
the words in `scripts/studies/{{ study.name }}.py`; do not edit it.

**Question.** {{ study.question }}

{% if study.note %}
**Before you read the numbers.** {{ study.note }}

{% endif %}
**Done.** {{ done }} of {{ study.runs() | length }} runs came to their end{{ "" if others else "." }}
{%- if others %}; {{ others | join(", ") }}.{% endif %}
{%- if unmeasured and study.evaluations %}
 {{ unmeasured }} of them are not yet measured by `gan-lab {{ study.evaluations | join(" ") }}`, as the study asks.
{%- endif %}
 Budget: {{ study.budget }}.
{%- if times %}
 The runs took {{ times | min | duration }} to {{ times | max | duration }} each, {{ times | sum | duration }} in all.
{%- endif +%}

**Setting.** `python train.py {{ study.common() | join(" ") }}`, and

| cell | overrides |
| --- | --- |
{% for cell, words in study.cells.items() %}
| {{ cell }} | `{{ words | join(" ") or "none" }}` |
{% endfor %}

with `seed=0`{% if study.seeds > 1 %} to `seed={{ study.seeds - 1 }}`{% endif %}.
{%- if beside %}
 Beside them stand runs of{% for other in beside %}
{{ " and" if not loop.first }} [{{ other.name }}]({{ other.name }}.md)
{%- endfor %}.
{%- endif %}


{% for file, shown in curves %}
![{{ shown }}]({{ study.name }}/{{ file }})

{{ shown }}. Thin lines are seeds, thick ones their mean; bands reach from the least to the greatest seed.
{%- if left_out %}
 {{ left_out }} of the runs are not drawn, as they have no figure in the tables.
{%- endif +%}

{% endfor %}
{% for file, shown in study.pictures.items() %}
![{{ shown }}](../images/{{ file }})

{{ shown }}

{% endfor %}
{% if measured %}
## Measured again, at the end and at the best checkpoint

By `gan-lab {{ study.evaluations | join(" ") }}`: mean ± SD over seeds (number of seeds).
 {{- " " ~ with_end | count("run") }} in all.
{%- if without_best %}
 {{ without_best }} of them were not measured at their best checkpoint, and a cell with such a run has a dash there.
{%- endif +%}

| cell | figure | at the end | at best |
| --- | --- | ---: | ---: |
{% for row in measured %}
| {{ row | join(" | ") }} |
{% endfor %}

{% for comparison in tests %}
{% set table = tests_table(comparison, comparison.metric).for_format("md") %}
### Tests of {{ comparison.metric.key }} at the end

{{ captions.tests(comparison, table) | one_line }}

| {{ table.columns | map(attribute="full_title") | join(" | ") }} |
|{% for column in table.columns %}{{ " ---: |" if column.numeric else " --- |" }}{% endfor +%}
{% for row in table.rows %}
| {{ row | map(attribute="text") | join(" | ") | replace("<", "&lt;") }} |
{% endfor %}

{% endfor %}
{% endif %}
{{ report }}"""


def write_page(study: Study, results: Path) -> Path:
    """Write `results/NAME.md` and its curves from the small files in `results/NAME/`. Returns the page."""
    folder = results / study.name
    found: list[Path] = []
    cells: dict[str, str] = {}
    beside = [other for other in study.beside if begun(results / other.name)]
    for one in (study, *beside):
        declared = {f"{cell}-{seed}": cell for cell, seed in one.runs()}
        found += [path for path in find_runs([results / one.name]) if path.name in declared]
        cells |= declared
    runs = [read_run(path, path.name) for path in found]
    comparisons = compare_runs(runs, study.metric, None, True, POWER)
    for comparison in comparisons:
        _name_by_cells(comparison, cells)
    own = {f"{cell}-{seed}" for cell, seed in study.runs()}
    statuses = {path.name: status_of(path) for path in sorted(folder.iterdir()) if path.name in own}
    measured = {name: Measured.read(folder / name) for name, status in statuses.items() if status == "finished"}
    drawn = [(c.metric.key, f"{c.metric.key} against steps", c) for c in comparisons if c.metric is not None]
    drawn += [(key, f"{key} against steps: {shown}", c) for key, shown in study.curves.items() for c in comparisons]
    curves = []
    for key, shown, comparison in drawn:
        if lines := _lines(_drawn(comparison), key, cells):
            curves.append((f"{key.replace('/', '-')}.svg", shown))
            write_atomically(folder / curves[-1][0], curves_svg(lines, key).encode())
    template = _environment().from_string(_PAGE)
    text = template.render(
        study=study,
        beside=beside,
        done=len(measured),
        others=[f"{name} {status}" for name, status in statuses.items() if status != "finished"],
        unmeasured=sum(not run.end for run in measured.values()),
        with_end=sum(bool(run.end) for run in measured.values()),
        without_best=sum(bool(run.end) and not run.best for run in measured.values()),
        curves=curves,
        left_out=sum(len(comparison.runs) - len(_drawn(comparison)) for comparison in comparisons),
        times=[run.wall_seconds for run in runs if run.name in measured and run.wall_seconds is not None],
        measured=list(table(by_cell(study, measured))),
        tests=pairwise_tests(by_cell(study, measured)),
        report=f"#{render(comparisons, ('md',))['md']}",
    )
    page = results / f"{study.name}.md"
    write_atomically(page, (text.rstrip() + "\n").encode())
    return page


def _environment() -> Environment:
    """Return the environment of the page, in which the captions of the report's tables can be read."""
    loader = PackageLoader("gan_lab.reporting")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"statistics": statistics, "tests_table": report_tables.tests}
    environment.filters |= {"count": count, "duration": duration, "one_line": lambda text: " ".join(text.split())}
    return environment


def _name_by_cells(comparison: Comparison, cells: dict[str, str]) -> None:
    """Call a recipe by its cell, which is shorter than what the cell sets, if it has the cell for itself."""
    of = [{cells.get(run.path.name) for run in recipe.runs} for recipe in comparison.recipes]
    for recipe, names in zip(comparison.recipes, of, strict=True):
        if len(names) == 1 and sum(bool(names & others) for others in of) == 1 and (name := next(iter(names))):
            recipe.label = name


Lines = dict[str, list[tuple[list[int], list[float]]]]  # cell -> steps and values of each seed


def _drawn(comparison: Comparison) -> list[Run]:
    """Return the runs that enter the means of the report's tables, by name."""
    found = []
    for recipe in comparison.recipes:
        counted = comparison.at_step(recipe, comparison.metric).values if comparison.metric else recipe.seeds
        found += [recipe.seeds[seed] for seed in counted]
    return sorted(found, key=lambda run: run.name)


def _lines(runs: Sequence[Run], key: str, cells: dict[str, str]) -> Lines:
    found: Lines = {}
    for run in runs:
        values = {step: value for step, value in (run.figures.at(key) or run.train.at(key)).items() if step > 0}
        if values and run.path.name in cells:
            found.setdefault(cells[run.path.name], []).append((list(values), list(values.values())))
    return {cell: found[cell] for cell in dict.fromkeys(cells.values()) if cell in found}


COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")  # Okabe and Ito's palette
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 70, 150, 36, 50


def curves_svg(lines: Lines, title: str) -> str:
    """Draw each cell's mean over seeds, its seeds, and a band from the least to the greatest seed.

    Cells beyond the number of colours take them again, with dashes.
    """
    right = max(RIGHT, 64 + 7 * max(map(len, lines)))  # room for the longest name
    steps = [s for seeds in lines.values() for line in seeds for s in line[0]]
    values = [v for seeds in lines.values() for line in seeds for v in line[1]]
    log = min(values) > 0 and max(values) > 8 * min(values)
    scale = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    high = high if high > low else low + 1

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - right) * step / max(steps)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (scale(value) - low) / (high - low)

    def path(points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)

    marks = [10 ** (low + i * (high - low) / 4) if log else low + i * (high - low) / 4 for i in range(5)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><title>{title}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    ]
    for mark in marks:
        parts.append(f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(mark) + 4:.1f}" text-anchor="end">{mark:.3g}</text>')
    for i in range(5):
        step = max(steps) * i / 4
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{step:,.0f}</text>')
    parts.append(f'<text x="{x(max(steps) / 2):.1f}" y="{HEIGHT - 10}" text-anchor="middle">steps</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 16}">{title}{" (log scale)" if log else ""}</text>')
    for i, (cell, seeds) in enumerate(lines.items()):
        color, dashes = COLORS[i % len(COLORS)], ' stroke-dasharray="8 4"' if i >= len(COLORS) else ""
        shared = sorted(set.intersection(*(set(line[0]) for line in seeds)))
        at = {step: [dict(zip(*line, strict=True))[step] for line in seeds] for step in shared}
        band = [(s, max(at[s])) for s in shared] + [(s, min(at[s])) for s in reversed(shared)]
        parts.append(f'<path d="{path(band)}Z" fill="{color}" fill-opacity=".15"/>' if shared else "")
        parts += [
            f'<path d="{path(list(zip(*line, strict=True)))}" fill="none" stroke="{color}" stroke-opacity=".5"/>'
            for line in seeds
        ]
        mean = [(s, float(np.mean(at[s]))) for s in shared]
        parts.append(
            f'<path d="{path(mean)}" fill="none" stroke="{color}" stroke-width="3"{dashes}/>' if shared else ""
        )
        for points, radius in ((mean, 5), *((list(zip(*line, strict=True)), 3) for line in seeds)):
            if len(points) == 1:  # a path of one point is not seen
                a, b = points[0]
                parts.append(f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius}" fill="{color}" fill-opacity=".5"/>')
        top = TOP + 18 * (i + 1)
        parts.append(f'<path d="M{WIDTH - right + 12} {top - 4}h20" stroke="{color}" stroke-width="3"{dashes}/>')
        parts.append(f'<text x="{WIDTH - right + 38}" y="{top}">{cell} ({len(seeds)})</text>')
    return "\n".join([*filter(None, parts), "</svg>\n"])
