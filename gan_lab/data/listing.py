"""List the files of a folder or a ZIP: which are images, by their names or else by their content."""

import logging
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from gan_lab.data.decode import SUFFIXES, is_image
from gan_lab.errors import escaped
from gan_lab.files import check_regular

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_DEPTH = 64  # of nested folders
_NO_FILES = ("/proc/", "/sys/")  # links into these are not followed


def printable(name: str) -> str:
    """Escape control characters, which file names and decoders' messages may contain; at most 300 characters."""
    return escaped(name)[:300]


@dataclass(frozen=True)
class Entry:
    """One image file: its name below the root, and what changes when the file does."""

    name: str
    size: int  # bytes, unpacked
    stamp: int  # modification time in ns, or the CRC in a ZIP
    member: zipfile.ZipInfo | None = None

    @property
    def file(self) -> tuple[str, int, int]:
        """Name, size and stamp: differs if the file was replaced or changed."""
        return self.name, self.size, self.stamp

    @property
    def printable(self) -> str:
        return printable(self.name)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for part in PurePosixPath(self.name).parts if part not in ("/", ".", ".."))


Listed = tuple[list[Entry], list[str]]  # the images in the order of their names, and the names of the other files


def _hidden(name: str) -> bool:
    """Whether a file or a folder above it is hidden, or is what macOS adds to a ZIP."""
    parts = PurePosixPath(name).parts
    return any(part == "__MACOSX" or (part.startswith(".") and part not in (".", "..")) for part in parts)


def _listed(
    files: Iterable[tuple[str, T]], entry: Callable[[str, T], Entry], opened: Callable[[T], IO[bytes]]
) -> Listed:
    """Divide files, given with their names, into images and others. Hidden ones are left out."""
    entries, others = [], []
    for name, file in files:
        if _hidden(name):
            continue
        if PurePosixPath(name).suffix.lower() in SUFFIXES or _is_image(file, opened):
            entries.append(entry(name, file))
        else:
            others.append(printable(name))
    return sorted(entries, key=lambda entry: entry.name), sorted(others)


def _is_image(file: T, opened: Callable[[T], IO[bytes]]) -> bool:
    try:
        with opened(file) as content:
            return is_image(content)
    except Exception:  # no permission; in a ZIP a password, an unknown compression, damaged data, ...
        return False


def _log_unreadable_folder(error: OSError) -> None:
    log.warning("skipped the folder %s: %s", printable(str(error.filename)), error.strerror)


def list_folder(root: Path) -> Listed:
    """List all files below `root`. Links to folders are followed, each real folder once.

    A link to a parent of `root` is not followed: it would add everything beside `root`.
    """
    return _listed(_walk(root), _entry, _open_file)


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    seen = {str(folder) for folder in Path(os.path.realpath(root)).parents}
    for at, folders, files in os.walk(root, onerror=_log_unreadable_folder, followlinks=True):
        real = os.path.realpath(at)
        if real in seen or f"{real}/".startswith(_NO_FILES):
            log.info("left out the folder %s: a link to %s", printable(at), printable(real))
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if len(Path(at).relative_to(root).parts) >= MAX_DEPTH and folders:
            log.warning("skipped what lies more than %d folders deep in %s", MAX_DEPTH, printable(str(root)))
            folders.clear()
        for file in files:
            path = Path(at, file)
            yield path.relative_to(root).as_posix(), path


def _entry(name: str, path: Path) -> Entry:
    try:
        status = path.stat()
    except OSError:  # a dangling link: reported as unreadable when it is opened
        return Entry(name, 0, 0)
    return Entry(name, status.st_size, status.st_mtime_ns)


def _open_file(path: Path) -> IO[bytes]:
    check_regular(path)  # opening a pipe would block
    if path.stat().st_size == 0:  # also of a file of /proc, reading which would block
        raise OSError("it is empty")
    return path.open("rb")


def list_zip(archive: zipfile.ZipFile) -> Listed:
    """List all files of a ZIP."""
    members = ((member.filename.replace("\\", "/"), member) for member in archive.infolist() if not member.is_dir())
    return _listed(members, lambda name, member: Entry(name, member.file_size, member.CRC, member), archive.open)
