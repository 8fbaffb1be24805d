"""Make reStructuredText of gan_lab's docstrings, which are plain text with `code`, lists and indented blocks."""

from __future__ import annotations

import re
from typing import Any


def to_rst(lines: list[str]) -> list[str]:
    """Return the lines with code in double backticks, other marks escaped, and indented blocks as literal ones.

    Below "Args:" and the like, `name: text` becomes a list item. A line that continues an item stays with it.
    """
    out: list[str] = []
    literal = section = item = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if not text:
            out.append("")
        elif indent == 0:
            named = re.fullmatch(r"(\w+): (.+)", text)
            is_item = text.startswith("- ") or bool(named) and (item or following.startswith("    "))
            if out and out[-1] and (literal or is_item != item):
                out.append("")
            literal, section, item = False, text in ("Args:", "Returns:", "Raises:"), is_item
            if section:
                out += [f"**{text[:-1]}**", ""]
            elif is_item and named:
                out.append(f"- ``{named[1]}``: {_text(named[2])}")
            else:
                out.append(_text(text))
        elif section:
            name, colon, rest = text.partition(": ")
            item = indent == 4 and bool(colon) and re.fullmatch(r"[\w, *]+", name) is not None or item and indent > 4
            if indent == 4 and item:
                out.append(f"- ``{name}``: {_text(rest)}")
            else:
                out.append(f"  {_text(text)}" if item else _text(text))
        elif item:
            out.append(f"  {_text(text)}")
        else:
            if not literal:
                out += ["", "::", ""]
            literal, item = True, False
            out.append(line)
    return out


def _text(line: str) -> str:
    parts = line.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|\\])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", parts[i])
    if len(parts) % 2 == 0:  # an odd backtick
        return line.replace("`", "\\`")
    return "".join(f"``{part}``" if i % 2 else part for i, part in enumerate(parts))


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
