"""The page: one HTML file that needs nothing else, with its style, its script and its pictures inside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from scipy.special import stdtrit

import gan_lab
from gan_lab.report import tables
from gan_lab.report.curves import make_charts
from gan_lab.report.images import sample_grids
from gan_lab.report.numbers import count, listed
from gan_lab.report.runs import Run
from gan_lab.report.sections import Section
from gan_lab.report.statistics import LEVEL
from gan_lab.report.verdict import verdict

SHOWN_AT_FIRST = 8
"""Recipes whose curves are on when the page opens."""
MOST_LISTED = 30
"""With more runs than these, their list is folded."""

# Nothing may be fetched, from anywhere: the page is all there is.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class Facts:
    """What the page says of the comparison as a whole."""

    title: str
    made: str
    lines: list[str]
    warnings: list[str]


def facts_of(sections: Sequence[Section]) -> Facts:
    """Title, when and with what the runs were made, and warnings where they were not made alike."""
    runs = [run for section in sections for run in section.runs]
    recipes = sum(len(section.recipes) for section in sections)
    data = sorted({str(s.protocol.get("dataset") or _dataset(s.runs)) for s in sections} - {"None"})
    title = f"{count(recipes, 'recipe')} on {listed(data)}" if data else count(recipes, "recipe")
    statuses = Counter(run.status for run in runs)
    lines = [f"{count(len(runs), 'run')}: {listed([f'{n} {s}' for s, n in statuses.most_common()])}"]
    started = sorted(str(run.environment["started"]) for run in runs if run.environment.get("started"))
    if started:
        first, last = (moment[:16].replace("T", " ") for moment in (started[0], started[-1]))
        lines.append(f"started {first}" if first == last else f"started {first} to {last}")
    warnings = [w for section in sections for w in section.warnings]
    warnings += [w for section in sections for recipe in section.recipes for w in recipe.warnings]
    known = [run for run in runs if run.environment]
    for name, get in _ENVIRONMENT.items():
        values = Counter(str(get(run.environment)) for run in known)
        if len(values) == 1:
            lines.append(f"{name} {next(iter(values))}")
        elif values:
            told = listed([f"{value} ({count(n, 'run')})" for value, n in values.most_common()])
            effect = "; speeds cannot be compared" if name == "device" else ""
            warnings.append(f"{name} differs among the runs: {told}{effect}.")
    return Facts(title, f"{datetime.now():%Y-%m-%d %H:%M}", lines, warnings)


_ENVIRONMENT = {
    "gan_lab": lambda e: e.get("gan_lab"),
    "torch": lambda e: _mapping(e.get("versions")).get("torch"),
    "commit": lambda e: (e.get("git_commit") or "unknown")[:12] if isinstance(e.get("git_commit"), str) else "unknown",
    "device": lambda e: e.get("device"),
    "threads": lambda e: e.get("threads"),
}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dataset(runs: Sequence[Run]) -> str | None:
    targets = (_mapping((run.config or {}).get("dataset")) for run in runs)
    return next((str(t["name"]) for t in targets if t.get("name")), None)


def make_page(sections: Sequence[Section]) -> str:
    """The whole of report.html."""
    facts = facts_of(sections)
    several = len(sections) > 1
    parts = [_section(section, i, several) for i, section in enumerate(sections)]
    warnings = "".join(f"<li>{escape(w)}</li>" for w in facts.warnings)
    block = f'<aside class="warnings"><h2>Mind</h2><ul>{warnings}</ul></aside>' if warnings else ""
    quantiles = [round(float(stdtrit(df, 0.5 + LEVEL / 2)), 4) for df in range(1, 60)]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<title>{escape(facts.title)} – gan_lab report</title>
<style>{_asset("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>
<p class="over-title">gan_lab · comparison of runs · {facts.made}</p>
<h1>{escape(facts.title)}</h1>
<p class="facts">{escape(" · ".join(facts.lines))}</p>
{_contents(sections[0]) if not several else _protocol_contents(sections)}
</header>
<main id="main">
{block}
{"".join(parts)}
</main>
<footer><p>Written by gan_lab {gan_lab.__version__} from the files of the runs. Everything on this page lies in this
file; report.md and report.csv beside it hold the same figures.</p></footer>
<script type="application/json" id="quantiles">{json.dumps(quantiles)}</script>
<script>"use strict";(() => {{
{_asset("draw.js")}
{_asset("chart.js")}
{_asset("page.js")}
}})();</script>
</body>
</html>
"""


@cache
def _asset(name: str) -> str:
    return (files("gan_lab.report") / name).read_text(encoding="utf-8")


def _contents(section: Section) -> str:
    links = ["results", "tests"] if section.metric else []
    links += ["curves", "samples", "events", "runs", "protocol"]
    return f'<nav aria-label="Contents">{"".join(f"<a href=#{x}-0>{x.capitalize()}</a>" for x in links)}</nav>'


def _protocol_contents(sections: Sequence[Section]) -> str:
    links = "".join(f"<a href=#section-{i}>{escape(_protocol_name(s))}</a>" for i, s in enumerate(sections))
    return f'<nav aria-label="Protocols">{links}</nav>'


def _protocol_name(section: Section) -> str:
    if section.protocol_id is None:
        return "Without evaluations"
    p = section.protocol
    told = [str(p[k]) for k in ("dataset", "backbone") if p.get(k)]
    counts = f"{p['num_fake']:,} fakes" if isinstance(p.get("num_fake"), int) else ""
    return ", ".join([*told, counts] if counts else told) or f"protocol {section.protocol_id}"


def _section(section: Section, i: int, several: bool) -> str:
    """Everything of one protocol."""
    charts, grids = make_charts(section)
    title = f"<h2>{escape(_protocol_name(section))}</h2>" if several else ""
    sentences = verdict(section)
    parts = [
        f'<section class="comparison" id="section-{i}">{title}',
        f'<div class="verdict"><h2>Verdict</h2><p class="lead">{escape(sentences[0])}</p>',
        f"<ul>{''.join(f'<li>{escape(s)}</li>' for s in sentences[1:])}</ul></div>" if sentences[1:] else "</div>",
    ]
    if section.metric and section.step is not None:
        parts.append(_part("results", i, "Results", tables.results(section) + _all_figures(section)))
        parts.append(_part("tests", i, "Tests", tables.tests(section) or "<p>There is nothing to test.</p>"))
    parts.append(_part("curves", i, "Curves", _charts(charts)))
    parts.append(_part("samples", i, "Samples", _samples(section)))
    parts.append(_part("events", i, "Events", tables.events(section) or "<p>No event was raised.</p>"))
    listing = tables.run_list(section)
    if len(section.runs) > MOST_LISTED:
        listing = f"<details><summary>{len(section.runs)} runs</summary>{listing}</details>"
    parts.append(_part("runs", i, "Runs", listing))
    parts.append(_part("protocol", i, "Protocol", _protocol(section)))
    parts.append(f'<script type="application/json" class="data">{_data(section, charts, grids)}</script></section>')
    return "\n".join(parts)


def _part(name: str, i: int, title: str, content: str) -> str:
    return f'<section id="{name}-{i}" class="{name}"><h2>{title}</h2>{content}</section>'


def _all_figures(section: Section) -> str:
    return f"<h3>All figures</h3>{tables.all_metrics(section, False)}{tables.all_metrics(section, True)}"


def _charts(charts: Sequence[Any]) -> str:
    """Places for the charts, which the script draws, under the recipes' buttons."""
    if not charts:
        return "<p>No run has written any numbers yet.</p>"
    out = [
        "<noscript><p>The curves are drawn by the page's script, which is switched off here.</p></noscript>",
        '<div class="legend"></div>',
        '<p class="note">A line is the mean over the seeds whose figures count. Runs that failed are thin broken '
        "lines that end in a cross; triangles are events. Long curves are averaged in at most 400 bins. With the "
        "keyboard: Tab to a chart, then the arrow keys.</p>",
    ]
    for part in dict.fromkeys(chart.section for chart in charts):
        out.append(f'<h3>{escape(part)}</h3><div class="charts">')
        for j, chart in enumerate(charts):
            if chart.section == part:
                out.append(
                    f'<figure class="chart" data-chart="{j}"><figcaption><h4>{escape(chart.title)}</h4>'
                    f"<p>{escape(chart.text)}</p></figcaption></figure>"
                )
        out.append("</div>")
    return "".join(out)


def _samples(section: Section) -> str:
    grids, note = sample_grids(section.recipes)
    if not grids:
        return "<p>No run has a sample grid.</p>"
    shown = "".join(
        f'<figure><img src="{g.uri}" width="{g.width}" height="{g.height}" '
        f'alt="Grid of images: {escape(g.label)}, {escape(g.note)}"><figcaption><b>{escape(g.label)}</b> '
        f"{escape(g.note)}</figcaption></figure>"
        for g in grids
    )
    return f'<p class="note">{escape(note)}</p><div class="grids">{shown}</div>'


def _protocol(section: Section) -> str:
    """The protocol's entries, folded."""
    if section.protocol_id is None:
        return "<p>No run of this section was evaluated.</p>"
    entries = "".join(
        f"<dt>{escape(str(k))}</dt><dd>{escape(json.dumps(v) if not isinstance(v, str) else v)}</dd>"
        for k, v in section.protocol.items()
    )
    entries = f"<dl>{entries}</dl>" if entries else "<p>No run has a readable protocol.json.</p>"
    return (
        f'<details class="protocol"><summary>{escape(_protocol_name(section))} '
        f"<code>{escape(section.protocol_id)}</code></summary><p>All figures of this section were measured in this "
        f"one way. Figures of another protocol are other quantities.</p>{entries}</details>"
    )


def _data(section: Section, charts: Sequence[Any], grids: list[list[int]]) -> str:
    """What the script draws, as JSON that no content can break out of."""
    recipes = [
        {
            "label": recipe.label,
            "on": i < SHOWN_AT_FIRST,
            "runs": [
                {"name": f"seed {run.seed}", "status": run.status, "counts": run is recipe.seeds.get(run.seed)}
                for run in recipe.runs
            ],
            "events": [
                [int(e["step"]), f"{e.get('severity', '')}: {e.get('message', e.get('kind', ''))} (seed {run.seed})"]
                for run in recipe.runs
                for e in run.events
            ],
        }
        for i, recipe in enumerate(section.recipes)
    ]
    drawn = [{"title": c.title, "log": c.log, "variants": c.variants} for c in charts]
    content = {"recipes": recipes, "grids": grids, "charts": drawn}
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
