"""Tiny packed directories, written by hand as another program would, not by the code under test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def write_packed(
    folder: Path,
    train: int = 7,
    test: int = 3,
    side: int = 8,
    channels: int = 3,
    classes: int = 4,
    json_changes: dict[str, Any] | None = None,
) -> np.ndarray:
    """Random pixels as a packed directory; `json_changes` replace keys of dataset.json, None removes one."""
    rng = np.random.default_rng(train + side)
    images = rng.integers(0, 256, size=(train + test, side, side, channels), dtype=np.uint8)
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.arange(train + test, dtype=np.int64) % classes)
    facts = {
        "name": "tiny",
        "train": train,
        "test": test,
        "resolution": side,
        "channels": channels,
        "num_classes": classes,
        "class_names": [f"class {i}" for i in range(classes)],
        "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
    }
    facts = {key: value for key, value in (facts | (json_changes or {})).items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return images


@pytest.fixture
def packed() -> Callable[..., np.ndarray]:
    return write_packed
