"""Paths among the settings: relative ones are of the directory in which the command was given."""

import os
from collections.abc import Iterator
from typing import Any

from gan_lab.config.schema import PATH_KEYS
from gan_lab.config.tree import select
from gan_lab.files import expand_path


def expanded_paths(tree: Any) -> Iterator[tuple[Any, str, str]]:
    """Yield (mapping, name, path) of every path of a configuration, with its `~` and `$NAME` expanded.

    The mapping is the one inside `tree` that sets it, under that name.
    """
    for key in PATH_KEYS:
        above, _, name = key.rpartition(".")
        value = select(tree, key)
        if isinstance(value, str) and value and "\0" not in value:
            if key == "run_dir" and os.path.isabs(value):
                continue  # Hydra's, of words that are expanded; a folder above may be called $HOME
            yield select(tree, above), name, expand_path(value)


def make_absolute(tree: Any, directory: str | None = None) -> None:
    """Expand `~` and `$NAME` in the paths of a configuration, plain or OmegaConf's, and make them absolute, in place.

    directory: what relative paths are of (None: the current one). `run_dir` stays relative. `metrics.weights` may also
    be a name: only the path of an existing file is made absolute.
    """
    base = directory or os.getcwd()
    for node, name, value in expanded_paths(tree):
        path = os.path.abspath(os.path.join(base, value))
        node[name] = value if name == "run_dir" or (name == "weights" and not os.path.isfile(path)) else path
