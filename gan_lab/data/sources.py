"""Load any dataset by name: open it if it is packed, else make it first."""

import difflib
import logging
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from gan_lab.data import downloads, faces, shapes
from gan_lab.data.dataset import Dataset, supported_resolution
from gan_lab.data.downloads import Blocks, Splits
from gan_lab.data.folder import ImageSource
from gan_lab.data.listing import printable
from gan_lab.data.store import MAX_SIDE, PackedStore, is_packed, open_packed, pack
from gan_lab.errors import UserError
from gan_lab.files import expand_path, reason
from gan_lab.locks import acquire_lock

log = logging.getLogger(__name__)

_BLOCK = 1024
STACKED_TRAIN, STACKED_TEST, STACKED_SEED = 60_000, 10_000, 1_000


def _shapes(data_dir: Path, resolution: int) -> Splits:
    blocks = map(shapes.render, (shapes.NUM_TRAIN, shapes.NUM_TEST), (shapes.TRAIN_SEED, shapes.TEST_SEED))
    return Splits(blocks, list(shapes.CLASS_NAMES), shapes.NUM_TEST)


def _faces(data_dir: Path, resolution: int) -> Splits:
    train, test = faces.render(faces.NUM_TRAIN, faces.TRAIN_SEED), faces.render(faces.NUM_TEST, faces.TEST_SEED)
    return Splits(chain(train, test), list(faces.CLASS_NAMES), faces.NUM_TEST)


def _stacked_mnist(data_dir: Path, resolution: int) -> Splits:
    """Three independent MNIST digits as red, green and blue channel: 1,000 modes, label 100 r + 10 g + b.

    The usual test of mode coverage (Metz et al., arXiv:1611.02163). Ours is a fixed set at MNIST's own resolution. Each
    split is made of MNIST's images of the same split.
    """
    mnist = load("mnist", data_dir).store
    if mnist.channels != 1 or mnist.num_classes != 10:
        raise UserError(f"{mnist.folder} is not MNIST (1 channel, 10 classes), of which dataset=stacked_mnist is made.")
    rng = np.random.default_rng(STACKED_SEED)
    test = STACKED_TEST if mnist.test else 0

    def blocks() -> Blocks:
        for first, available, count in ((0, mnist.train, STACKED_TRAIN), (mnist.train, mnist.test, test)):
            for start in range(0, count, _BLOCK):
                digits = first + rng.integers(available, size=(min(_BLOCK, count - start), 3))  # n 3
                images = mnist.images[digits.reshape(-1)].reshape(*digits.shape, *mnist.images.shape[1:3])  # n 3 h w
                yield images.transpose(0, 2, 3, 1), mnist.labels[digits] @ np.array([100, 10, 1])

    return Splits(blocks(), [f"{mode:03}" for mode in range(1000)], test)


@dataclass(frozen=True)
class Source:
    """How a named dataset is made: `make(data_dir, resolution)`. The user may set `resolution` if it is `resizable`."""

    make: Callable[[Path, int], Splits]
    resolution: int
    resizable: bool = False


SOURCES: dict[str, Source] = {
    "shapes": Source(_shapes, shapes.RESOLUTION),
    "faces": Source(_faces, faces.RESOLUTION),
    "cifar10": Source(partial(downloads.arrays, downloads.CIFAR10), 32),
    "cifar100": Source(partial(downloads.arrays, downloads.CIFAR100), 32),
    "mnist": Source(partial(downloads.arrays, downloads.MNIST), 28),
    "fashion_mnist": Source(partial(downloads.arrays, downloads.FASHION_MNIST), 28),
    "stacked_mnist": Source(_stacked_mnist, 28),
    "stl10": Source(downloads.stl10, 48, resizable=True),
    "celeba": Source(downloads.celeba, 64, resizable=True),
}
FOLDER_RESOLUTION = 64
NAMES = (*SOURCES, "folder", "packed")


def _open_or_make(
    folder: Path, name: str, make: Callable[[], Splits], before_packing: Callable[[], object]
) -> PackedStore:
    """Open a packed folder, or make it. Other processes that want it too wait, so that nothing is downloaded twice.

    Waiting only saves work: `pack` puts a complete folder in place at once, so a file system without locks will do.
    """
    if folder.exists():
        return open_packed(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.parent / f".{folder.name}.lock"
        lock = acquire_lock(path, wait=True, consequence="processes started together may download twice")
    except OSError as error:
        raise UserError(
            f"data_dir={folder.parent} cannot be written to ({reason(error)}); choose another one."
        ) from None
    try:
        if folder.exists():
            return open_packed(folder)
        before_packing()
        log.info("packing %s into %s", name, folder)
        made = make()
        return pack(folder, made.blocks, name=name, class_names=made.class_names, test=made.test, note=made.note)
    finally:
        lock.release()


def _open_folder(
    data_dir: Path,
    path: Path,
    resolution: int | None,
    max_unreadable: int | None,
    held_out: int,
    labels: bool,
    before_packing: Callable[[], object],
) -> PackedStore:
    side = FOLDER_RESOLUTION if resolution is None else resolution
    with closing(ImageSource(path, side, max_unreadable, labels=labels)) as source:
        packed = data_dir / (f"folder-{side}-{source.fingerprint()}" + (f"-held-out-{held_out}" if held_out else ""))
        name = printable(path.stem) or "images"
        source.hold_out(held_out)
        return _open_or_make(
            packed, name, lambda: Splits(source.blocks(), source.class_names, held_out), before_packing
        )


def resolve_path(key: str, path: str | Path) -> Path:
    """Expand and resolve a path that the user set as `key`. Raises UserError for a path that cannot exist."""
    try:
        place = Path(expand_path(str(path))).expanduser().resolve()
        os.stat(place)
    except FileNotFoundError:
        pass  # it may be created; opening it reports the error otherwise
    except (OSError, RuntimeError, ValueError) as error:  # too long, a link to itself, not text, no such home
        raise UserError(f"{key}={path} cannot be opened ({getattr(error, 'strerror', None) or error}).") from None
    return place


def _check_resolution(name: str, resolution: int) -> None:
    if name != "folder" and not (name in SOURCES and SOURCES[name].resizable):
        raise UserError(f"dataset.resolution={resolution}: the resolution of dataset={name} is fixed; leave it out.")
    if resolution > MAX_SIDE:
        raise UserError(f"dataset.resolution={resolution} is over the limit of {MAX_SIDE} pixels.")
    above = supported_resolution(max(resolution, 1))
    if above != resolution:
        raise UserError(
            f"dataset.resolution={resolution} is not a size that nets build, 4, 6 or 8 times a power of two: "
            f"the next one is {above}."
        )


def load(
    name: str,
    data_dir: str | Path,
    *,
    path: str | Path | None = None,
    resolution: int | None = None,
    hflip: bool = False,
    labels: bool = True,
    max_unreadable: int | None = None,
    held_out: int = 0,
    before_packing: Callable[[], object] = lambda: None,
) -> Dataset:
    """Open the dataset `name` from `data_dir/name`, making it first if it is not packed there.

    Args:
        path: for "folder", a folder of images, of class folders, or a ZIP; for every name, also a packed directory
            to open as it is.
        resolution: side in pixels to resize to, for "folder" (64), "stl10" (48) and "celeba" (64).
        hflip: whether training mirrors images at random.
        labels: False leaves the classes out: all images are of one.
        max_unreadable: for "folder", how many unreadable images may be skipped (None: 1 %, but at least 10).
        held_out: for "folder", how many images to keep out of training: they are the test split, spread evenly over
            the sorted names.
        before_packing: called if the dataset has to be made, which may take long, before that.

    Raises:
        UserError: an unknown name, a missing or unusable path, a damaged packed directory, a failed download.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, 1, 0.0)[0]
        raise UserError(f"dataset.name={name} is unknown; did you mean {near}? (known: {', '.join(NAMES)})")
    if resolution is not None:
        _check_resolution(name, resolution)
    if max_unreadable is not None and max_unreadable < 0:
        raise UserError(f"dataset.max_unreadable={max_unreadable} must be at least 0.")
    if held_out < 0 or (held_out and name != "folder"):
        raise UserError(f"dataset.held_out={held_out}: a number of images of dataset=folder, at least 0; other "
                        "datasets have test images of their own.")  # fmt: skip
    data_dir = resolve_path("data_dir", data_dir)
    given = resolve_path("dataset.path", path) if path not in (None, "") else None
    if given is None and name in ("folder", "packed"):
        wanted = "a folder or a ZIP of images" if name == "folder" else "a packed directory"
        raise UserError(f"dataset={name} needs dataset.path=, {wanted}.")
    if given is None:
        source = SOURCES[name]
        side = resolution or source.resolution
        packed = data_dir / (name if side == source.resolution else f"{name}-{side}")
        store = _open_or_make(packed, name, lambda: source.make(data_dir, side), before_packing)
    elif name == "folder" and not is_packed(given):
        store = _open_folder(data_dir, given, resolution, max_unreadable, held_out, labels, before_packing)
    else:
        store = open_packed(given)
        if resolution not in (None, store.resolution):
            raise UserError(f"dataset.path={path} is packed at {store.resolution} pixels, not at {resolution}: "
                            "leave out dataset.resolution, or give the images")  # fmt: skip
        if held_out not in (0, store.test):
            raise UserError(f"dataset.path={path} is packed with {store.test} test images, not {held_out}: leave out "
                            "dataset.held_out, or give the images")  # fmt: skip
    return Dataset(store, hflip, labels)
