"""Read the images of a folder, of class folders or of a ZIP: decode them, and skip what cannot be read."""

import hashlib
import json
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from gan_lab.data.decode import FORMATS, PREFIX_BYTES, Unreadable, check_prefix, decode
from gan_lab.data.labels import MAX_BYTES, Classes, Label, classes_of_folders, label_file, one_class, read_classes
from gan_lab.data.listing import Entry, list_folder, list_zip, printable
from gan_lab.data.store import is_packed
from gan_lab.errors import UserError
from gan_lab.files import check_regular
from gan_lab.progress import working

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 2**20  # of one file, unpacked
MAX_RATIO, _SMALL_BYTES = 100, 2**24  # compression ratio of a ZIP member above _SMALL_BYTES: more is no image
_DECODER_VERSION = 1  # part of the fingerprint; raise it when the same files would give other pixels
_BLOCK, _BLOCK_PIXELS = 256, 2**27
_THREADS = 4


def _some(names: Sequence[str]) -> str:
    """Return the first names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


class ImageSource:
    """The images of a folder or a ZIP, decoded to one size, or in their stored sizes if `resolution` is None.

    `label_of` gives each image's name its class (see `labels`); with labels=False all are of one class.
    A ZIP is never unpacked to disk. At most `max_unreadable` images may be skipped (None: 1 %, but at least 10). `key`
    and `limit_key` are the names of the settings for the path and for this limit, used in messages.
    """

    def __init__(
        self,
        path: Path,
        resolution: int | None,
        max_unreadable: int | None,
        key: str = "dataset.path",
        limit_key: str = "dataset.max_unreadable",
        labels: bool = True,
    ) -> None:
        self.path, self.resolution = path, resolution
        self.where, self.limit_key = f"{key}={path}", limit_key
        self.archive = self._open_archive()
        self.entries, others = list_folder(path) if self.archive is None else list_zip(self.archive)
        if not self.entries:
            raise UserError(
                f"{self.where} holds no images: no file in it is of a format that is read ({', '.join(FORMATS)}); "
                "give a folder, a folder of class folders, or a ZIP of images."
            )
        self.labels: bytes | None = None if labels else b""  # the content of the file of labels, if there is one
        self.class_names, self.label_of = self._classes(others) if labels else one_class(self.entries)
        if others:
            log.info("%s: left out what is no image: %d (%s)", printable(path.name), len(others), _some(others))
        self.max_unreadable = max(10, len(self.entries) // 100) if max_unreadable is None else max_unreadable
        self.unreadable: list[str] = []

    def _open_archive(self) -> zipfile.ZipFile | None:
        path = self.path
        if os.path.isdir(path):
            if is_packed(path):
                raise UserError(f"{self.where} is a packed dataset: use dataset=packed dataset.path={path}.")
            return None
        if not os.path.exists(path):
            raise UserError(f"{self.where} does not exist; give a folder or a ZIP of images.")
        if not os.path.isfile(path):  # opening a pipe would block
            raise UserError(f"{self.where} is neither a folder nor a file; give a folder or a ZIP of images.")
        try:
            return zipfile.ZipFile(path)
        except Exception as error:  # a damaged ZIP directory can raise nearly anything
            raise UserError(f"{self.where} is neither a folder nor a readable ZIP ({error}).") from None

    def _classes(self, others: list[str]) -> Classes:
        """Return class names, and the label of each image's name. Takes the file of labels off the `others`."""
        name = label_file(self.entries, others, self.where)
        if name is None:
            return classes_of_folders(self.entries, self.where)
        others.remove(name)
        try:
            if self.archive is None:
                check_regular(self.path / name, MAX_BYTES)
                self.labels = (self.path / name).read_bytes()
            else:
                member = self.archive.getinfo(name)
                if member.file_size > max(_SMALL_BYTES, MAX_RATIO * member.compress_size):
                    raise Unreadable(f"it unpacks to more than {MAX_RATIO} times its size")
                with self.archive.open(member) as file:
                    self.labels = file.read(MAX_BYTES + 1)
        except Exception as error:  # a password, a wrong CRC, no permission, ...
            raise UserError(f"{self.where}: {name} cannot be read ({error}).") from None
        if len(self.labels) > MAX_BYTES:
            raise UserError(f"{self.where}: {name} is over the limit of {MAX_BYTES:,} bytes.")
        return read_classes(self.entries, name, self.labels, self.where)

    def hold_out(self, count: int) -> None:
        """Put `count` images last, evenly spread over the names and so over class folders. UserError for too many."""
        total = len(self.entries)
        if count >= total:
            raise UserError(f"dataset.held_out={count}: {self.where} holds {total} images; hold out fewer of them.")
        held_out = {(2 * i + 1) * total // (2 * count) for i in range(count)}
        self.entries = [self.entries[i] for i in sorted(range(total), key=lambda i: i in held_out)]

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()

    def fingerprint(self) -> str:
        """Hash of the path, the files' names, sizes and times, and every setting: 16 hex digits."""
        files = [entry.file for entry in self.entries]
        content: list[Any] = [_DECODER_VERSION, str(self.path), self.resolution, self.max_unreadable, files]
        if self.labels is not None:  # else the names of the images say the classes
            content.append(hashlib.sha256(self.labels).hexdigest())
        return hashlib.sha256(json.dumps(content).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _bytes(self, entry: Entry) -> bytes:
        """Read at most `MAX_FILE_BYTES`, whatever size the file or the ZIP's directory declares."""
        over = Unreadable(f"it is over the limit of {MAX_FILE_BYTES:,} bytes")
        if entry.size > MAX_FILE_BYTES:
            raise over
        if self.archive is None:
            path = self.path / entry.name
            if not path.is_file():  # opening a pipe would block
                raise Unreadable("it is not a regular file, or a link to nothing")
            if entry.size == 0:  # also of a file of /proc, which could be read without end
                raise Unreadable("it is empty")
            opened: IO[bytes] = path.open("rb")
        else:
            assert entry.member is not None
            if entry.size > max(_SMALL_BYTES, MAX_RATIO * entry.member.compress_size):
                raise Unreadable(f"it unpacks to more than {MAX_RATIO} times its size")
            opened = self.archive.open(entry.member)
        with opened as file:
            data = file.read(PREFIX_BYTES)
            check_prefix(data)  # before the rest, which may take long to unpack
            data += file.read(MAX_FILE_BYTES + 1 - len(data))
        if len(data) > MAX_FILE_BYTES:
            raise over
        return data

    def _read(self, entry: Entry) -> np.ndarray | Unreadable:
        try:
            return decode(self._bytes(entry), self.resolution)
        except Unreadable as error:
            return error
        except Exception as error:  # no permission, a wrong CRC, a password, an unknown compression, ...
            return Unreadable(str(error).strip() or type(error).__name__)

    def _skip(self, entry: Entry, reason: Unreadable) -> None:
        self.unreadable.append(entry.printable)
        log.warning("skipped %s: %s", entry.printable, printable(str(reason)))
        if len(self.unreadable) > self.max_unreadable:
            raise UserError(
                f"{self.where}: more than {self.max_unreadable} of {len(self.entries)} images "
                f"cannot be read ({_some(self.unreadable)}; the last one: {reason}); "
                f"repair or remove them, or raise {self.limit_key}."
            )

    def read(self, entries: Sequence[Entry], block: int) -> Iterator[list[tuple[Entry, np.ndarray]]]:
        """Decode `entries` in order, `block` at a time. Unreadable ones are skipped and counted."""
        pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))  # Pillow releases the GIL
        try:
            for start in range(0, len(entries), block):
                part = entries[start : start + block]
                images = []
                with warnings.catch_warnings():  # outside the threads: it affects all of them
                    warnings.simplefilter("ignore")  # Pillow warns of odd metadata, and of sizes that are limited here
                    for entry, image in zip(part, pool.map(self._read, part), strict=True):
                        if isinstance(image, Unreadable):
                            self._skip(entry, image)
                        else:
                            images.append((entry, image))
                yield images
        finally:
            pool.shutdown(cancel_futures=True)  # after an error no thread begins another file

    def blocks(self) -> Iterator[tuple[np.ndarray, list[Label]]]:
        """Yield decoded images (uint8 n h w c, n varies) and their labels, in the order of the entries."""
        assert self.resolution is not None, "images of several sizes do not make a block"
        block = max(1, min(_BLOCK, _BLOCK_PIXELS // self.resolution**2))
        with working("packing", len(self.entries)) as advance:
            for images in self.read(self.entries, block):
                if images:
                    yield np.stack([image for _, image in images]), [self.label_of[entry.name] for entry, _ in images]
                advance(block)
        self.log_skipped()

    def log_skipped(self) -> None:
        """Say how many images were read, if any was skipped. UserError if not one was read."""
        total, skipped = len(self.entries), len(self.unreadable)
        if skipped == total:
            raise UserError(f"{self.where}: not one of its {total} images can be read.")
        if skipped:
            shown = _some(self.unreadable)
            log.info("%s: read %d of %d images, skipped %d (%s)", self.where, total - skipped, total, skipped, shown)
