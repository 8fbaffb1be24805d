"""Declare the options of a command as a frozen dataclass, and parse them from `key=value` words.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        \"\"\"Say what the command does.\"\"\"

        examples = ("run=runs/mine n=9",)
        run: Path = option("a run directory")
        n: int = option("how many images", 64, whole(1, 1000))

A field without a default is required. If a key is given twice, the last one counts. `key=` sets None if the type
allows it. `~` and `$NAME` are expanded in paths. `gan_lab.cli.help` makes the text of `--help` from the
dataclass.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from gan_lab.config.messages import nearest, similar
from gan_lab.config.ranges import Range
from gan_lab.config.schema import PATH_KEYS, TEXT_KEYS, default_data_dir
from gan_lab.errors import UserError, useful_line
from gan_lab.files import expand_path

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A type of value. read: convert text (ValueError, KeyError or RuntimeError if impossible). text: for messages."""

    read: Callable[[str], Any]
    placeholder: str
    text: str


def _read_whole(text: str) -> int:
    """Read 1000, 1_000, 1e3 or 1000.0."""
    number = float(text)
    if not number.is_integer():
        raise ValueError
    return int(text) if re.fullmatch(r"[+-]?[\d_]+", text) else int(number)


def _read_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError
    path = Path(expand_path(text))
    path.expanduser()  # RuntimeError for a user that does not exist
    return path


MOST_NUMBERS = 1_000_000
NUMBERS = "whole numbers and ranges with commas between, as in 0-99,200"


def _parts(text: str) -> list[str]:
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else text  # as a configuration has lists
    return [part.strip() for part in inside.split(",")]


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, _parts(text)))


def _read_numbers(text: str) -> tuple[int, ...]:
    """Read `0-99,200`: whole numbers below 2^63 and ranges, in their order."""
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        if not (low.isdecimal() and (high.isdecimal() or part == low) and part.isascii()):
            raise ValueError
        first, last = int(low), int(high or low)
        if not (first <= last < 2**63 and last - first + len(found) < MOST_NUMBERS):
            raise ValueError
        found += range(first, last + 1)
    return tuple(found)


def _read_classes(text: str) -> tuple[int | str, ...]:
    """Read `0-9,cat`: what is no number or range is a name."""
    found: list[int | str] = []
    for part in _parts(text):
        found += _read_numbers(part) if re.fullmatch(r"[0-9]+(-[0-9]+)?", part) else [part]
        if not part or len(found) > MOST_NUMBERS:
            raise ValueError
    return tuple(found)


KINDS = {
    str: Kind(str, "TEXT", "text"),
    int: Kind(_read_whole, "N", "a whole number"),
    float: Kind(float, "X", "a number"),
    bool: Kind({"true": True, "false": False}.__getitem__, "true|false", "true or false"),
    Path: Kind(_read_path, "PATH", "a path"),
    tuple[str, ...]: Kind(_read_names, "A,B,...", "names with commas between"),
    tuple[int, ...]: Kind(_read_numbers, "A-B,C,...", f"{NUMBERS}, at most a million of them"),
    tuple[int | str, ...]: Kind(_read_classes, "A-B,NAME,...", f"names, {NUMBERS}, at most a million of them"),
    dict[str, Any]: Kind(str, "VALUE", "any YAML value"),
}


@dataclass(frozen=True)
class Declared:
    """One option of a command. `option`, `positional` and `prefixed` set the first fields, `declared` the others."""

    meaning: str
    allowed: Range | None = None
    shown: str = ""  # the default in words
    also: str = ""  # another spelling of the key
    name: str = ""  # of a positional, for help
    takes: Callable[[str], bool] | None = None  # whether a positional accepts a word
    prefix: str = ""  # of keys with any ending

    field: str = ""
    kind: Kind = KINDS[str]
    default: Any = None  # MISSING if the option is required
    optional: bool = False  # None is allowed
    many: bool = False  # a positional that takes several words

    @property
    def key(self) -> str:
        """What stands before the `=`, or the name of a positional."""
        return self.name or (f"{self.prefix}KEY" if self.prefix else self.field)

    def read(self, text: str) -> Any:
        """Convert text to a value. UserError if it is of another type or out of range."""
        if self.optional and not text:
            return None
        try:
            value = self.kind.read(text)
            if self.allowed is None or self.allowed.holds(value):
                return value
        except (ValueError, KeyError, RuntimeError):  # RuntimeError: unknown user in `~name`
            pass
        must, choices = (self.allowed.text, self.allowed.choices) if self.allowed else (self.kind.text, ())
        raise UserError(f"{self.key}={text}: must be {must}{similar(text, choices)}")


def option(
    meaning: str, default: Any = MISSING, allowed: Range | None = None, *, shown: str = "", also: str = ""
) -> Any:
    """Declare a key. `shown`: the default in words, for help. `also`: another spelling of the key."""
    return _field(Declared(meaning, allowed, shown, also), default)


def positional(
    name: str, meaning: str, takes: Callable[[str], bool], default: Any = MISSING, allowed: Range | None = None
) -> Any:
    """Declare the words without a key, those for which `takes(word)` holds: all of them (a tuple), or one."""
    return _field(Declared(meaning, allowed, name=name, takes=takes), default)


def prefixed(prefix: str, meaning: str) -> Any:
    """Declare a dict of all keys that start with `prefix`; their values are YAML."""
    return _field(Declared(meaning, prefix=prefix), dict)


def _field(about: Declared, default: Any) -> Any:
    if callable(default):
        return field(default_factory=default, metadata={"declared": about})
    return field(default=default, metadata={"declared": about})


def data_dir() -> Any:
    """Declare `data_dir` for a command that may have to pack a dataset."""
    return option("where packed datasets live", lambda: Path(default_data_dir()), shown="$GAN_LAB_DATA, else ./data")


def has_no_key(word: str) -> bool:
    """Return whether a word is not `key=value`."""
    return "=" not in word


def is_path(word: str) -> bool:
    """Return whether a word names a file or directory. Folders of sweeps have `=` in their names, like options."""
    try:
        return "=" not in word or "/" in word.partition("=")[0] or os.path.isdir(expand_path(word))
    except ValueError:  # a zero byte
        return False


def declared(options: Any) -> list[Declared]:
    """Return the options of a dataclass, in order: its own, then those of its base classes."""
    hints, found = get_type_hints(options), []
    order = [name for cls in options.__mro__ for name in get_annotations(cls)]
    for f in sorted(fields(options), key=lambda f: order.index(f.name)):
        about, hint = f.metadata["declared"], hints[f.name]
        many = about.takes is not None and get_origin(hint) is tuple
        kinds = get_args(hint)[:1] if many else get_args(hint) if isinstance(hint, UnionType) else (hint,)
        default = f.default if f.default_factory is MISSING else f.default_factory
        optional = type(None) in kinds
        found.append(replace(about, field=f.name, kind=KINDS[kinds[0]], default=default, optional=optional, many=many))
    return found


def parse(options: type[T], words: Sequence[str]) -> T:
    """Parse the words of a command. UserError, in one sentence, for the first word that does not fit."""
    all_options = declared(options)
    keyed = [o for o in all_options if not o.takes and not o.prefix]
    by_key = {o.key: o for o in keyed} | {o.also: o for o in keyed if o.also}
    keys = [o.key for o in all_options if not o.takes]
    values: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        free = next((o for o in all_options if o.prefix and key.lstrip("+").startswith(o.prefix)), None)
        if free:  # a plus, as `train` wants before a setting that the YAML file lacks, changes nothing here
            key = key.lstrip("+")
        place = next((o for o in all_options if o.takes and o.takes(word) and (o.many or o.field not in values)), None)
        if place:
            value = place.read(word)
            values[place.field] = (*values.get(place.field, ()), value) if place.many else value
        elif word.startswith("-") and key.lstrip("-") in by_key:
            raise UserError(f"{word}: options have no dashes; write {key.lstrip('-')}={text}")
        elif not separator:
            raise UserError(f"'{word}' is not key=value; the keys are: {', '.join(keys)}")
        elif key in by_key:
            values[by_key[key].field] = by_key[key].read(text)
        elif free:
            values.setdefault(free.field, {})[key.removeprefix(free.prefix)] = _yaml(key, text)
        else:
            raise UserError(f"unknown key '{key}'{nearest(key, keys)}")
    for o in all_options:
        if o.default is MISSING and o.field not in values:
            raise UserError(f"{o.key}{'' if o.takes else '='} is missing: give {o.meaning}")
    return options(**values)


def _yaml(key: str, text: str) -> Any:
    import yaml

    if key in TEXT_KEYS:  # as typed
        return None if text in ("", "null") else expand_path(text) if key in PATH_KEYS else text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{key}={text}: the value cannot be read ({useful_line(error)})") from error
