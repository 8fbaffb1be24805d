"""Tables as plain data; the templates write them as HTML, Markdown and LaTeX."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gan_lab.reporting.formatting import MISSING, fixed


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    sort: the value that the page sorts by; None comes last. note: shown below the text. mark: good, bad or open.
    recipe: index of the recipe whose line style is shown before the text. strip: a small chart, see `tables.strips`.
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
    """A column: its title, and a function from an item of the table to the cell.

    numeric: aligned to the right. group: heading over neighbouring columns. note: shown below the title. sort: order of
    the first click in the page, "" for none. where: the formats that contain it.
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
        """The title with group and note, for Markdown, whose tables have one header row."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.group}: {self.title}{note}" if self.group else f"{self.title}{note}"


class Table:
    """A table with one row per item, at most the first `most`. The first cell of a row is its header."""

    def __init__(self, columns: Sequence[Column], items: Sequence[Any], most: int | None = None) -> None:
        self.columns, self.items, self.total = columns, items[:most], len(items)
        self.rows = [[column.cell(item) for column in columns] for item in self.items]
        groups = [(name, len(list(over))) for name, over in itertools.groupby(c.group for c in columns)]
        self.groups = groups if any(name for name, _ in groups) else []  # (heading, number of columns)

    def for_format(self, form: str) -> Table:
        """Return the table with the columns of a format."""
        return Table([column for column in self.columns if form in column.where], self.items)


def text(value: Any, mark: str = "", note: str = "") -> Cell:
    """Make a cell that is sorted by its text."""
    return Cell(str(value), value, note, mark)


def number(value: float | None, decimals: int = 0) -> Cell:
    """Make a cell with a number, or MISSING."""
    return Cell(fixed(value, decimals), value)
