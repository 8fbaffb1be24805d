"""The table of diagnostics in docs/stability.md, from the catalogue."""

import re

from gan_lab.diagnostics.catalogue import ANY, CATALOGUE, Limits

BEGIN, END = "<!-- diagnostics: begin -->", "<!-- diagnostics: end -->"


def with_table(text: str) -> str:
    """Replace what stands between the two marker comments of Markdown `text` with a table of the catalogue."""
    rows = ["| key | meaning (source) | range | rows | chart |", "| --- | --- | --- | --- | --- |"]
    for d in CATALOGUE:
        source, key = f" ({d.source})" if d.source else "", re.sub(r"\{(\w+)\}", r"<\1>", d.key)
        meaning = d.formula.replace("|", "\\|")
        rows.append(f"| `{key}` | {meaning}{source} | {_range(d.limits)} | {d.when} | {d.title} |")
    before, _, rest = text.partition(BEGIN)
    return "\n".join([before + BEGIN, *rows, END + rest.partition(END)[2]])


def _range(limits: Limits | None) -> str:
    low, high = limits or ANY
    if high is None:
        return "any" if low is None else f"≥ {low:g}"
    return f"{low:g} to {high:g}" if low is not None else f"≤ {high:g}"
