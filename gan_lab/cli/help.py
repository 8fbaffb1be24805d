"""The text of `--help`, made from the dataclass of a command's options."""

from __future__ import annotations

import textwrap
from dataclasses import MISSING
from typing import Any

from gan_lab.cli.options import Declared, declared

WIDTH, COLUMN = 100, 26  # characters of a line, and of its column of keys


def help_text(command: str, options: Any) -> str:
    """Usage, what the command does, every option with its meaning, allowed values and default, and examples."""
    table = declared(options)
    must = [_name(o) for o in table if o.default is MISSING]
    usage = " ".join([command, *must, *(["[KEY=VALUE ...]"] if len(table) > len(must) else [])])
    paragraphs = textwrap.dedent(f"    {options.__doc__}").strip().split("\n\n")
    lines = [f"usage: {usage}", *(f"\n{textwrap.fill(text, WIDTH)}" for text in paragraphs), ""]
    for o in table:
        name = f"  {_name(o)}"
        if len(name) >= COLUMN:
            lines.append(name)
            name = ""
        text = f"{o.meaning} ({'; '.join(filter(None, (_allowed(o), _default(o))))})"
        lines += textwrap.wrap(text, WIDTH, initial_indent=name.ljust(COLUMN), subsequent_indent=" " * COLUMN)
    return "\n".join([*lines, "", "for example:", *(f"  {command} {words}".rstrip() for words in options.examples)])


def _name(o: Declared) -> str:
    return o.key if o.takes else f"{o.key}={'|'.join(_few(o)) or o.kind.placeholder}"


def _few(o: Declared) -> tuple[str, ...]:
    """The allowed words, where they are so few that they stand beside the key."""
    return o.allowed.choices if o.allowed and len(o.allowed.choices) <= 3 else ()


def _allowed(o: Declared) -> str:
    """The range, where it is not said beside the key."""
    return o.allowed.text if o.allowed and not _few(o) else ""


def _default(o: Declared) -> str:
    if o.default is MISSING:
        return "required"
    if o.shown:
        return f"default: {o.shown}"
    if o.default in (None, ()) or callable(o.default):
        return "optional"
    text = f"{o.default:g}" if isinstance(o.default, float) else str(o.default)
    return f"default: {text.lower() if isinstance(o.default, bool) else text}"
