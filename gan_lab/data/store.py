"""The packed store: a directory with `images.npy` (uint8 n h w c), `labels.npy` and `dataset.json`.

Labels are classes (int64 n), or with several labels an image vectors of 0 and 1 (int64 n num_classes).

The training images come first, the test images last. Other programs write such directories too. Opening one therefore
checks everything that does not need all pixels, and never unpickles anything.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gan_lab.errors import UserError, useful_line
from gan_lab.files import check_regular, reason, write_atomically

MAX_IMAGES, MAX_SIDE = 2**27, 2**13
_JSON_BYTES = 16 * 2**20
_BLOCK_BYTES = 64 * 2**20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KEYS = ("name", "train", "test", "resolution", "channels", "num_classes", "class_names", "sha256")


@dataclass(frozen=True)
class PackedStore:
    """An open packed directory. `images` is memory-mapped, read only."""

    folder: Path
    name: str
    train: int
    test: int
    resolution: int
    channels: int
    num_classes: int
    class_names: tuple[str, ...]
    sha256: str
    images: NDArray[np.uint8]  # n h w c
    labels: NDArray[np.int64]  # n, or n num_classes


def is_packed(folder: Path) -> bool:
    """Whether a folder looks like a packed directory. Only `open_packed` checks it."""
    return (folder / "dataset.json").exists() and (folder / "images.npy").exists()


def pixel_hash(images: NDArray[np.uint8]) -> str:
    """Compute the sha256 of the pixels in C order, a block at a time."""
    digest = hashlib.sha256()
    rows = max(1, _BLOCK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), rows):
        digest.update(np.ascontiguousarray(images[start : start + rows]).data)
    return digest.hexdigest()


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        check_regular(path, _JSON_BYTES)
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{folder} is not a packed dataset: it has no dataset.json; "
            "give the folder that `gan-lab prepare-data` wrote; for a folder of images say dataset=folder."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); pack the dataset again.") from None
    if not isinstance(info, dict):
        raise UserError(f"{path} must hold one JSON object, not a {type(info).__name__}; pack the dataset again.")
    missing = [key for key in _KEYS if key not in info]
    if missing:
        raise UserError(f"{path} lacks the key {missing[0]!r}; pack the dataset again.")
    return info


def _is_count(value: object, least: int, most: int = MAX_IMAGES) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _check_info(path: Path, info: dict[str, Any]) -> None:
    """Raise UserError unless every key of dataset.json has the right type and range, and they agree."""
    rules: dict[str, tuple[str, bool]] = {
        "name": (
            "a name of 1 to 300 characters, none of them a control character",
            isinstance(info["name"], str) and 0 < len(info["name"]) <= 300 and not _CONTROL.search(info["name"]),
        ),
        "train": ("the number of training images, a whole number", _is_count(info["train"], 0)),
        "test": ("the number of test images, a whole number", _is_count(info["test"], 0)),
        "resolution": (
            f"the side of an image in pixels, at most {MAX_SIDE}",
            _is_count(info["resolution"], 1, MAX_SIDE),
        ),
        "channels": ("1 or 3", _is_count(info["channels"], 1) and info["channels"] in (1, 3)),
        "num_classes": ("a whole number of at least 1", _is_count(info["num_classes"], 1)),
        "class_names": (
            "a list of num_classes strings",
            isinstance(info["class_names"], list)
            and all(isinstance(name, str) for name in info["class_names"])
            and len(info["class_names"]) == info["num_classes"],
        ),
        "sha256": (
            "64 hexadecimal digits",
            isinstance(info["sha256"], str) and re.fullmatch("[0-9a-f]{64}", info["sha256"]) is not None,
        ),
    }
    for key, (wanted, holds) in rules.items():
        if not holds:
            shown = repr(info[key])
            shown = shown if len(shown) <= 60 else shown[:57] + "..."
            raise UserError(f"{path}: {key!r} is {shown} but must be {wanted}; pack the dataset again.")
    if info["train"] == 0:
        raise UserError(f"{path.parent} holds no training images ('train' is 0); pack a source that has some.")


def _map_array(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    """Memory-map an .npy file read only. `open_memmap` refuses pickled objects."""
    try:
        check_regular(path)
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise UserError(f"{path.parent} lacks {path.name}; pack the dataset again.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason(error)}).") from None
    except Exception as error:  # a damaged header can raise nearly anything: ValueError, TokenError, MemoryError, ...
        raise UserError(
            f"{path} is damaged or not an .npy array ({useful_line(error)}); pack the dataset again."
        ) from None
    if array.dtype != dtype:
        raise UserError(f"{path} holds {array.dtype} but must hold {np.dtype(dtype)}; pack the dataset again.")
    return array


def open_packed(folder: str | Path, verify: bool = False) -> PackedStore:
    """Open and check a packed directory. With `verify=True`, also read every pixel and compare the sha256.

    Raises:
        UserError: a file is missing, damaged, of the wrong type or shape, or the files contradict one another.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise UserError(f"There is no packed dataset at {folder}: the folder does not exist.")
    info = _read_json(folder)
    _check_info(folder / "dataset.json", info)
    images = _map_array(folder / "images.npy", np.uint8)
    labels = _map_array(folder / "labels.npy", np.int64)
    side, channels, count = info["resolution"], info["channels"], info["train"] + info["test"]
    if images.shape[1:] != (side, side, channels):
        raise UserError(
            f"{folder / 'images.npy'} has shape {images.shape} but dataset.json says "
            f"(n, {side}, {side}, {channels}); pack the dataset again."
        )
    several = labels.shape[1:] == (info["num_classes"],)  # labels an image
    if not (several or labels.ndim == 1) or len(images) != count or len(labels) != count:
        raise UserError(
            f"{folder} contradicts itself: train + test is {count} in dataset.json, but images.npy holds "
            f"{len(images)} images and labels.npy has shape {labels.shape}; pack the dataset again."
        )
    labels = np.array(labels)
    if several and (labels.min() < 0 or labels.max() > 1):
        raise UserError(f"{folder / 'labels.npy'} holds numbers from {labels.min()} to {labels.max()}; vectors of "
                        "several labels must be of 0 and 1; pack the dataset again.")  # fmt: skip
    if not several and (labels.min() < 0 or labels.max() >= info["num_classes"]):
        raise UserError(
            f"{folder / 'labels.npy'} holds labels from {labels.min()} to {labels.max()}; with num_classes "
            f"{info['num_classes']} they must lie in 0..{info['num_classes'] - 1}; pack the dataset again."
        )
    if verify and (found := pixel_hash(images)) != info["sha256"]:
        raise UserError(
            f"{folder / 'images.npy'} was changed or damaged: its pixels have sha256 {found[:12]}..., "
            f"dataset.json says {info['sha256'][:12]}...; pack the dataset again."
        )
    values = {key: info[key] for key in _KEYS} | {"class_names": tuple(info["class_names"])}
    return PackedStore(folder=folder, images=images, labels=labels, **values)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_images(path: Path, blocks: Iterable[tuple[Any, Any]]) -> tuple[tuple[int, ...], NDArray[np.int64], str]:
    """Stream the blocks into an .npy file. Returns the images' shape, the labels, and the sha256 of the pixels.

    The header is rewritten at the end, when the number of images is known. NumPy pads it so that a first dimension of
    more digits still fits.
    """
    digest, labels, image_shape, count, offset = hashlib.sha256(), [], None, 0, 0
    with open(path, "wb") as file:
        for images, block_labels in blocks:
            images = np.ascontiguousarray(images)
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
                raise ValueError(f"Images to pack must be uint8 n h h c, not {images.dtype} {images.shape}.")
            if len(images) != len(block_labels) or images.shape[1:] != (image_shape or images.shape[1:]):
                raise ValueError("Images to pack must have one label each, and all the same shape.")
            if image_shape is None:
                image_shape = images.shape[1:]
                _write_header(file, (1, *image_shape))
                offset = file.tell()
            file.write(images.data)
            digest.update(images.data)
            labels.append(np.asarray(block_labels, np.int64))
            count += len(images)
        if image_shape is None or count == 0:
            raise UserError(f"There is not a single image to pack into {path.parent.parent}.")
        file.seek(0)
        _write_header(file, (count, *image_shape))
        if file.tell() != offset:
            raise RuntimeError(f"The header of {path} grew from {offset} to {file.tell()} bytes.")
        _sync(file)
    return (count, *image_shape), np.concatenate(labels), digest.hexdigest()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)


def pack(
    folder: str | Path,
    blocks: Iterable[tuple[Any, Any]],
    *,
    name: str,
    class_names: Iterable[str],
    test: int = 0,
    note: str = "",
) -> PackedStore:
    """Write blocks of (uint8 n h w c, n labels) as a packed directory, completely or not at all, and open it.

    The last `test` images are the test split. Everything is written to a temporary folder beside the target and renamed
    in one step, so that a reader never sees a part. If two processes pack the same folder, the first to finish wins,
    and the other opens that result.

    Raises:
        UserError: there are no images, or the disk refuses.
    """
    folder, names = Path(folder), list(class_names)
    part = folder.parent / f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        part.mkdir(parents=True)
        shape, labels, sha256 = _write_images(part / "images.npy", blocks)
        if shape[0] <= test:
            raise UserError(f"{name}: {shape[0]} images could be read, and {test} of them are for testing: none is "
                            "left to train on.")  # fmt: skip
        with open(part / "labels.npy", "wb") as file:
            np.save(file, labels, allow_pickle=False)
            _sync(file)
        info = {
            "name": name,
            "train": shape[0] - test,
            "test": test,
            "resolution": shape[1],
            "channels": shape[3],
            "num_classes": len(names),
            "class_names": names,
            "sha256": sha256,
            **({"note": note} if note else {}),
        }
        write_atomically(part / "dataset.json", json.dumps(info, indent=2).encode())
        open_packed(part)  # check it before it is put in place
        try:
            os.rename(part, folder)
        except OSError:
            if not (folder / "dataset.json").exists():
                raise
    except OSError as error:
        raise UserError(f"The dataset could not be written to {folder} ({reason(error)}).") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return open_packed(folder)
