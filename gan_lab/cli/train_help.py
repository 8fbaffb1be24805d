"""Make the text of `train.py --help` from the schema, the YAML files of the groups, and the signatures they name."""

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from gan_lab.cli.help import WIDTH, row
from gan_lab.cli.options import KINDS
from gan_lab.config.compose import compose
from gan_lab.config.messages import nearest
from gan_lab.config.options import GROUPS, config_dir, group_options
from gan_lab.config.plain import plain
from gan_lab.config.ranges import Range
from gan_lab.config.schema import PATH_KEYS, leaf_settings
from gan_lab.config.tree import nodes, select
from gan_lab.errors import UserError

COLUMN = 38  # of the meanings
Row = tuple[str, list[str]]  # a key, and the lines about it
_PLAIN = (int, float, bool, str)
USAGE = """\
usage: python train.py [GROUP=OPTION ...] [KEY=VALUE ...]

  python train.py norm=bssn dataset=cifar10
  python train.py run=runs/mine                 goes on with that run's own settings; further words change some
  python train.py config=FILE name=again        another run with the settings of a run's config.yaml
  python train.py -m norm=sn,bssn seed=1,2      a sweep: every combination
  python train.py -m sweep=norms name=mine      a prepared sweep; the same command again goes on with it
  python train.py --cfg job norm=bssn           what would run

groups and their options:"""
MORE = """\
--help TOPIC explains a group, a section or a key (--help trainer), --help all everything; with other words it shows
what they choose (--help generator generator=resnet). --hydra-help has Hydra's own options."""


def show_help(arguments: Sequence[str]) -> int:
    """Print the overview, or what is known of the topics among the words. Returns the exit status."""
    words = [word for word in arguments if not word.startswith("-") and word != "help"]
    topics = [word.rstrip(".") for word in words if "=" not in word]
    if not topics:
        print(overview())
        return 0
    settings = [word for word in words if "=" in word]
    tree = plain(compose(*settings))
    sections = list(dict.fromkeys([*GROUPS, *_sections()]))
    for topic in sections if "all" in topics else topics:
        print("\n".join(_topic(topic, tree)))
    return 0


def overview() -> str:
    """Return the first screen: groups with their options, and the keys of every section."""
    installed = Path(sys.argv[0]).name in ("gan-lab", "gan-lab.exe", "__main__.py")
    lines, before = [USAGE.replace("python train.py", "gan-lab train") if installed else USAGE], 0
    for group in GROUPS:
        listed = _listed(group, ", ".join(group_options(group)))
        if len(listed) == before == 1 and len(lines[-1]) + len(listed[0]) <= 118:
            lines[-1] += f";{listed[0][1:]}"  # two short ones share a line: the screen has forty
        else:
            lines += listed
        before = len(listed)
    lines += ["", "keys:"]
    for section, keys in _sections().items():
        own = ", ".join(key.rpartition(".")[2] for key in keys)
        lines += _listed(f"{section}.*" if section != "general" else "", own)
    return "\n".join([*lines, "", MORE])


def _listed(name: str, text: str) -> list[str]:
    start = f"  {name}: " if name else "  "
    return textwrap.wrap(text, 118, initial_indent=start, subsequent_indent="    ")


def _sections() -> dict[str, list[str]]:
    """Return the schema's keys by section, without those that hold a whole group."""
    found: dict[str, list[str]] = {"general": []}
    for key, _ in leaf_settings():
        if key not in GROUPS:
            found.setdefault(key.rpartition(".")[0] or "general", []).append(key)
    return found


def _topic(topic: str, tree: dict[str, Any]) -> list[str]:
    sections = _sections()
    if topic in GROUPS or topic in sections:
        title = f"{topic}={'|'.join(group_options(topic))}" if topic in GROUPS else topic
        lines = [*textwrap.wrap(title, WIDTH, break_on_hyphens=False, subsequent_indent="  "), ""]
        for name in group_options(topic) if topic in GROUPS else ():
            lines += row(f"{topic}={name}", _about(topic, name), COLUMN)
        rows = _rows_of(topic, tree)
        return [*lines, *([""] if topic in GROUPS and rows else []), *(line for _, r in rows for line in r), ""]
    everywhere = (r for section in dict.fromkeys([*sections, *GROUPS]) for r in _rows_of(section, tree))
    rows = [r for r in everywhere if _is_below(r[0], topic)]
    if not rows:
        known = [*GROUPS, *sections, *(key for keys in sections.values() for key in keys)]
        raise UserError(f"there is no help on '{topic}'{nearest(topic, known)}")
    return [line for _, r in rows for line in r]


def _rows_of(section: str, tree: dict[str, Any]) -> list[Row]:
    return [*_schema_rows(_sections().get(section, []), tree), *_node_rows(section, tree)]


def _is_below(key: str, topic: str) -> bool:
    return key == topic or key.startswith(f"{topic}.") or key.rpartition(".")[2] == topic


def _schema_rows(keys: Sequence[str], tree: dict[str, Any]) -> Iterator[Row]:
    fields = dict(leaf_settings())
    for key in keys:
        about = fields[key].metadata
        kind = "PATH" if key in PATH_KEYS else _placeholder(str(fields[key].type))
        yield key, _row(f"{key}={kind}", about["meaning"], about["range"], _shown(select(tree, key)))


def _node_rows(section: str, tree: dict[str, Any]) -> Iterator[Row]:
    """Yield the arguments of all nodes of a group, as their signatures have them: importing these imports torch."""
    from gan_lab.config.check import NODE_RANGES
    from gan_lab.config.targets import INJECTED, INJECTED_ANYWHERE, hints_of, locate

    for key, node in nodes(tree.get(section), section) if section in GROUPS else ():
        found = locate(node["_target_"], key, tuple(tree["extensions"]))
        parameters, hints = inspect.signature(found).parameters, hints_of(found)
        given = [name for name in node if not name.startswith("_")]
        hidden = INJECTED.get(key, frozenset()) | INJECTED_ANYWHERE | set(given)
        left_out = [
            n for n, p in parameters.items() if n not in hidden and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        for name in [*given, *left_out]:
            full = f"{key}.{name}"
            value = node[name] if name in node else parameters[name].default
            kind = "PATH" if full in PATH_KEYS else _placeholder(hints.get(name, ""))
            start = full if name in node else f"+{full}"
            meaning = _meaning(inspect.getdoc(found) or "", name) or _comment(section, name)
            yield full, _row(f"{start}={kind}", meaning, NODE_RANGES.get(full), _shown(value))


def _row(name: str, meaning: str, allowed: Range | None, default: str) -> list[str]:
    more = "; ".join(filter(None, (allowed.text if allowed else "", f"default: {default}")))
    return row(name, f"{meaning} ({more})".strip(), COLUMN)


def _placeholder(hint: Any) -> str:
    """Return the kind of value that a type stands for: N, X, TEXT, ..."""
    if isinstance(hint, str):  # of the schema
        hint = {"int": int, "float": float, "bool": bool, "str": str}.get(hint.removesuffix(" | None"), hint)
    if "list" in str(hint) or "tuple" in str(hint):
        return "[A,B,...]"
    kinds = [KINDS[h].placeholder for h in (hint, *get_args(hint)) if h in _PLAIN]
    return "|".join(dict.fromkeys(kinds)) or "VALUE"


def _shown(value: Any) -> str:
    """Return a value in YAML, on one line."""
    if value is inspect.Parameter.empty:
        return "none, it must be set"
    try:
        return as_yaml(value)
    except yaml.YAMLError:
        return str(value)


def as_yaml(value: Any) -> str:
    """Return a value in YAML, on one line. Raises yaml.YAMLError for what YAML cannot hold."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("...").strip()


def _meaning(doc: str, name: str) -> str:
    """Return what a docstring says behind `name:`, up to the next name, sentence or paragraph."""
    found = re.search(rf"(?:^|[\s.]){name}: (.+?)(?=\.(?:\s|$)|\n\n|\n\s*\w+: |\Z)", doc, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _comment(group: str, name: str) -> str:
    """Return the comment that a YAML file of the group has beside a key."""
    files = sorted((config_dir() / group).glob("*.yaml"))
    return next(filter(None, (beside_key(path.read_text("utf-8"), name) for path in files)), "")


def beside_key(text: str, name: str) -> str:
    """Return the comment that a YAML file has beside a key; "" if it has none."""
    found = re.search(rf"^\s*{name}:[^#\n]*#\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _about(group: str, name: str) -> str:
    """Return the first comment of an option's file."""
    text = (config_dir() / group / f"{name}.yaml").read_text("utf-8")
    lines = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    lines = [line for line in lines if not line.startswith("@")]
    return re.split(r"(?<=[^.][a-z)0-9])\.\s", " ".join(lines))[0] if lines else ""
