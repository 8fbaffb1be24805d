"""Compose the configuration from the YAML files and overrides, with error messages that say what to do.

Nothing here imports torch, so that `--help` and `--cfg job` are fast.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from gan_lab.config.hydra_section import check_hydra
from gan_lab.config.messages import nearest
from gan_lab.config.options import config_dir, group_options
from gan_lab.config.plain import hydra_errors, plain
from gan_lab.config.schema import Config
from gan_lab.config.tree import all_keys
from gan_lab.errors import UserError, first_line

GROUPS = (
    "dataset", "generator", "discriminator", "norm", "loss",
    "penalty", "augment", "optimizer", "metrics", "monitor", "recipe", "setting", "sweep",
)  # fmt: skip


def _run_name(name: str | None, now: str) -> str:
    return now if name in (None, "", "null", "None") else str(name)


_SAFE_NAME = re.compile(r"[a-z0-9_.,=+-]{1,120}")  # every file system keeps these as they are, and apart


def _job_name(override_dirname: str) -> str:
    """Name a sweep job's folder by its overrides. Where these cannot be a name, a hash keeps the folders apart."""
    if _SAFE_NAME.fullmatch(override_dirname):
        return override_dirname
    import hashlib

    shown = re.sub(r"[^\w.,=+-]+", "_", override_dirname).encode()[:100].decode(errors="ignore") or "job"
    digest = hashlib.sha256(override_dirname.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{shown}-{digest}" if override_dirname else "job"


def register() -> None:
    """Register the schema and the resolvers with Hydra. Calling it again is harmless."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    OmegaConf.register_new_resolver("job_name", _job_name, replace=True)


register()


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse `key=value` words. Raises UserError for a word that is none."""
    # Parsing may need the resolvers and sweep functions that Hydra registers with its plugins.
    Plugins.instance()
    parsed = []
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"'{word}' is not an override: write key=value, for example norm=bssn or seed=1")
        try:
            parsed += OverridesParser.create().parse_overrides([word])
        except (HydraException, RecursionError, ValueError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
            raise UserError(f"cannot read the override '{word}': {reason}; quote values with commas, "
                            "brackets or spaces, as in 'key=\"a b\"'") from error  # fmt: skip
    return parsed


def _all_options(group: str, extra_dir: str | None) -> list[str]:
    """Return the options of a group that Hydra finds, with those in `extra_dir`. Hydra takes a while to list them."""
    extra = [p.stem for p in (Path(extra_dir) / group).glob("*.yaml")] if extra_dir is not None else []
    return GlobalHydra.instance().config_loader().get_group_options(group) + extra


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
            if option is None or name in own:
                continue
            options = _all_options(key, extra_dir)
            if name is None:
                raise UserError(f"{key} takes the name of an option, got {option!r}{nearest('', options)}")
            if name not in options:
                raise UserError(f"{key}={option}: no such option of '{key}'{nearest(name, options)}")


def _check_keys(parsed: list[Override], base: dict[str, Any]) -> None:
    """Raise UserError if an override sets a key that the configuration does not have. `+key` adds one."""
    names = all_keys(base) | set(GROUPS)
    for override in parsed:
        key = override.key_or_group
        if override.is_delete() and key not in GROUPS and key in schema_keys():
            raise UserError(f"{override.input_line}: '{key}' cannot be removed; set it to another value")
        if override.is_add() or override.is_force_add() or re.split(r"[./]", key)[0] == "hydra" or key in names:
            continue
        group, _, last = key.partition(".")
        if group in ("generator", "discriminator") and last in ("resolution", "channels", "num_classes"):
            raise UserError(f"{key} cannot be set: it is a property of the data, passed in by gan_lab")
        if group in ("norm", "metrics", "augment") and "_target_" not in (base.get(group) or {}):
            raise UserError(f"{key}: {group}=none takes no such setting; choose an option of '{group}' first")
        node, _, last = key.rpartition(".")
        above = [n for n in names.difference(GROUPS) if key.startswith(f"{n}.")]
        open_ended = [n for n in above if OmegaConf.select(OmegaConf.create(base), n) == {}]
        if open_ended:
            raise UserError(f"unknown key '{key}': '{open_ended[0]}' is empty; add to it with +{override.input_line}")
        # Compare only the last part of siblings: their long common prefix would make all of them similar.
        siblings = [n.rpartition(".")[2] for n in names if n.rpartition(".")[0] == node] if node in names else []
        close = difflib.get_close_matches(last, siblings, n=1, cutoff=0.6)
        hint = f"; did you mean '{node}.{close[0]}'?" if close else nearest(key, () if siblings else names)
        if siblings and not close:
            hint = (f"; '{node}' has: {', '.join(sorted(siblings))} (an argument that the YAML file leaves out is "
                    f"added with +{override.input_line})")  # fmt: skip
        raise UserError(f"unknown key '{key}' in '{override.input_line}'{hint}")


def _compose_with(words: list[str]) -> DictConfig:
    with hydra_errors():
        return hydra_compose("config", overrides=words, return_hydra_config=True)


def compose(*overrides: str, config_path: str | None = None) -> DictConfig:
    """Compose and check a configuration as the command line would: `compose("norm=bssn", "seed=1")`.

    `config_path` is one more directory of YAML files to search (Hydra's `--config-dir`). Raises UserError, one
    sentence, for an unknown key or option, a wrong type or a syntax error. `gan_lab.config.check.check`, which `build`
    and `train` call, checks the rest.
    """
    words = list(overrides)
    if config_path is not None:
        words.append(f"hydra.searchpath=['file://{Path(config_path).resolve()}']")
    parsed = parse_overrides(words)
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        search = [w for w in words if w.startswith("hydra.searchpath=")]
        if search:  # the loader knows extra directories only after composing with them
            _compose_with(search)
        _check_options(parsed, config_path)

        def check_keys() -> None:
            options = [w for w, p in zip(words, parsed, strict=True) if p.key_or_group in GROUPS and w not in search]
            _check_keys(parsed, _unresolved(_compose_with(search + options)))

        if any(override.is_delete() for override in parsed):  # Hydra would delete any key
            check_keys()
        try:
            cfg = _compose_with(words)
        except UserError:  # only on an error, since checking the keys composes again, a third of a second
            check_keys()
            raise
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
    words = [w for w in overrides if re.match(r"(hydra[./]|sweep=)", w)]
    if config_path is not None:
        words.append(f"hydra.searchpath=['file://{Path(config_path).resolve()}']")
    with initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        return cast(dict[str, Any], OmegaConf.to_container(_compose_with(words).hydra.sweeper, resolve=False))


def schema_keys() -> set[str]:
    """Return the keys that every configuration has."""
    return all_keys(_unresolved(OmegaConf.structured(Config)))


def _unresolved(cfg: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items() if k != "hydra"}
