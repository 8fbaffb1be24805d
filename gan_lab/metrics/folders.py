"""Sets of images as an evaluation reads them: folders, ZIP files, packed datasets, in their own size."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gan_lab.data.decode import to_rgb
from gan_lab.data.store import open_packed
from gan_lab.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class ImageSet:
    """`n` images behind `read(i) -> uint8 c h w`; `identity` changes with their bytes."""

    def __init__(self, name: str, n: int, read: Callable[[int], Tensor], identity: str) -> None:
        self.name, self.n, self.read, self.identity = name, n, read, identity

    def batches(self, indices: Tensor, batch_size: int) -> Iterator[Tensor]:
        """uint8 batches (b c h w) in the order of `indices`; another size begins a new batch."""
        held: list[Tensor] = []
        for index in indices.tolist():
            image = self.read(index)
            if held and (len(held) == batch_size or image.shape != held[0].shape):
                yield torch.stack(held)
                held = []
            held.append(image)
        if held:
            yield torch.stack(held)


def _decoded(data: bytes, name: str) -> Tensor:
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.array(to_rgb(image))
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} cannot be read as an image ({error}); remove it from the set") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _identity(parts: list[tuple[str, int, int]]) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _is_image(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in path.parts)


def _from_zip(path: Path) -> ImageSet:
    try:
        archive = zipfile.ZipFile(path)
        members = sorted((m for m in archive.infolist() if _is_image(m.filename)), key=lambda m: m.filename)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is neither a folder nor a readable ZIP ({error})") from error

    def read(index: int) -> Tensor:
        name = f"{path}:{members[index].filename}"
        try:
            return _decoded(archive.read(members[index]), name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise UserError(f"{name} cannot be unpacked ({error})") from error

    identity = _identity([(m.filename, m.file_size, m.CRC) for m in members])
    return ImageSet(path.name, len(members), read, identity)


def _from_folder(path: Path) -> ImageSet:
    files = sorted(f for f in path.rglob("*") if f.is_file() and _is_image(str(f.relative_to(path))))
    stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return ImageSet(path.name, len(files), lambda i: _decoded(files[i].read_bytes(), str(files[i])), _identity(stats))


def _from_packed(path: Path) -> ImageSet:
    store = open_packed(path)  # its training images
    read = lambda i: torch.from_numpy(np.array(store.images[i])).permute(2, 0, 1).contiguous()  # noqa: E731
    return ImageSet(store.name, store.train, read, store.sha256)


def open_images(path: str | Path) -> ImageSet:
    """The images of a folder (with its subfolders), a ZIP, or a packed dataset's training split.

    Transparent pixels are laid over white, gray images become RGB, nothing is cropped or resized: the
    backbone's own resize is the only one. Raises UserError for a path without images.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path} does not exist; give a folder of images, a ZIP, or a packed dataset")
    if (path / "dataset.json").is_file() and (path / "images.npy").is_file():
        return _from_packed(path)
    found = _from_folder(path) if path.is_dir() else _from_zip(path)
    if found.n == 0:
        raise UserError(f"{path} holds no images: nothing in it ends in {', '.join(SUFFIXES)}")
    return found
