"""Render the report from its templates: a self-contained HTML page, Markdown, LaTeX, and CSV."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from scipy.special import stdtrit

import gan_lab
from gan_lab.config.tree import select
from gan_lab.reporting import curves, event_marks, images, statistics, tables
from gan_lab.reporting.comparison import Comparison
from gan_lab.reporting.formatting import count, listed
from gan_lab.reporting.runs import FAILED, Run
from gan_lab.reporting.verdict import findings

FORMATS = ("html", "md", "tex", "csv")
SHOWN_AT_FIRST = 8
"""The number of recipes whose curves are on when the page opens."""
MARKS = ("circle", "square", "triangle", "diamond", "down", "plus", "ring")
QUANTILES = [round(float(stdtrit(df, 0.5 + statistics.LEVEL / 2)), 4) for df in range(1, 60)]
_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "±": r"$\pm$", "−": "$-$", "–": "--", "·": r"$\cdot$", "[": "{[}", "\n": " ",
}  # fmt: skip


def render(comparisons: Sequence[Comparison], formats: Sequence[str] = FORMATS) -> dict[str, str]:
    """Render the report. Returns format (html, md, tex or csv) -> text."""
    header, sections = _header(comparisons), [_section(comparison) for comparison in comparisons]
    if "html" in formats:
        sections = [s | _page_only(c, len(sections)) for s, c in zip(sections, comparisons, strict=True)]
    out = {}
    for name in formats:
        if name == "csv":
            out[name] = _csv(comparisons)
        else:
            out[name] = _environment().get_template(f"report.{name}").render(header=header, sections=sections)
    return out


def sentences(comparison: Comparison) -> list[str]:
    """Return the sentences of the verdict, the main one first."""
    found = re.split("^- ", _environment().get_template("verdict.txt").render(findings(comparison)), flags=re.MULTILINE)
    return [" ".join(sentence.split()) for sentence in found if sentence.strip()]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gan_lab.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"style_of": style_of, "statistics": statistics, "version": gan_lab.__version__}
    environment.filters |= {"markdown": _markdown, "latex": _latex, "count": count, "listed": listed}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def style_of(index: int) -> dict[str, str]:
    """Return a recipe's colour, dashes and mark. Together they differ for 280 recipes; colours repeat after 8."""
    return {"color": f"c{index % 8}", "dash": f"d{(index + index // 40) % 5}", "mark": MARKS[index % 7]}


def _markdown(text: Any) -> str:
    """Escape text for a Markdown table: no pipe, no newline, no HTML."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _latex(text: Any) -> str:
    return "".join(_LATEX.get(c, c) for c in str(text))


def _csv(comparisons: Sequence[Comparison]) -> str:
    file = io.StringIO()
    rows = [row for comparison in comparisons for row in tables.long_form(comparison)]
    csv.writer(file, lineterminator="\n").writerows([tables.LONG_FORM, *rows])
    return file.getvalue()


def _header(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return title, dates and software of the runs, and warnings if these differ between runs."""
    runs = [run for comparison in comparisons for run in comparison.runs]
    statuses = [f"{n} {status}" for status, n in Counter(run.status for run in runs).most_common()]
    lines = [f"{count(len(runs), 'run')}: {listed(statuses, most=len(statuses))}"]
    started = sorted(
        str(run.environment["started"])[:16].replace("T", " ") for run in runs if run.environment.get("started")
    )
    if started:
        lines.append(f"started {' to '.join(dict.fromkeys((started[0], started[-1])))}")
    warnings = [w for comparison in comparisons for w in comparison.warnings]
    warnings += [w for comparison in comparisons for recipe in comparison.recipes for w in recipe.warnings]
    made_with = [_made_with(run.environment) for run in runs if run.environment]
    for name in made_with[0] if made_with else ():
        values = Counter(str(made[name]) for made in made_with)
        if len(values) == 1:
            lines.append(f"{name} {next(iter(values))}")
        else:
            found = listed([f"{value} ({count(n, 'run')})" for value, n in values.most_common()])
            effect = "; speeds cannot be compared" if name == "device" else ""
            warnings.append(f"{name} differs among the runs: {found}{effect}.")
    data = sorted({str(c.protocol.get("dataset") or _dataset(c.runs)) for c in comparisons} - {"None"})
    recipes = count(sum(len(comparison.recipes) for comparison in comparisons), "recipe")
    title = f"{recipes} on {listed(data)}" if data else recipes
    return {"title": title, "made": f"{datetime.now():%Y-%m-%d %H:%M}", "lines": lines, "warnings": warnings}


def _made_with(environment: dict[str, Any]) -> dict[str, Any]:
    return {
        "gan_lab": environment.get("gan_lab"),
        "torch": select(environment, "versions.torch"),
        "commit": str(environment.get("git_commit") or "unknown")[:12],
        "device": environment.get("device"),
        "threads": environment.get("threads"),
    }


def _dataset(runs: Sequence[Run]) -> Any:
    return next(filter(None, (select(run.config, "dataset.name") for run in runs)), None)


def _protocol_name(comparison: Comparison) -> str:
    if comparison.protocol_id is None:
        return "Without evaluations"
    protocol = comparison.protocol
    parts = [str(protocol[key]) for key in ("dataset", "backbone") if protocol.get(key)]
    parts += [f"{protocol['num_fake']:,} fakes"] if isinstance(protocol.get("num_fake"), int) else []
    return ", ".join(parts) or f"protocol {comparison.protocol_id}"


def _section(comparison: Comparison) -> dict[str, Any]:
    """Return what all formats show of one comparison. Tables of figures are None if no run was evaluated."""
    metric = comparison.metric if comparison.step is not None else None
    return {
        "name": _protocol_name(comparison),
        "comparison": comparison,
        "verdict": sentences(comparison),
        "tables": {
            "results": metric and tables.results(comparison, metric),
            "seeds": metric and tables.seeds(comparison, metric),
            "at_step": metric and tables.all_metrics(comparison, best=False),
            "at_best": metric and tables.all_metrics(comparison, best=True),
            "tests": metric and tables.tests(comparison, metric),
            "events": tables.events(comparison),
            "runs": tables.runs(comparison),
            "remarkable": tables.runs(comparison, remarkable=True),
        },
    }


def _page_only(comparison: Comparison, sections: int) -> dict[str, Any]:
    """Return what only the HTML page shows. The byte budget of the page is divided by the number of sections."""
    charts, grids, left_out = curves.make_charts(comparison, curves.BYTES // sections)
    marks, unmarked = event_marks.choose(comparison.recipes, event_marks.BYTES // sections)
    entries = comparison.protocol.items()
    return {
        "charts": charts,
        "left_out": left_out,
        "unmarked": unmarked,
        "samples": images.sample_grids(comparison.recipes, images.BYTES // sections),
        "protocol": {key: value if isinstance(value, str) else json.dumps(value) for key, value in entries},
        "data": {
            "recipes": _recipes_data(comparison, marks),
            "grids": grids,
            "charts": [{"title": c.kind.title, "limits": c.limits, "variants": c.variants} for c in charts],
            "quantiles": QUANTILES,
        },
    }


def _recipes_data(comparison: Comparison, marks: list[list[event_marks.Mark]]) -> list[dict[str, Any]]:
    """Return what the page's script needs to know of the recipes. marks: of the events of each recipe."""
    return [
        {
            "label": recipe.label,
            "on": i < SHOWN_AT_FIRST,
            **style_of(i),
            "runs": [{"counts": recipe.seeds.get(r.seed) is r, "failed": r.status in FAILED} for r in recipe.runs],
            "events": marks[i],
        }
        for i, recipe in enumerate(comparison.recipes)
    ]
