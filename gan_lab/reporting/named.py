"""Tell which option of `conf/` a part of a configuration comes from, and whether a command can have led to it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import yaml

from gan_lab.config.options import GROUPS, config_dir
from gan_lab.config.ranges import is_number
from gan_lab.config.schema import PATH_KEYS
from gan_lab.config.tree import flatten, select

_NO_OPTION_MATCHES = 4  # if more settings differ from an option, its name would mislead
_WORDS = {"true": True, "false": False, "null": None, "none": None, "~": None}


def option(group: str, node: Any) -> tuple[str, dict[str, Any]] | None:
    """Return the option of conf/<group>/ that a node comes from, and the settings in which the node differs from it.

    A penalty is named by its keys, and all that it sets counts as the option's.
    """
    if not isinstance(node, dict):
        return ("none", {}) if node is None else None
    if group == "penalty":
        return ("+".join(node) or "none"), {}
    found = {name: changed for name, changed in _fitting(group, node).items() if len(changed) <= _NO_OPTION_MATCHES}
    name = min(found, key=lambda name: len(found[name]), default=None)
    return None if name is None else (name, found[name])


def contradiction(overrides: Mapping[str, str], config: Mapping[str, Any]) -> str | None:
    """Return the first word of a command that cannot have led to this configuration, None if all can.

    A refused command (other settings for a run that is there) leaves its words in the run's .hydra/overrides.yaml.
    Words that cannot be judged (your own options, lists, interpolations) contradict nothing.
    """
    for key, text in overrides.items():
        node = config.get(key) if key in GROUPS else None
        chosen = isinstance(node, dict) and _wrong_option(key, text, node, overrides)
        if chosen or (not isinstance(node, dict) and _wrong_value(key, text, config)):
            return f"{key}={text}"
    return None


def _wrong_option(group: str, name: str, node: dict[str, Any], overrides: Mapping[str, str]) -> bool:
    """Whether another option of the group fits the node better, without the settings that the command changes."""
    inside = {key.lstrip("~").removeprefix(f"{group}.") for key in overrides if key.lstrip("~").startswith(f"{group}.")}
    theirs = _options(group).get(name)
    if theirs is None:
        return False
    if group == "penalty":
        parts = {key.partition(".")[0] for key in theirs} - {""}
        return not inside and parts != node.keys()
    found = {
        option: {key for key in changed if not any(f"{key}.".startswith(f"{k}.") for k in inside)}
        for option, changed in _fitting(group, node).items()
    }
    nearest = min(map(len, found.values()), default=None)
    return nearest is not None and (name not in found or len(found[name]) > nearest)


_ABSENT = object()


def _wrong_value(key: str, text: str, config: Mapping[str, Any]) -> bool:
    """Whether the text of an override plainly says another value than the configuration has."""
    value, word = select(config, key, _ABSENT), text.strip("'\"")
    if value is _ABSENT or key in PATH_KEYS or re.search(r"[${}()\[\],]", word):
        return False
    said: Any = _WORDS.get(word.lower(), word)
    with suppress(ValueError):
        said = float(word)
    if is_number(value):
        return said is None or isinstance(said, bool) or (isinstance(said, float) and said != value)
    if isinstance(value, str) and not isinstance(said, float):
        return word != value
    return isinstance(value, bool) and isinstance(said, bool) and said != value


def _fitting(group: str, node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the options with the node's targets: option -> the settings in which the node differs from it."""
    leaves, fitting = flatten(node), {}
    for name, theirs in _options(group).items():
        targets = [k for k in {**leaves, **theirs} if k.endswith("_target_")]
        if all(leaves.get(k) == theirs.get(k) for k in targets):
            fitting[name] = {k: v for k, v in leaves.items() if k not in theirs or not _same(v, theirs[k])}
    return fitting


def _same(value: Any, written: Any) -> bool:
    """Return whether a resolved value may come from this value of a file in conf/."""
    return value == written or (isinstance(written, str) and ("${" in written or written == "???"))


@cache
def _options(group: str) -> dict[str, dict[str, Any]]:
    """Return option -> leaf settings of conf/<group>/."""
    options = {}
    for path in sorted((config_dir() / group).glob("*.yaml")):
        try:
            node = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, yaml.YAMLError):
            continue
        if node is None or isinstance(node, dict):
            options[path.stem] = flatten(node or {})
    return options
