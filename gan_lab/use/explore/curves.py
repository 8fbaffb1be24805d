"""The curves of a run that may be training, read as its files grow."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from gan_lab.config.ranges import is_number
from gan_lab.runs.files import parse_row

POINTS = 400  # of a curve
LOSSES = ("loss/d", "loss/g")


class Rows(Protocol):
    """What takes the rows of a file, one after another; a list, for instance."""

    def append(self, row: dict[str, Any], /) -> None: ...


T = TypeVar("T", bound=Rows)


class Followed(Generic[T]):
    """A JSON-lines file of which each look reads only the lines that are new: in a run of a week it becomes long.

    make: makes what the file's rows are appended to, anew where the file is another one.
    """

    def __init__(self, path: Path, make: Callable[[], T]) -> None:
        self.path, self.make = path, make
        self._begin()

    def _begin(self) -> None:
        self.rows, self._end, self._last = self.make(), 0, b""  # bytes read, and the last line of them

    def look(self) -> T:
        """Return all complete rows up to now. A line that is being written is left for the next look."""
        if not self.path.is_file():
            self._begin()
            return self.rows
        with self.path.open("rb") as file:
            file.seek(self._end - len(self._last))
            if file.read(len(self._last)) != self._last:  # a resumed run has cut its file, and perhaps written on
                self._begin()
                file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._end, self._last = self._end + len(line), line
                if (row := parse_row(line)) is not None:
                    self.rows.append(row)
        return self.rows


class Curve:
    """[step, value] of the rows that have the key, thinned to at most POINTS evenly spaced ones, and the last one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._kept: list[list[float]] = []
        self._last: list[list[float]] = []  # the last point, if there is one
        self._every, self._seen = 1, 0

    def append(self, row: dict[str, Any]) -> None:
        """Add the row's point, if it has one. A full curve drops every second point."""
        if not (is_number(row.get("step")) and is_number(row.get(self.key))):
            return
        self._last = [[row["step"], row[self.key]]]
        if self._seen % self._every == 0:
            self._kept += self._last
        self._seen += 1
        if len(self._kept) > POINTS:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def points(self) -> list[list[float]]:
        """Return the points up to now."""
        return self._kept + (self._last if self._kept[-1:] != self._last else [])


def curve_of(rows: Iterable[dict[str, Any]], key: str) -> list[list[float]]:
    """Return the points of a curve of these rows."""
    curve = Curve(key)
    for row in rows:
        curve.append(row)
    return curve.points()


class Losses:
    """The curves of LOSSES and the last row: what the page shows of train.jsonl."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self._curves = [Curve(key) for key in LOSSES]

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self.last = row
        for curve in self._curves:
            curve.append(row)

    def curves(self) -> dict[str, list[list[float]]]:
        """Return key -> points."""
        return {curve.key: curve.points() for curve in self._curves}
