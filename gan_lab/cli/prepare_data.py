"""`python scripts/prepare_data.py NAME [KEY=VALUE ...]`: packs a dataset ahead of training, or checks one."""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from gan_lab.data.sources import NAMES, load
from gan_lab.data.store import open_packed
from gan_lab.errors import UserError

_NUMBERS = ("resolution", "max_unreadable")
_KEYS = ("data_dir", "path", *_NUMBERS)
USAGE = f"""Packs a dataset ahead of training, or checks one that is packed already.

    python scripts/prepare_data.py NAME [data_dir=DIR] [path=PATH] [resolution=N] [max_unreadable=N]

NAME        {", ".join(NAMES)}
data_dir    where packed datasets live: $GAN_LAB_DATA, else ./data
path        folder: a folder, class folders or a ZIP of images; packed: a packed directory
resolution  side in pixels, for folder (64), stl10 (48) and celeba (64)
max_unreadable  folder: how many images may be skipped (1 %, but at least 10)"""


def _settings(arguments: Sequence[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        key = key.removeprefix("dataset.")
        if not equals or key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1, 0.0)[0]
            raise UserError(f"{argument!r} is not a setting of prepare_data; did you mean {near}=...?")
        if key in _NUMBERS and not value.isdecimal():
            raise UserError(f"{key}={value} must be a whole number.")
        settings[key] = int(value) if key in _NUMBERS else value
    return settings


def prepare(arguments: Sequence[str]) -> None:
    """Packs or opens the dataset, reads every pixel once to compare the sha256, and prints what is there."""
    settings = _settings(arguments[1:])
    data_dir = settings.pop("data_dir", os.environ.get("GAN_LAB_DATA", "./data"))
    dataset = load(arguments[0], data_dir, **settings)
    store = open_packed(dataset.store.folder, verify=True)
    print(f"{store.name}: {store.folder}")
    print(f"images      {store.train:,} train, {store.test:,} test")
    padded = f", padded to {dataset.resolution}" if dataset.resolution != store.resolution else ""
    print(f"resolution  {store.resolution}{padded}")
    print(f"channels    {store.channels}")
    more = ", ..." if store.num_classes > 10 else ""
    print(f"classes     {store.num_classes}: {', '.join(store.class_names[:10])}{more}")
    print(f"sha256      {store.sha256}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 after one sentence on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        prepare(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0
