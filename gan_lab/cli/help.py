"""Make the text of `--help` from the dataclass of a command's options."""

import textwrap
from dataclasses import MISSING
from typing import Any

from gan_lab.cli.options import Declared, declared

WIDTH, COLUMN = 100, 26  # characters per line, and in the column of keys


def help_text(command: str, options: Any) -> str:
    """Return usage, description, every option with meaning, range and default, and examples."""
    table = declared(options)
    must = [_name(o) for o in table if o.default is MISSING]
    usage = " ".join([command, *must, *(["[KEY=VALUE ...]"] if len(table) > len(must) else [])])
    paragraphs = textwrap.dedent(f"    {options.__doc__}").strip().split("\n\n")
    lines = [f"usage: {usage}", *(f"\n{textwrap.fill(text, WIDTH)}" for text in paragraphs), ""]
    for o in table:
        lines += row(_name(o), f"{o.meaning} ({'; '.join(filter(None, (_allowed(o), _default(o))))})")
    return "\n".join([*lines, "", "for example:", *(f"  {command} {words}".rstrip() for words in options.examples)])


def row(name: str, text: str, column: int = COLUMN) -> list[str]:
    """Return the lines of a name and its text, the text in a column of its own."""
    start = f"  {name}"
    above = [start] if len(start) >= column else []
    first = ("" if above else start).ljust(column)
    return [*above, *textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * column)]


def _name(o: Declared) -> str:
    return o.key if o.takes else f"{o.key}={'|'.join(_short_choices(o)) or o.kind.placeholder}"


def _short_choices(o: Declared) -> tuple[str, ...]:
    """Return the allowed words if there are at most three; they are shown beside the key."""
    return o.allowed.choices if o.allowed and len(o.allowed.choices) <= 3 else ()


def _allowed(o: Declared) -> str:
    """Return the range in words, unless the choices are shown beside the key."""
    return o.allowed.text if o.allowed and not _short_choices(o) else ""


def _default(o: Declared) -> str:
    if o.default is MISSING:
        return "required"
    if o.shown:
        return f"default: {o.shown}"
    if o.default in (None, ()) or callable(o.default):
        return "optional"
    text = f"{o.default:g}" if isinstance(o.default, float) else str(o.default)
    return f"default: {text.lower() if isinstance(o.default, bool) else text}"
