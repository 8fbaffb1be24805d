"""Find the images of an earlier run where they lie now: what they are is the sha256 of their pixels, not their path."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_lab.data.dataset import Dataset
from gan_lab.data.sources import SOURCES
from gan_lab.data.store import is_packed
from gan_lab.files import read_json_object

log = logging.getLogger(__name__)

Known = Mapping[str, Any]
"""Name and sha256 of the images that a checkpoint was trained on."""


def find_packed(data_dir: Path, sha256: str) -> Path | None:
    """Return the packed directory in `data_dir` whose pixels have this hash, or None."""
    try:
        folders = sorted(folder for folder in data_dir.iterdir() if is_packed(folder))
    except OSError:
        return None
    return next((f for f in folders if read_json_object(f / "dataset.json").get("sha256") == sha256), None)


def located(node: Mapping[str, Any], data_dir: Path, known: Known) -> dict[str, Any]:
    """Return a dataset's node with the path of a packed copy, if there is nothing where the images should lie."""
    missing = known.get("sha256") and not is_there(node, data_dir)
    copy = find_packed(data_dir, known["sha256"]) if missing else None
    if copy is None:
        return dict(node)
    log.info("%s is not there; %s holds the same images", node.get("path") or data_dir / str(node.get("name")), copy)
    return {**node, "path": str(copy)}


def is_there(node: Mapping[str, Any], data_dir: Path) -> bool:
    """Return whether there is something where a dataset's node says that its images lie."""
    path, name = node.get("path"), node.get("name")
    if path:
        return os.path.exists(os.path.expanduser(str(path)))
    return name not in SOURCES or any((data_dir / n).exists() for n in (name, f"{name}-{node.get('resolution')}"))


def with_known_name(dataset: Dataset, known: Known) -> Dataset:
    """Give a dataset the name that the same pixels had, as its protocol and cached statistics are named by it."""
    if known.get("sha256") == dataset.sha256 and known.get("name"):
        dataset.name = str(known["name"])
    return dataset
