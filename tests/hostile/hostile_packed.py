"""Hostile packed sets: `dataset.json`, `images.npy` and `labels.npy` that lie."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.hostile_images import is_images, open_set
from tests.hostile.hostile_pickles import Payload, flipped
from tests.hostile.hostile_sandbox import Case


def packed(folder: Path, **facts: Any) -> dict[str, bytes]:
    """A small true packed set as files and their bytes; `facts` replace keys of dataset.json."""
    images = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    told = {"name": "tiny", "train": 4, "test": 2, "resolution": 8, "channels": 3, "num_classes": 2,
            "class_names": ["a", "b"], "sha256": hashlib.sha256(images.tobytes()).hexdigest()}  # fmt: skip
    files: dict[str, Any] = {"dataset.json": json.dumps(told | facts).encode()}
    for name, array in (("images.npy", images), ("labels.npy", np.arange(6) % 2)):
        file = io.BytesIO()
        np.save(file, array)
        files[name] = file.getvalue()
    return files


def npy(header: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + body


def _lying(rng: random.Random, canary: Path) -> bytes:
    """An .npy file whose header lies, or which holds a pickle."""
    shape = rng.choice([
        "(6,8,8,3)", "(2**40,8,8,3)", f"({2**62},8,8,3)", "(-6,8,8,3)", "(0,8,8,3)", "(6,)", "()", "6", "(6.0,)",
        "(None,)", "(True,8,8,3)", "(6,8,8,3,1,1,1,1,1)", "(" + "1," * 70 + ")", f"({2**70},)", "[6,8,8,3]",
        "(6,0,0,3)",
    ])  # fmt: skip
    descr = rng.choice([
        "'|u1'", "'<i8'", "'>i8'", "'|O'", "'O'", "'|V1'", "'<U4'", "'|S0'", "'|b1'", "[('a','|O')]", "[('a','|u1')]",
        "'x'", "5", "('|u1',(2,))", "'<M8[s]'", "'<f8'", "None", "'u1'", "'|u1,|u1'",
    ])  # fmt: skip
    evil = pickle.dumps(Payload(os.system, f"touch '{canary}'"))
    body = rng.choice([bytes(6 * 8 * 8 * 3), bytes(48), b"", evil])
    header = f"{{'descr': {descr}, 'fortran_order': {rng.choice(['False', 'True', '0', 'x'])}, 'shape': {shape}, }}"
    return rng.choice(
        [npy(header, body, rng.choice([b"\1\0", b"\2\0", b"\3\0", b"\4\0"])), npy("__import__('os')", body), evil]
    )


def make(rng: random.Random, folder: Path) -> Case:
    """A packed set with one or more of its three files bent."""
    root, files = folder / "input" / "set", packed(folder)
    root.mkdir()
    kind = rng.choice(["facts"] * 3 + ["bits"] * 4 + ["header"] * 4 + ["random", "strange", "sparse", "true"])
    name = rng.choice(list(files))
    if kind == "facts":
        junk: list[Any] = [
            None, True, -1, 0, 1, 6, 2**40, 10**300, 1.5, float("nan"), "", "x", "n" * 10**6, "\x1b[2J\n", "\ud800",
            [], {}, ["a", "\n"], ["a"] * 1000, [[]], "0" * 64, "../x",
        ]  # fmt: skip
        keys = ["name", "train", "test", "resolution", "channels", "num_classes", "class_names", "sha256"]
        files = packed(folder, **{k: rng.choice(junk) for k in rng.sample(keys, rng.randint(1, 3))})
    elif kind == "bits":
        files[name] = flipped(rng, files[name])
    elif kind == "header":
        files[rng.choice(["images.npy", "labels.npy"])] = _lying(rng, folder / "canary")
    elif kind == "random":
        files[name] = rng.choice(
            [b"", rng.randbytes(300), b"[" * 10**5, b"9" * 10**5, b'{"a":' * 10**4, b"\xff\xfe", b"{}" + bytes(10**6)]
        )
    for file, data in files.items():
        (root / file).write_bytes(data)
    if kind == "strange":
        (root / name).unlink()
        act: Callable[[], Any] = rng.choice([
            lambda: os.mkfifo(root / name), lambda: (root / name).mkdir(), lambda: None,
            lambda: (root / name).symlink_to("/dev/zero"), lambda: (root / name).symlink_to(name),
        ])  # fmt: skip
        act()
    if kind == "sparse":  # 64 GiB that take no space on disk
        with open(root / name, "r+b") as handle:
            handle.truncate(2**36)
            if name != "dataset.json":
                n = 2**36 // (192 if name == "images.npy" else 8) - 10
                shape, descr = (f"({n},8,8,3)", "|u1") if name == "images.npy" else (f"({n},)", "<i8")
                handle.write(npy(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"))
    verify = rng.random() < 0.3
    from gan_lab.data import open_packed

    if verify:
        return Case(f"{kind} of {name}, verified", lambda: open_packed(root, verify=True))
    return Case(f"{kind} of {name}", lambda: open_set(folder, root, "packed"), is_images)
