"""Compose the configuration from the YAML files and overrides, with error messages that say what to do.

Nothing here imports torch, so that `--help` and `--cfg job` are fast.
"""

import hashlib
import re
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.earlier import primary_config
from gan_lab.config.hints import check_keys, check_single, is_added, nowhere, unreadable
from gan_lab.config.hydra_section import check_hydra
from gan_lab.config.messages import nearest
from gan_lab.config.options import GROUPS, config_dir, group_options
from gan_lab.config.plain import hydra_errors, plain
from gan_lab.config.schema import Config, default_data_dir
from gan_lab.config.tree import select
from gan_lab.config.words import as_typed, quoted
from gan_lab.errors import UserError

_ABSENT = object()
_LOCK = threading.RLock()
_SAFE_NAME = re.compile(r"[a-z0-9_.,=+-]{1,120}")  # every file system keeps these as they are, and apart


def _job_name(override_dirname: str) -> str:
    """Name a sweep job's folder by its overrides. Where these cannot be a name, a hash keeps the folders apart."""
    if _SAFE_NAME.fullmatch(override_dirname):
        return override_dirname
    shown = re.sub(r"[^\w.,=+-]+", "_", override_dirname).encode()[:100].decode(errors="ignore") or "job"
    digest = hashlib.sha256(override_dirname.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{shown}-{digest}" if override_dirname else "job"


def register() -> None:
    """Register the schema and the resolvers with Hydra. Calling it again is harmless."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("run_name", lambda name, now: str(name or now), replace=True)
    OmegaConf.register_new_resolver("default_data_dir", default_data_dir, replace=True)
    OmegaConf.register_new_resolver("projection_if", lambda yes: "projection" if yes else "none", replace=True)
    OmegaConf.register_new_resolver("fraction", lambda whole, over, under: whole * over / under, replace=True)
    OmegaConf.register_new_resolver("job_name", _job_name, replace=True)


register()


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse `key=value` words. Raises UserError for a word that is none."""
    # Parsing may need the resolvers and sweep functions that Hydra registers with its plugins.
    Plugins.instance()
    parsed = []
    for before, word in zip(["", *overrides], overrides, strict=False):
        if "=" not in word and not word.startswith("~"):
            whole = f", or, if it belongs to the word before, {shlex.quote(f'{before} {word}')}" if before else ""
            raise UserError(f"'{word}' is not an override: write key=value, for example norm=bssn or seed=1{whole}")
        try:
            parsed += OverridesParser.create().parse_overrides([word])
        except (HydraException, RecursionError, ValueError) as error:
            lines = [line for line in str(error).splitlines() if not line.startswith("Error parsing override")]
            reason = "nested too deeply" if isinstance(error, RecursionError) else "".join(lines[:1])
            raise unreadable(word, "no value of Hydra" if "LexerNo" in reason else reason) from error
    return parsed


def _search_word(config_path: str) -> str:
    """Return the override that adds a directory of YAML files to Hydra's search path."""
    return f"hydra.searchpath=[{QuotedString(f'file://{Path(config_path).resolve()}', Quote.single).with_quotes()}]"


def _check_options(parsed: list[Override], extra_dir: str | None) -> None:
    """Raise UserError if an override selects an option that its group does not have."""
    for override in parsed:
        key = override.key_or_group
        if key not in GROUPS or override.is_delete():
            continue
        own, value = group_options(key), override.value()
        values = value if isinstance(value, list) else [value]
        if override.is_sweep_override():
            with hydra_errors():
                values = list(islice(override.sweep_iterator(), 1000))  # an override may be range(1,1000000000)
        for option in values:
            name = None if isinstance(option, (dict, list)) else str(option).strip("'\"")
            if option is None:
                advice = f"write {key}=none" if "none" in own else "it is the default: leave the word out"
                raise UserError(f"{key}=null: {advice}")
            if name in own:
                continue
            options = GlobalHydra.instance().config_loader().get_group_options(key)  # Hydra takes a while to list them
            if extra_dir is not None:
                options = options + [path.stem for path in (Path(extra_dir) / key).glob("*.yaml")]
            if name is None:
                raise UserError(f"{key} takes the name of an option, got {option!r}{nearest('', options)}")
            if name not in options:
                raise UserError(f"{key}={option}: no such option of '{key}'{nearest(name, options)}")


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra's global state for our files, for a block: what the caller or another thread has there comes back."""
    with _LOCK:
        before = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
                yield
        finally:
            GlobalHydra.instance().hydra = before


def _compose_with(words: list[str], primary: str = "config") -> DictConfig:
    with hydra_errors():
        return hydra_compose(primary, overrides=words, return_hydra_config=True)


def _check_keys(parsed: Sequence[Override], primary: str) -> dict[str, Any]:
    """Raise UserError for a key that does not exist. Returns the configuration with the chosen options only."""
    chosen = [o for o in parsed if o.key_or_group in GROUPS and not o.is_sweep_override()]
    search = [o for o in parsed if o.key_or_group == "hydra.searchpath"]
    base = _unresolved(_compose_with([str(o.input_line) for o in (*search, *chosen)], primary))
    del base["hydra"]
    check_keys(parsed, base)
    return base


def _parsed_anyhow(word: str) -> list[Override]:
    """Parse a word, with its value quoted if it cannot be read as it is; [] if that does not help."""
    key, _, value = word.partition("=")
    for attempt in (word, f"{key}={quoted(value)}"):
        with suppress(UserError):
            return parse_overrides([attempt])
    return []


def _stands(cfg: DictConfig, override: Override) -> bool:
    """Whether a word has set a value. One that chose an option of a group of one's own has put a section there."""
    found = select(cfg, override.key_or_group, _ABSENT)
    return found is not _ABSENT and not (isinstance(found, DictConfig) and isinstance(override.value(), str))


def compose(*overrides: str, config_path: str | None = None) -> DictConfig:
    """Compose and check a configuration as the command line would: `compose("norm=bssn", "seed=1")`.

    `run=DIR` composes on top of the configuration of the run in DIR, to go on with it; `config=FILE` on top of a file.
    `config_path` is one more directory of YAML files to search (Hydra's `--config-dir`). Raises UserError, one
    sentence, for an unknown key or option, a wrong type or a syntax error. `gan_lab.config.check.check`, which `build`
    and `train` call, checks the rest.
    """
    primary, words = primary_config(overrides)
    words = as_typed(words)
    if config_path is not None:
        words.append(_search_word(config_path))
    with _hydra():
        try:
            parsed = parse_overrides(words)
        except UserError:
            _check_keys([o for word in words if "=" in word for o in _parsed_anyhow(word)], primary)
            raise
        search = [w for w in words if w.startswith("hydra.searchpath=")]
        if search:  # the loader knows extra directories only after composing with them
            _compose_with(search)
        _check_options(parsed, config_path)
        if any(override.is_sweep_override() for override in parsed):
            check_single(parsed, _check_keys(parsed, primary))
        if any(override.is_delete() for override in parsed):  # Hydra would delete any key
            _check_keys(parsed, primary)
        try:
            cfg = _compose_with(words, primary)
        except UserError:  # only on an error, since checking the keys composes again, a third of a second
            _check_keys(parsed, primary)
            raise
        if any(is_added(o) and nowhere(o.key_or_group) and _stands(cfg, o) for o in parsed):
            _check_keys(parsed, primary)
    check_hydra(cfg)
    with hydra_errors():
        if any(w.startswith("hydra.run.dir=") for w in words) and cfg.run_dir is None:
            cfg.run_dir = str(cfg.hydra.run.dir)
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    OmegaConf.set_struct(cfg, True)
    plain(cfg)
    return cfg


def sweeper_settings(*overrides: str, config_path: str | None = None) -> dict[str, Any]:
    """Return `hydra.sweeper` as the overrides choose it: its `_target_`, and a preset's sweep under `params`."""
    words = [w for w in as_typed(overrides, sweep=True) if re.match(r"(hydra[./]|sweep=)", w)]
    if config_path is not None:
        words.append(_search_word(config_path))
    with _hydra():
        return _unresolved(_compose_with(words).hydra.sweeper)


def _unresolved(cfg: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
