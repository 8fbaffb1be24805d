"""Options of a command: declared once as a frozen dataclass, and read from `key=value` words.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        \"\"\"Say what the command does.\"\"\"

        examples: ClassVar[tuple[str, ...]] = ("run=runs/mine n=9",)
        run: Path = option("a run directory")
        n: int = option("how many images", 64, whole(1, 1000))

A field without a default must be given. Of a key that is given twice the last one counts. A key whose type allows
None is unset by nothing after the `=`. The `~` of paths is expanded here and nowhere else.
`gan_lab.cli.help` writes the text of `--help` from the same dataclass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gan_lab.config.messages import nearest
from gan_lab.config.ranges import Range
from gan_lab.errors import UserError

T = TypeVar("T")


def option(
    meaning: str, default: Any = MISSING, allowed: Range | None = None, *, shown: str = "", also: str = ""
) -> Any:
    """Declare a key. `shown`: the default in words, for help. `also`: another spelling of the key."""
    metadata = {"meaning": meaning, "range": allowed, "shown": shown, "also": also}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def positional(
    name: str, meaning: str, takes: Callable[[str], bool], default: Any = MISSING, allowed: Range | None = None
) -> Any:
    """Declare the words without a key, those for which `takes(word)` holds: all of them (a tuple), or one."""
    return field(default=default, metadata={"meaning": meaning, "range": allowed, "name": name, "takes": takes})


def prefixed(prefix: str, meaning: str) -> Any:
    """Declare a dict of keys of any name after `prefix`, with values in YAML."""
    return field(default_factory=dict, metadata={"meaning": meaning, "prefix": prefix})


def data_dir() -> Any:
    """Declare `data_dir` for a command that may have to pack a dataset."""

    def default() -> Path:
        return Path(os.environ.get("GAN_LAB_DATA") or "./data").expanduser()

    return option("where packed datasets live", default, shown="$GAN_LAB_DATA, else ./data")


def has_no_key(word: str) -> bool:
    """Whether a word is not `key=value`."""
    return "=" not in word


def is_path(word: str) -> bool:
    """Whether a word names a file or directory: folders of sweeps have `=` in their names, as options do."""
    try:
        return "=" not in word or "/" in word.partition("=")[0] or os.path.isdir(os.path.expanduser(word))
    except ValueError:  # no name of a file: a zero byte
        return False


@dataclass(frozen=True)
class Kind:
    """A type of value: how to read it (ValueError or RuntimeError if it cannot be), and words for messages."""

    read: Callable[[str], Any]
    placeholder: str
    text: str


def _read_bool(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _read_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    return Path(text).expanduser()


KINDS = {
    str: Kind(str, "TEXT", "text"),
    int: Kind(int, "N", "a whole number"),
    float: Kind(float, "X", "a number"),
    bool: Kind(_read_bool, "true|false", "true or false"),
    Path: Kind(_read_path, "PATH", "a path"),
    tuple[str, ...]: Kind(lambda text: tuple(filter(None, text.split(","))), "A,B,...", "names with commas between"),
    dict[str, Any]: Kind(str, "VALUE", "any YAML value"),
}


@dataclass(frozen=True)
class Declared:
    """One field of a dataclass of options, with its type resolved."""

    field: str
    key: str  # what stands before the `=`, or the name of words without one
    kind: Kind
    meaning: str
    allowed: Range | None
    default: Any  # MISSING if the option must be given
    shown: str  # the default in words
    optional: bool  # None is allowed
    also: str
    prefix: str
    takes: Callable[[str], bool] | None
    many: bool  # a positional that takes several words

    @property
    def must(self) -> str:
        """The allowed values, as in "must be ..."."""
        return self.allowed.text if self.allowed else self.kind.text

    def read(self, text: str) -> Any:
        """The value of a text; UserError where it is not of the type or out of range."""
        if self.optional and not text:
            return None
        try:
            value = self.kind.read(text)
            if self.allowed is None or self.allowed.holds(value):
                return value
        except (ValueError, KeyError, RuntimeError):  # RuntimeError: `~name` of nobody
            pass
        hint = nearest(text, self.allowed.choices) if self.allowed and self.allowed.choices else ""
        raise UserError(f"{self.key}={text}: must be {self.must}{hint if 'did you mean' in hint else ''}")


def declared(options: Any) -> list[Declared]:
    """The fields of a dataclass of options, in order."""
    hints, found = get_type_hints(options), []
    for f in fields(options):
        about, hint = f.metadata, hints[f.name]
        many = "takes" in about and get_origin(hint) is tuple
        kinds = get_args(hint)[:1] if many else get_args(hint) if isinstance(hint, UnionType) else (hint,)
        default = f.default if f.default_factory is MISSING else f.default_factory
        found.append(
            Declared(
                field=f.name,
                key=about.get("name") or (f"{about['prefix']}KEY" if "prefix" in about else f.name),
                kind=KINDS[kinds[0]],
                meaning=about["meaning"],
                allowed=about.get("range"),
                default=default,
                shown=about.get("shown", ""),
                optional=type(None) in kinds,
                also=about.get("also", ""),
                prefix=about.get("prefix", ""),
                takes=about.get("takes"),
                many=many,
            )
        )
    return found


def parse(options: type[T], words: Sequence[str]) -> T:
    """Read the words of a command; UserError, one sentence, for the first one that does not fit."""
    all_options = declared(options)
    keyed = [o for o in all_options if not o.takes and not o.prefix]
    by_key = {o.key: o for o in keyed} | {o.also: o for o in keyed if o.also}
    keys = [o.key for o in all_options if not o.takes]
    values: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        free = next((o for o in all_options if o.prefix and key.startswith(o.prefix)), None)
        place = next((o for o in all_options if o.takes and o.takes(word) and (o.many or o.field not in values)), None)
        if place:
            value = place.read(word)
            values[place.field] = (*values.get(place.field, ()), value) if place.many else value
        elif not separator:
            raise UserError(f"'{word}' is not key=value; the keys are: {', '.join(keys)}")
        elif key in by_key:
            values[by_key[key].field] = by_key[key].read(text)
        elif free:
            values.setdefault(free.field, {})[key.removeprefix(free.prefix)] = _yaml(word, text)
        else:
            raise UserError(f"unknown key '{key}'{nearest(key, keys)}")
    for o in all_options:
        if o.default is MISSING and o.field not in values:
            raise UserError(f"{o.key}{'' if o.takes else '='} is missing: give {o.meaning}")
    return options(**values)


def _yaml(word: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{word}: the value cannot be read ({str(error).splitlines()[0]})") from error
