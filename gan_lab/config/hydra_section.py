"""Check Hydra's own section of a configuration, whose targets Hydra calls before this program runs."""

import contextlib
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from gan_lab.config.targets import locate
from gan_lab.config.tree import walk
from gan_lab.errors import UserError

HYDRA_PREFIXES = (
    "gan_lab.sweep.jobs.", "hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.",
    "optuna.samplers.", "logging.StreamHandler",
    "logging.FileHandler", "logging.NullHandler", "logging.Formatter", "colorlog.",
)  # fmt: skip
"""Prefixes allowed in Hydra's own section: its launchers, sweepers and callbacks, and parts of logging."""
_HYDRA_NAMES = ("_target_", "()", "class", "custom_search_space")  # keys whose values Hydra, or `logging`, calls


def check_hydra(cfg: DictConfig) -> None:
    """Check the targets in Hydra's own section, which Hydra instantiates before it calls this program."""
    try:
        listed = _resolvable(cfg.extensions)
        extensions = tuple(map(str, listed.values())) if isinstance(listed, dict) else ()  # anything else: see `check`
        for key, value in walk(_resolvable(cfg.hydra), "hydra"):
            node, _, name = key.rpartition(".")
            if name in _HYDRA_NAMES and isinstance(value, str):
                locate(value, node, extensions, HYDRA_PREFIXES, name)
    except RecursionError as error:
        raise UserError("bad configuration: the hydra section refers to itself") from error


def _resolvable(node: Any) -> Any:
    """Convert to plain dictionaries, leaving out what Hydra resolves only later, such as the output directory."""
    if not isinstance(node, (DictConfig, ListConfig)):
        return node
    plain_node = {}
    for name in node if isinstance(node, DictConfig) else range(len(node)):
        with contextlib.suppress(OmegaConfBaseException, ValueError):
            plain_node[str(name)] = _resolvable(node[name])  # type: ignore[index]
    return plain_node
