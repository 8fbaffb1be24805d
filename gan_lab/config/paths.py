"""Paths among the settings: relative ones are of the directory in which the command was given."""

import os
from typing import Any

from gan_lab.config.schema import PATH_KEYS
from gan_lab.config.tree import select
from gan_lab.files import expand_path


def make_absolute(tree: Any, directory: str | None = None) -> None:
    """Expand `~` and `$NAME` in the paths of a configuration, plain or OmegaConf's, and make them absolute, in place.

    directory: what relative paths are of (None: the current one). `run_dir` stays relative. `metrics.weights` may also
    be a name: only the path of an existing file is made absolute.
    """
    base = directory or os.getcwd()
    for key in PATH_KEYS:
        above, _, name = key.rpartition(".")
        node, value = select(tree, above), select(tree, key)
        if isinstance(value, str) and value and "\0" not in value:
            value = expand_path(value)
            path = os.path.abspath(os.path.join(base, value))
            node[name] = value if key == "run_dir" or (name == "weights" and not os.path.exists(path)) else path
