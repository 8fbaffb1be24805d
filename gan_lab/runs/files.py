"""Logs of a run that grow by whole records, and the errors for a run directory that cannot be written to."""

import errno
import json
import logging
import os
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gan_lab.diagnostics.catalogue import ROW_KEYS
from gan_lab.errors import StorageError, UserError
from gan_lab.files import finite, opened, reason, write_atomically

log = logging.getLogger(__name__)

_ADVICE = {
    errno.ENOENT: "its folder has been moved or removed",
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space within your quota",
    errno.EROFS: "make that file system writable",
    errno.EACCES: "make it writable for you",
    errno.EPERM: "make it writable for you",
}


def storage_error(path: Path, error: OSError, need: str = "") -> StorageError:
    """Make the error for a failed write of `path`: what, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "check that disk and its connection")
    return StorageError(f"cannot write {path} ({reason(error)}{need}): {advice}.")


def directory_error(path: Path, error: OSError) -> StorageError | UserError:
    """Make the error for a run directory that cannot be written to: a failing disk, or a bad choice of directory."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return storage_error(path, error)
    return UserError(
        f"cannot write to the run directory {path} ({reason(error)}); choose another with name= or hydra.run.dir=, "
        "or make it writable"
    )


def check_takes_files(folder: Path) -> None:
    """Make a folder and write a small file in it as a test. Raises UserError or StorageError if that fails."""
    probe = folder / f".probe.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(probe, bytes(64 * 1024))
        probe.unlink(missing_ok=True)
    except OSError as error:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise directory_error(folder, error) from error


def row_bytes(row: dict[str, Any]) -> bytes:
    """Encode one object as one line of JSON."""
    return (json.dumps(finite(row), allow_nan=False) + "\n").encode()


def parse_row(line: bytes) -> dict[str, Any] | None:
    """Decode the object on a line, or return None if a crash left something else there."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def own_evaluations(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl from training, or all where there are only those of `gan-lab evaluate`."""
    return [row for row in rows if "evaluated" not in row and "checkpoint" not in row] or rows


def measurements(row: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a row that were measured: not its step, images and seconds."""
    return {k: v for k, v in row.items() if isinstance(v, (int, float)) and k not in ROW_KEYS}


def iterate_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete rows of a JSON-lines file, one at a time. A line cut off by a crash is left out."""
    if path.is_file():
        with path.open("rb") as file:
            yield from (row for line in file if (row := parse_row(line)) is not None)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the complete rows of a JSON-lines file. A line cut off by a crash is left out."""
    return list(iterate_rows(path))


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append one object as one line, ending a line that a crash cut off. Raises OSError."""
    with opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
        size = os.lseek(file, 0, os.SEEK_END)
        torn = size > 0 and os.lseek(file, -1, os.SEEK_END) >= 0 and os.read(file, 1) != b"\n"
    appender = Appender(path)
    appender.add(b"\n" * torn + row_bytes(row))
    appender.flush(strict=True)


def keep_rows_up_to(
    path: Path, step: int, wanted: Container[bytes] | None = None, keys: set[str] | None = None
) -> set[bytes]:
    """Remove incomplete lines and the rows after `step`, which a run resumed at `step` will write again.

    If only the end is removed, the file is truncated in place, which needs no space. Returns the remaining lines, of
    those `wanted` if it is given, and adds the names of the remaining rows' measurements to `keys`.
    """
    found: set[bytes] = set()
    kept, cut, end = 0, 0, 0  # bytes that stay; those before the first that go; all bytes
    for line, row in _lines_up_to(path, step):
        if row is not None:
            if wanted is None or line in wanted:
                found.add(line)
            if keys is not None:
                keys.update(measurements(row))
            kept += len(line)
            cut += len(line) if cut == end else 0
        end += len(line)
    if kept == cut < end:
        os.truncate(path, cut)
    elif kept < end:
        whole = bytearray()
        for line, row in _lines_up_to(path, step):
            whole += line if row is not None else b""
        write_atomically(path, memoryview(whole))
    return found


def _lines_up_to(path: Path, step: int) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield each line and its row, None if it is incomplete or after `step`.

    Only one line is in memory, since the file of a long run has hundreds of megabytes.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for text in file:
            for line in text.splitlines(keepends=True):  # after damage, a row may follow a lone carriage return
                row = parse_row(line) if line.endswith(b"\n") else None
                yield line, None if row is None or _after(row, step) else row


def _after(row: dict[str, Any], step: int) -> bool:
    number = row.get("step", 0)
    return isinstance(number, (int, float)) and number > step


class Appender:
    """A file that grows by whole records. Records that cannot be written stay in memory and are retried.

    A failure is logged once, and so is the recovery. The file is opened for each write, since in a run of a week it may
    be moved or its server restarted. While writing fails, records beyond `limit_bytes` in memory are dropped.
    """

    def __init__(self, path: Path, limit_bytes: int | None = None) -> None:
        self.path, self.limit_bytes = path, limit_bytes
        self.pending: list[bytes] = []
        self._pending_bytes = 0  # of all pending records: on a disk that stays full they may be very many
        self._written = 0  # bytes of the pending records that are in the file and could not be truncated
        self._failing = False
        self._dropped = 0

    def add(self, record: bytes) -> None:
        """Queue one record."""
        if self.limit_bytes is not None and self._failing and self._pending_bytes > self.limit_bytes:
            self._dropped += 1
        else:
            self.pending.append(record)
            self._pending_bytes += len(record)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the complete rows in the file, then those that could not be written yet."""
        yield from iterate_rows(self.path)
        yield from (row for line in self.pending if (row := parse_row(line)) is not None)

    def flush(self, *, sync: bool = False, strict: bool = False) -> bool:
        """Write all pending records, with `sync` also fsync. Returns True on success; `strict` raises OSError."""
        if not self.pending and not (sync and self.path.exists()):
            return True
        data = memoryview(b"".join(self.pending))
        done, end = self._written, 0
        try:
            with opened(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
                while done < len(data):
                    done += os.write(file, data[done:])
                    end = os.lseek(file, 0, os.SEEK_CUR)
                if sync:
                    os.fsync(file)
        except OSError as error:
            self._written = self._truncate_part(done, end)
            if strict:
                raise
            if not self._failing:
                log.warning("cannot write %s (%s); training continues and retries the write", self.path, reason(error))
            self._failing = True
            return False
        self.pending, self._pending_bytes, self._written = [], 0, 0
        if self._failing:
            dropped = f"; {self._dropped} records were left out" if self._dropped else ", nothing is missing"
            log.warning("%s can be written again%s", self.path, dropped)
            self._failing, self._dropped = False, 0
        return True

    def _truncate_part(self, done: int, end: int) -> int:
        """Truncate the `done` bytes of pending records that reached the file. Returns how many of them remain.

        `end`: the file's size after our last write. If it differs now, another program has appended since.
        """
        try:
            if done and self.path.stat().st_size == end:
                os.truncate(self.path, end - done)
                return 0
        except OSError:
            pass
        return done
