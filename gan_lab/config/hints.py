"""Say what is wrong with a word of the command line that names no setting, or that Hydra cannot read."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import Override

from gan_lab.config.messages import closest, did_you_mean, nearest
from gan_lab.config.options import GROUPS, group_options, keys_of_options
from gan_lab.config.schema import SCHEMA_KEYS, SECTIONS
from gan_lab.config.tree import all_keys, select
from gan_lab.config.words import quoted
from gan_lab.errors import UserError


def check_keys(parsed: Sequence[Override], base: dict[str, Any]) -> None:
    """Raise UserError if an override sets a key that `base`, the configuration, lacks. `+key` adds one to a node."""
    names = all_keys(base) | set(GROUPS)
    for override in parsed:
        key = override.key_or_group
        if override.is_delete() and key not in GROUPS and key in SCHEMA_KEYS:
            raise UserError(f"{override.input_line}: '{key}' cannot be removed; set it to another value")
        if (is_added(override) and not nowhere(key)) or re.split(r"[./]", key)[0] == "hydra" or key in names:
            continue
        raise UserError(_unknown(key, str(override.input_line), base, names))


def is_added(override: Override) -> bool:
    return bool(override.is_add() or override.is_force_add())


def nowhere(key: str) -> bool:
    """Whether nothing would read a key: it lies outside all nodes, and the schema lacks it."""
    top, _, rest = key.partition(".")
    in_section = f"{top}.{rest.partition('.')[0]}"
    known = top in SCHEMA_KEYS and (top not in SECTIONS or in_section in SCHEMA_KEYS)
    return not known and re.split(r"[./]", key)[0] != "hydra"


def _unknown(key: str, word: str, base: dict[str, Any], names: set[str]) -> str:
    group, _, rest = key.partition(".")
    node, _, last = key.rpartition(".")
    if group in ("generator", "discriminator") and rest in ("resolution", "channels", "num_classes"):
        return f"{key} cannot be set: it is a property of the data, passed in by gan_lab"
    if (
        group == "penalty"
        and (name := rest.partition(".")[0]) in group_options("penalty")
        and name not in base["penalty"]
    ):
        return not_chosen(name, word)
    if group in ("norm", "metrics", "augment") and "_target_" not in (base.get(group) or {}):
        return f"{key}: {group}=none takes no such setting; choose an option of '{group}' first"
    empty = [n for n in names.difference(GROUPS) if key.startswith(f"{n}.") and select(base, n) == {}]
    if empty:
        return f"unknown key '{key}': '{empty[0]}' is empty; add to it with +{word}"
    # Compare only the last part of siblings: their long common prefix would make all of them similar.
    siblings = [n.rpartition(".")[2] for n in names if n.rpartition(".")[0] == node] if node in names else []
    close = closest(last, siblings)
    ending = sorted(n for n in names if n.endswith(f".{last}") or (node and n == last))
    if below := [n for n in ending if n.startswith(f"{node}.")] if siblings else []:
        hint = did_you_mean(below)
    elif close:
        hint = did_you_mean([f"{node}.{close}"])
    elif siblings and not ending:
        advice = f" (an argument that the YAML file leaves out is added with +{word})" if not nowhere(key) else ""
        hint = f"; '{node}' has: {', '.join(sorted(siblings))}{advice}"
    else:
        spelled = nearest(key, names) if node else _similar_ending(last, names) or nearest(key, names)
        hint = did_you_mean(ending[:6]) or _elsewhere(last) or spelled
    return f"unknown key '{key}' in '{word}'{hint}"


def _elsewhere(last: str) -> str:
    """Suggest keys that end so and that options not chosen here would have."""
    found = {key: options for key, options in keys_of_options().items() if key.rpartition(".")[2] == last}
    texts = [f"'{key}', with {', '.join(options[:6])}" for key, options in sorted(found.items())[:3]]
    return f"; did you mean {' or '.join(texts)}?" if texts else ""


def _similar_ending(last: str, names: set[str]) -> str:
    by_ending: dict[str, list[str]] = {}
    for name in sorted(names):
        by_ending.setdefault(name.rpartition(".")[2], []).append(name)
    close = closest(last, by_ending)
    return did_you_mean(by_ending[close][:6]) if close else ""


def not_chosen(name: str, word: str) -> str:
    """Say how to choose a penalty that a word sets without choosing it."""
    setting = word.lstrip("+")
    return (f"penalty.{name} is set but not chosen: write penalty={name} {setting}, or penalty=[{name},...] "
            "to keep others beside it")  # fmt: skip


def check_single(parsed: Sequence[Override], base: dict[str, Any]) -> None:
    """Raise UserError if an override has several values, as only those of a sweep have."""
    for override in parsed:
        if not override.is_sweep_override():
            continue
        word, (key, _, values) = str(override.input_line), str(override.input_line).partition("=")
        each = f"add -m to train with each in turn: -m {shlex.quote(word)}"
        takes_list = key == "penalty" or isinstance(select(base, key), list)
        if takes_list and getattr(override.value(), "simple_form", False):
            raise UserError(f"{word}: write {key}=[{values}] for all of them at once, or {each}")
        raise UserError(f"{word} has several values: {each}")


def unreadable(word: str, reason: str) -> UserError:
    """Make the error for a word that Hydra cannot read; it shows the word to type instead."""
    key, _, value = word.partition("=")
    if re.match(r"[\[{]", value):
        advice = "close its brackets, and quote texts in it that hold spaces or signs, as in '[\"a b\",c]'"
    else:
        advice = f"if the value is meant as text, type {shlex.quote(f'{key}={quoted(value)}')}"
    return UserError(f"cannot read '{word}' ({reason}): {advice}")
