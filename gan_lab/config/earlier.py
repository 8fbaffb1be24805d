"""Start from an earlier configuration: `run=DIR` goes on with the run in DIR, `config=FILE` starts another one,
unless the file has a `name` and the command gives no other: then it is the run of that name.

The other words of the command are applied on top, groups included (`metrics=none`).
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore

from gan_lab.config.options import config_dir
from gan_lab.config.schema import Config
from gan_lab.config.tree import check_size, walk
from gan_lab.config.words import quoted
from gan_lab.errors import UserError, useful_line
from gan_lab.files import expand_path

_PRIMARY = "earlier"  # in Hydra's store; conf/ has no file of this name
_UNREADABLE = (OSError, ValueError, yaml.YAMLError, RecursionError)
_RESOLVER = re.compile(r"\$\{.*:", re.DOTALL)  # ${name:...}; ${key} is another setting
_CHOOSE_OTHERS = ("recipe", "dataset", "sweep")  # groups whose options choose options of other groups


def primary_config(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of Hydra's primary configuration for these words, and the words without run= and config=.

    `name=NAME` alone, where runs/NAME holds a run, is run=runs/NAME. Raises UserError if there is no configuration.
    """
    given = [word for word in words if re.match(r"(run|config)=", word)]
    rest = [word for word in words if word not in given]
    if not given and len(words) == 1 and (named := re.fullmatch(r"name='?([\w.=,+-]+)'?", words[0], re.ASCII)):
        folder = Path("runs", named[1])
        given = [f"run={folder}"] if (folder / "config.yaml").is_file() else []
        rest = [] if given else rest
    if not given:
        return "config", list(words)
    if len(given) > 1:
        raise UserError(f"{' '.join(given)}: give one run= or config=")
    key, _, text = given[0].partition("=")
    path = _expanded(given[0], text)
    if key == "run":
        clash = next((w for w in rest if w.startswith(("name=", "hydra.run.dir="))), None)
        if clash:
            raise UserError(f"{clash}: run={text} says already where to go on; leave one of them out")
        folder = path.parent if path.name == "config.yaml" else path
        _store(_read(folder / "config.yaml", f"run={text}"), rest, f"run={text}")
        rest += [f"hydra.run.dir={quoted(str(folder))}", "hydra.output_subdir=null"]  # .hydra/ keeps the first command
    else:
        _store(_read(path / "config.yaml" if path.is_dir() else path, f"config={text}"), rest, f"config={text}")
    return _PRIMARY, rest


def is_whole(file: Path) -> bool:
    """Whether a YAML file is a whole configuration, as a run writes it, and not one that Hydra composes from others."""
    with suppress(*_UNREADABLE):
        return _is_whole(yaml.safe_load(file.read_bytes()))
    return False


def _is_whole(tree: Any) -> bool:
    return isinstance(tree, dict) and "defaults" not in tree and {"generator", "trainer"} <= tree.keys()


def _expanded(word: str, text: str) -> Path:
    try:
        if not text or "\0" in text:
            raise ValueError("a path is missing")
        return Path(expand_path(text))
    except ValueError as error:
        raise UserError(f"{word}: {error}") from error


def _read(file: Path, word: str) -> dict[str, Any]:
    """Read a whole configuration; UserError if the file holds none."""
    try:
        tree = yaml.safe_load(file.read_bytes())
    except FileNotFoundError as error:
        jobs = sorted(path.parent for path in file.parent.glob("*/config.yaml"))
        hint = f"; it holds several runs, one is run={jobs[0]}" if jobs else ""
        raise UserError(f"{word}: there is no {file}{hint}") from error
    except _UNREADABLE as error:
        raise UserError(f"{word}: {file} cannot be read ({useful_line(error)})") from error
    check_size(tree, f"{word}: {file}")
    known = {f.name for f in fields(Config)}
    if not _is_whole(tree):
        raise UserError(f"{word}: {file} is not the configuration of a run: it lacks settings, or has a defaults list")
    unknown = sorted(str(key) for key in tree.keys() - known - {"hydra"})
    if unknown:
        raise UserError(f"{word}: {file} has the key '{unknown[0]}', which is no setting")
    kept = {key: tree[key] for key in tree if key in known}
    if resolved := next((key for key, value in walk(kept) if isinstance(value, str) and _RESOLVER.search(value)), None):
        raise UserError(f"{word}: {file} asks for more than settings at {resolved}, such as a variable of the "
                        "environment: write the value there")  # fmt: skip
    return kept | {"run_dir": None, "resume": "auto"}


def _store(tree: dict[str, Any], words: Sequence[str], given: str) -> None:
    """Store the configuration for Hydra. A group that the words choose anew is left out, and so is replaced whole.

    UserError if it lists modules of its own that the words do not name: naming them is trusting their code.
    """
    keys = {re.split(r"[=@]", word.lstrip("+~"))[0] for word in words}
    if (own := tree.get("extensions")) and "extensions" not in keys:
        listed = ",".join(map(str, own)) if isinstance(own, list) else own
        raise UserError(f"{given}: its settings name code of their own, which would be run: if you trust it, repeat "
                        f"with extensions=[{listed}]")  # fmt: skip
    chosen = sorted(key for key in keys if (config_dir() / key).is_dir() and key.isidentifier() and key != "hydra")
    unfit = [key for key in chosen if key in _CHOOSE_OTHERS]
    if unfit:
        raise UserError(f"{unfit[0]}= chooses a configuration of its own; with run= or config= set single settings "
                        f"or groups, as in {unfit[0]}.KEY=VALUE")  # fmt: skip
    kept = {key: value for key, value in tree.items() if key not in chosen}
    defaults = ["schema", "_self_", *({key: None} for key in chosen)]
    ConfigStore.instance().store(name=_PRIMARY, node={"defaults": defaults, **kept, "hydra": _hydra_section()})


@cache
def _hydra_section() -> dict[str, Any]:
    section: dict[str, Any] = yaml.safe_load((config_dir() / "config.yaml").read_bytes())["hydra"]
    return section


def with_config_word(arguments: Sequence[str]) -> list[str]:
    """Write Hydra's --config-path and --config-name as config=FILE if they name a run's config.yaml.

    Hydra would take such a file for the whole program, without gan_lab's own settings of Hydra.
    """
    names = {"-cp": "path", "--config-path": "path", "-cn": "name", "--config-name": "name", "-cd": "dir",
             "--config-dir": "dir"}  # fmt: skip
    given: dict[str, str] = {}
    rest, words = [], iter(arguments)
    for word in words:
        flag, attached, value = word.partition("=")
        if flag not in names:
            rest.append(word)
            continue
        given[names[flag]] = expand_path(value if attached else next(words, ""))
        if names[flag] == "dir":
            rest += [flag, given["dir"]]
    folders = [given["path"]] if "path" in given else [given.get("dir", ""), str(config_dir())]
    file = given.get("name", "config").removesuffix(".yaml") + ".yaml"
    found = next((Path(folder, file) for folder in folders if folder and is_whole(Path(folder, file))), None)
    if found is None or not {"path", "name"} & given.keys():
        return list(arguments)
    return [*rest, f"config={found}"]
