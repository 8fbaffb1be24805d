"""Write the reference pages of configuration and commands: `python -m scripts.docs.reference`.

Keys, types, defaults and ranges are read from the schema, the YAML files and the signatures they name, and the options
of the commands from their dataclasses, so a page cannot say something else than `--help` and the checks do.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import yaml

from gan_lab.cli.main import VERBS, script
from gan_lab.cli.options import Declared, declared
from gan_lab.cli.train_help import as_yaml, beside_key
from gan_lab.config.changes import COMPUTED, decides
from gan_lab.config.check import NODE_RANGES
from gan_lab.config.compose import GROUPS, config_dir, group_options
from gan_lab.config.ranges import NOT_NEGATIVE
from gan_lab.config.schema import Config, leaf_settings
from gan_lab.config.targets import INJECTED, INJECTED_ANYWHERE, locate
from gan_lab.config.tree import flatten, nodes
from scripts.docs.diagnostics import with_table
from scripts.docs.meanings import GROUP_MEANINGS, MEANINGS
from scripts.markdown import table

PAGES = Path(__file__).resolve().parents[2] / "docs" / "reference"
MADE = "<!-- Made by `python -m scripts.docs.reference`; do not edit. -->\n"
TARGET = "_target_"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write the reference pages of configuration and commands, and the table of diagnostics in docs/stability.md."""

    examples: ClassVar[tuple[str, ...]] = ("",)


def main(options: Options) -> None:
    for name, text in pages().items():
        (PAGES / name).write_text(text, "utf-8")
    stability = PAGES.parent / "stability.md"
    stability.write_text(with_table(stability.read_text("utf-8")), "utf-8")


def pages() -> dict[str, str]:
    """Return file name -> text of the made pages."""
    return {"configuration.md": configuration(), "commands.md": commands()}


def configuration() -> str:
    """Return the page of all settings of a run."""
    lines = ["# Configuration", "", MADE]
    lines += [
        "A run is configured by words on the command line: `GROUP=OPTION` chooses a file of `conf/`, `KEY=VALUE` sets "
        "one value. `+KEY=VALUE` adds a key that the chosen file leaves out; such keys are marked with + below. "
        "`python train.py --cfg job WORDS` shows the result without running it.",
        "",
        "Defaults are those of every dataset but the drawn ones, `shapes` and `faces`, whose runs are shorter; see "
        "[dataset](#dataset). What is marked *fixed*, and all groups but `metrics`, `monitor` and `tracker`, decide "
        "what is computed: a run that is resumed must have the same.",
        "",
        "## Single settings",
        "",
    ]
    lines += _settings()
    for group in GROUPS:
        lines += ["", f"## {group}", "", GROUP_MEANINGS[group], "", *_group(group)]
    return "\n".join(lines).rstrip() + "\n"


_SINGLE = ("loss.top_k", "optimizer.lr_scale")  # settings beside the nodes of their group


def _settings() -> list[str]:
    own = flatten(yaml.safe_load((config_dir() / "config.yaml").read_text("utf-8")))
    hints = {key: hint for key, hint in _schema_types()}
    rows = []
    for key, f in leaf_settings():
        if key in GROUPS or key.partition(".")[0] in ("loss", "optimizer") and key not in _SINGLE:
            continue
        default = f.default if f.default is not MISSING else f.default_factory()  # type: ignore[misc,operator]
        meaning = f.metadata["meaning"] + (" *(fixed)*" if decides(key) == COMPUTED else "")
        allowed = f.metadata["range"].text if f.metadata["range"] else ""
        default = "$GAN_LAB_DATA, else ./data" if key == "data_dir" else _value(own.get(key, default))
        rows.append([f"`{key}`", hints[key], f"`{default}`", allowed, meaning])
    return _table(["key", "type", "default", "allowed", "meaning"], rows)


def _schema_types(cls: Any = Config, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for f in fields(cls):
        hint = get_type_hints(cls)[f.name]
        if hasattr(hint, "__dataclass_fields__"):
            found += _schema_types(hint, f"{prefix}{f.name}.")
        else:
            found.append((f"{prefix}{f.name}", _type(hint)))
    return found


def _group(group: str) -> list[str]:
    """Return the table of a group's options, and one of the arguments of each class that they name."""
    options: list[list[str]] = []
    targets: dict[tuple[str, str], list[tuple[str, dict[str, Any], str]]] = {}
    if group in ("recipe", "sweep"):
        return _files(group)
    for name in group_options(group):
        text = (config_dir() / group / f"{name}.yaml").read_text("utf-8")
        tree = yaml.safe_load(text) or {}
        tree = tree if "@package _global_" in text else {group: tree}
        own = {k: n for k, n in nodes(tree) if k.split(".")[0] == group}
        sets = [f"`{k.removeprefix('override /')}={v}`" for d in tree.pop("defaults", []) for k, v in d.items()]
        shown = _differing(tree, own).items()
        sets += [
            f"`{key}={_value(value)}`" for key, value in shown if not key.endswith((TARGET, "dataset.name", ".width"))
        ]
        about = _header(text) or " ".join(_first_line(n[TARGET], k) for k, n in own.items())
        options.append([f"`{name}`", about, " ".join(sets)])
        for key, node in own.items():
            targets.setdefault((node[TARGET], _general(key)), []).append((key, node, text))
    lines = _table(["option", "what it is", "sets"], options)
    for (target, key), uses in targets.items():
        rows = _arguments(target, key, uses)
        if rows:
            lines += ["", f"`{target}`", "", *_table(["key", "type", "default", "allowed", "meaning"], rows)]
    return lines


def _first_line(target: str, key: str) -> str:
    side = f"{key.rpartition('.')[2].upper()}: " if key.startswith("loss.") else ""
    return side + (inspect.getdoc(locate(target, key)) or "").partition("\n")[0]


def _files(group: str) -> list[str]:
    """Return the files of a group whose options set many other groups, as they are."""
    lines = []
    for name in group_options(group):
        text = (config_dir() / group / f"{name}.yaml").read_text("utf-8")
        body = "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip()
        lines += [f"### {group}={name}", "", _header(text), "", "```yaml", body, "```", ""]
    return lines


def _general(key: str) -> str:
    """Return the key with a placeholder where a user's choice stands: penalty.NAME."""
    return "penalty.NAME" if key.startswith("penalty.") and key.count(".") == 1 else key


def _differing(tree: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return what an option's file sets, without arguments that are at their signature's default."""
    defaults = {}
    for key, node in own.items():
        for name, parameter in inspect.signature(locate(node[TARGET], key)).parameters.items():
            defaults[f"{key}.{name}"] = parameter.default
    leaves = {k: v for k, v in flatten(tree).items() if not k.endswith(("_partial_", "hydra"))}
    return {k: v for k, v in leaves.items() if k not in defaults or defaults[k] != (tuple(v) if _pair(v) else v)}


def _pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, (int, float)) for v in value)


def _arguments(target: str, key: str, uses: list[tuple[str, dict[str, Any], str]]) -> list[list[str]]:
    found = locate(target, key)
    hidden = INJECTED.get(uses[0][0], frozenset()) | INJECTED_ANYWHERE | {"args", "kwargs", "params"}
    given = list(dict.fromkeys(name for _, node, _ in uses for name in node if not name.startswith("_")))
    parameters = inspect.signature(found).parameters
    try:
        hints = get_type_hints(found.__init__ if inspect.isclass(found) else found)  # type: ignore[misc]
    except (NameError, TypeError):
        hints = {}
    doc, rows = inspect.getdoc(found) or "", []
    own = target.startswith("gan_lab.")
    for name in [*given, *(n for n in parameters if own and n not in given and n not in hidden)]:
        values = {_value(node[name]) for _, node, _ in uses if name in node}
        if name in parameters and _is_plain(parameters[name].default):
            default = f"`{_value(parameters[name].default)}`"
        else:
            default = f"`{values.pop()}`" if len(values) == 1 else "by option"
        allowed = NODE_RANGES.get(f"{uses[0][0]}.{name}") or (NOT_NEGATIVE if name == "weight" else None)
        meaning = _comment(name, uses) or _from_docstring(doc, name) or MEANINGS.get(name, "")
        mark = "" if name in given else "+"
        rows.append(
            [f"`{mark}{key}.{name}`", _type(hints.get(name)), default, allowed.text if allowed else "", meaning]
        )
    return rows


def _comment(name: str, uses: list[tuple[str, dict[str, Any], str]]) -> str:
    """Return the comment that one of the YAML files has beside a key."""
    return next(filter(None, (beside_key(text, name) for _, _, text in uses)), "")


def _from_docstring(doc: str, name: str) -> str:
    """Return what a docstring says behind `name:`, up to the next name, sentence or paragraph."""
    found = re.search(rf"(?:^|[\s.`-]){name}`?: (.+?)(?=\.(?:\s|$)|\n\n|\n\s*\w+: |\Z)", doc, re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def _header(text: str) -> str:
    """Return the comment that a YAML file begins with; a command in it becomes code."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment = line.removeprefix("#")
        if "@package" not in comment:
            lines.append(f"`{comment.strip()}`" if comment.startswith("    ") else comment.strip())
    return " ".join(lines)


def commands() -> str:
    """Return the page of all commands and their options."""
    lines = ["# Commands", "", MADE]
    lines += [
        "`gan-lab VERB KEY=VALUE ...`; `python -m gan_lab VERB ...` is the same in a clone that is not installed, and "
        "`python train.py ...` is `gan-lab train ...`. `gan-lab VERB --help` prints what stands here.",
        "",
        *_table(["verb", "what it does"], [[f"[`{v}`](#{v})", text] for v, text in VERBS.items()]),
    ]
    for verb, text in VERBS.items():
        lines += ["", f"## {verb}", ""]
        if verb == "train":
            lines += [
                f"{text[0].upper()}{text[1:]}. Its words are those of [Configuration](configuration.md). Flags:",
                "",
                "| flag | what it does |",
                "| --- | --- |",
                "| `-m` | run every combination of values given with commas: `norm=sn,bssn seed=1,2` |",
                "| `--cfg job` | show the configuration that would run |",
                "| `--config-dir DIR` | search DIR for options of your own, before `conf/` |",
                "| `--help` | list groups and keys |",
            ]
            continue
        options = import_module(f"gan_lab.cli.{verb.replace('-', '_')}").Options
        lines += [inspect.cleandoc(options.__doc__ or ""), "", "```"]
        lines += [f"gan-lab {verb} {words}".rstrip() for words in options.examples]
        rows = [[f"`{o.key}`", o.kind.text, _default(o), o.allowed.text if o.allowed else "", o.meaning]
                for o in declared(options)]  # fmt: skip
        lines += ["```", "", *_table(["key", "type", "default", "allowed", "meaning"], rows)]
    return "\n".join(lines) + "\n"


def _default(o: Declared) -> str:
    if o.default is MISSING:
        return "required"
    if o.shown:
        return o.shown
    return "" if o.default in (None, ()) or callable(o.default) else f"`{_value(o.default)}`"


def _value(value: Any) -> str:
    """Return a value as YAML, on one line."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict) and TARGET in value:
        rest = ", ".join(f"{k}: {_value(v)}" for k, v in value.items() if k != TARGET)
        return f"{value[TARGET].rpartition('.')[2]}({rest})"
    if isinstance(value, tuple):
        value = list(value)
    return as_yaml(value)


def _is_plain(value: Any) -> bool:
    """Return whether a default is a value of YAML: not missing, and not made by a factory."""
    return value is None or isinstance(value, (bool, int, float, str, tuple, list, dict))


def _type(hint: Any) -> str:
    """Return a type in words."""
    words = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null", None: "",
             Any: "any", inspect.Parameter.empty: ""}  # fmt: skip
    if isinstance(hint, type) and hint in words or hint is None or hint is Any:
        return words[hint]
    if get_origin(hint) in (list, tuple):
        return f"list of {_type(get_args(hint)[0])}" if get_args(hint) else "list"
    if get_origin(hint) is dict or hint is dict:
        return "mapping"
    if "Callable" in str(hint) and get_args(hint):
        return "number or schedule" if "float" in str(hint) else "node"
    if "Literal" in str(hint):
        return " or ".join(str(a) for a in get_args(hint))
    if get_args(hint):
        return " or ".join(dict.fromkeys(filter(None, map(_type, get_args(hint)))))
    return getattr(hint, "__name__", str(hint))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return table(head, [[cell.replace("|", "\\|") for cell in row] for row in rows]).splitlines()


if __name__ == "__main__":
    sys.exit(script("python -m scripts.docs.reference", Options, main))
