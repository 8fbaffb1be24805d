"""HTML of a table whose columns the page's script can sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column's heading, with a note below it; `numeric` aligns it, `group` is the heading over neighbours."""

    title: str
    numeric: bool = True
    group: str = ""
    sortable: bool = True
    note: str = ""


Td = tuple[str, Any]  # HTML, and what to sort by


def table(name: str, caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Td]], kind: str = "") -> str:
    """A table that the page's script makes sortable; the first cell of a row is its heading.

    The caption (HTML) stands above the part that scrolls, so that a phone shows all of it.
    """
    groups = ""
    if any(c.group for c in columns):
        cells, i = [], 0
        while i < len(columns):
            span = next((j for j in range(i, len(columns)) if columns[j].group != columns[i].group), len(columns)) - i
            scope = ' scope="colgroup"' if columns[i].group else ""
            cells.append(f'<th colspan="{span}"{scope}>{escape(columns[i].group)}</th>')
            i += span
        groups = f'<tr class="over">{"".join(cells)}</tr>'
    head = "".join(_heading(c) for c in columns)
    body = []
    for row in rows:
        cells = []
        for i, ((content, key), column) in enumerate(zip(row, columns, strict=True)):
            value = "" if key is None or key != key else f' data-v="{escape(str(key))}"'
            tag = ("th", ' scope="row"') if i == 0 else ("td", "")
            cells.append(f"<{tag[0]}{tag[1]}{css_class('n' if column.numeric else '')}{value}>{content}</{tag[0]}>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    name = escape(name)
    return (
        f'<div class="captioned"><p class="caption">{caption}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}, scrolls sideways">'
        f'<table{css_class(kind)} aria-label="{name}"><thead>{groups}<tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></div>"
    )


def _heading(column: Column) -> str:
    title = escape(column.title).replace("_", "_<wbr>")
    note = f"<small>{escape(column.note)}</small>" if column.note else ""
    sort = " data-sort" if column.sortable else ""
    return f'<th scope="col"{css_class("n" if column.numeric else "")}{sort}>{title}{note}</th>'


def css_class(name: str) -> str:
    return f' class="{name}"' if name else ""


def text(value: Any, key: Any = None) -> Td:
    """A cell of plain text."""
    return escape(str(value)), value if key is None else key


def swatch(index: int, label: str) -> Td:
    """A recipe's name with its mark; the page's script draws it."""
    return f'<span class="name"><span class="key" data-key="{index}"></span><span>{escape(label)}</span></span>', index
