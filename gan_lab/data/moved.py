"""Find the images of an earlier run where they lie now: what they are is the sha256 of their pixels, not their path.

Of a run with classes it is that of the classes, too: the same images may lie packed with others.
"""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gan_lab.data.dataset import Dataset
from gan_lab.data.sources import SOURCES
from gan_lab.data.store import is_packed, open_packed
from gan_lab.errors import UserError
from gan_lab.files import read_json_object

log = logging.getLogger(__name__)

KNOWN = ("name", "sha256", "num_train", "labels_sha256")
Known = Mapping[str, Any]
"""Name, sha256 and number of the images that a checkpoint was trained on; `labels_sha256` if its nets use classes."""


def labels_hash(dataset: Dataset) -> str:
    """Compute the sha256 of the number of classes and of the class, or vector of labels, of each training image."""
    digest = hashlib.sha256(str(dataset.num_classes).encode())
    digest.update(dataset.labels("train").long().contiguous().numpy().data)
    return digest.hexdigest()


def description(dataset: Dataset, labels: bool) -> dict[str, Any]:
    """Return what a checkpoint says of the images that it was trained on. labels: whether its nets use classes."""
    names = ("name", "resolution", "channels", "num_classes", "num_train", "sha256")
    found = {name: getattr(dataset, name) for name in names}
    found |= {"class_names": list(dataset.class_names)} if labels else {}
    return {**found, "labels_sha256": labels_hash(dataset) if labels else None}


def is_same(dataset: Dataset, known: Known) -> bool:
    """Whether a dataset has what is known: the pixels, how many of the images are for training, and the classes."""
    pixels, train = known.get("sha256"), known.get("num_train")
    if pixels not in (None, dataset.sha256) or (train is not None and train != dataset.num_train):
        return False
    return has_classes(dataset, known)


def has_classes(dataset: Dataset, known: Known) -> bool:
    """Whether the training images have the classes that are known, if they are."""
    labels = known.get("labels_sha256")
    return labels is None or labels == labels_hash(dataset)


def find_packed(data_dir: Path, known: Known) -> Path | None:
    """Return the packed directory in `data_dir` that holds the known images, or None."""
    return next((folder for folder in _of_these_pixels(data_dir, known["sha256"]) if _holds(folder, known)), None)


def _of_these_pixels(data_dir: Path, sha256: str) -> Iterator[Path]:
    try:
        folders = sorted(folder for folder in data_dir.glob("[!.]*") if is_packed(folder))
    except OSError:
        return
    yield from (f for f in folders if read_json_object(f / "dataset.json").get("sha256") == sha256)


def _holds(folder: Path, known: Known) -> bool:
    if known.get("num_train") is None and known.get("labels_sha256") is None:
        return True
    try:
        return is_same(Dataset(open_packed(folder)), known)
    except UserError:
        return False


def located(node: Mapping[str, Any], data_dir: Path, known: Known) -> dict[str, Any]:
    """Return a dataset's node with the path of a packed copy, if there is nothing where the images should lie."""
    missing = known.get("sha256") and not is_there(node, data_dir)
    copy = find_packed(data_dir, known) if missing else None
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
    """Give a dataset the name that the same images had, as its protocol and cached statistics are named by it."""
    if known.get("sha256") and known.get("name") and is_same(dataset, known):
        dataset.name = str(known["name"])
    return dataset
