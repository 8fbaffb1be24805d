"""Tables in Markdown, and what stands between two marks of a page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from gan_lab.errors import UserError
from gan_lab.files import write_atomically


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, its lines ended by a line feed."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def around_marks(page: Path, begin: str, end: str) -> tuple[str, str]:
    """Return a page's text up to the mark `begin` and from the mark `end` on; UserError where they are not there."""
    try:
        before, rest = page.read_text("utf-8").split(begin)
        _, after = rest.split(end)
        if end in before:
            raise ValueError(end)
    except (OSError, ValueError):
        raise UserError(
            f"{page} is no document with one mark {begin} and one {end} after it, between which the table goes; "
            "take the page from the repository"
        ) from None
    return before + begin, end + after


def write_between_marks(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, after = around_marks(page, begin, end)
    write_atomically(page, f"{before}\n{text.rstrip()}\n{after}".encode())
