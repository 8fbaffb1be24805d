"""A table as plain data, which the templates write as HTML, Markdown and LaTeX."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gan_lab.reporting.formatting import MISSING, fixed


@dataclass(frozen=True)
class Cell:
    """sort: what the page sorts by; None comes last. note: stands below. mark: good, bad or open.

    recipe: number of the recipe whose line and mark stand before the text. strip: a little chart, see `tables.strips`.
    """

    text: str = MISSING
    sort: Any = None
    note: str = ""
    mark: str = ""
    recipe: int | None = None
    strip: dict[str, Any] | None = None

    @property
    def with_note(self) -> str:
        return f"{self.text} {self.note}".rstrip()


@dataclass(frozen=True)
class Column:
    """A heading, and the function that makes the column's cell of an item of the table.

    numeric: aligned to the right. group: the heading over neighbours. note: stands below the heading. sort: how the
    page sorts at the first click, "" if it cannot. where: the formats that have it.
    """

    title: str
    cell: Callable[[Any], Cell]
    numeric: bool = True
    group: str = ""
    note: str = ""
    sort: str = "ascending"
    where: str = "html md tex"

    @property
    def full_title(self) -> str:
        """The heading with its group and note, for Markdown, whose tables have one row of headings."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.group}: {self.title}{note}" if self.group else f"{self.title}{note}"


class Table:
    """One row of cells for each item, of which the first `most` are shown; the first cell of a row is its heading."""

    def __init__(self, columns: Sequence[Column], items: Sequence[Any], most: int | None = None) -> None:
        self.columns, self.items, self.total = columns, items[:most], len(items)
        self.rows = [[column.cell(item) for column in columns] for item in self.items]
        groups = [(name, len(list(over))) for name, over in itertools.groupby(c.group for c in columns)]
        self.groups = groups if any(name for name, _ in groups) else []  # headings, and how many columns they span

    def of(self, form: str) -> Table:
        """The table with the columns that a format has."""
        return Table([column for column in self.columns if form in column.where], self.items)


def text(value: Any, mark: str = "", note: str = "") -> Cell:
    """A cell that is sorted by what it shows."""
    return Cell(str(value), value, note, mark)


def number(value: float | None, decimals: int = 0) -> Cell:
    """A number, or MISSING."""
    return Cell(fixed(value, decimals), value)
