"""Says above each included piece of code which file it is from, and beside it the numbers of its lines there."""

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude

ROOT = Path(__file__).resolve().parents[2]


class CodeWithPlace(LiteralInclude):
    """`literalinclude` with the file as its caption, and with the file's own line numbers."""

    def run(self) -> list[Any]:
        path = Path(self.env.relfn2path(self.arguments[0])[1]).resolve()
        self.options.setdefault("caption", f"``{path.relative_to(ROOT).as_posix()}``")
        self.options.setdefault("lineno-match", None)
        return super().run()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("literalinclude", CodeWithPlace, override=True)
    return {"parallel_read_safe": True}
