"""Files that survive a crash or a full disk: atomic writes, and reads that expect damage."""

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 64 * 2**20


_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Z_][A-Z0-9_]*)\})", re.ASCII)


def expand_path(text: str) -> str:
    """Expand a leading `~` or `~user`, then `$NAME` and `${NAME}`, as a shell would.

    A name that the environment does not have stays as it is, and so does `${...}` with a name that is not all capitals,
    which is an interpolation of the configuration.
    """
    return _VARIABLE.sub(lambda m: os.environ.get(m[1] or m[2], m[0]), os.path.expanduser(text))


# Not for child processes, and bytes as they are: a POSIX system has the first flag, Windows the second.
_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def reason(error: OSError) -> str:
    """Why a file operation failed, in the system's words."""
    return error.strerror or str(error) or type(error).__name__


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file descriptor for a block. A new file gets the permissions that the umask leaves."""
    descriptor = os.open(path, flags | _FLAGS, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # network file systems may report a full disk only here


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Replace a file's content. A reader, or a crash at any moment, finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")  # no other writer's, anywhere
    try:
        with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            rest = memoryview(data)
            while len(rest):
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_directory(path.parent)  # makes the rename itself durable


def sync_directory(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    try:
        with opened(folder, os.O_RDONLY) as directory:
            os.fsync(directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES):  # some file systems cannot
            raise


def remove_temporaries(folder: Path, names: str = "*") -> None:
    """Remove temporary files that killed writers left. Call this only where no other process writes these files."""
    for path in folder.glob(f".{names}.*.tmp"):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def check_regular(path: Path, max_bytes: int | None = None) -> None:
    """Raise OSError unless `path` is a regular file of at most `max_bytes`.

    Opening a pipe would block, and a device has no end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise OSError(f"it is over the limit of {max_bytes:,} bytes")


def finite(content: Any) -> Any:
    """Copy a nested structure, replacing NaN and infinities, which JSON lacks, by None."""
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, dict):
        return {k: finite(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(v) for v in content]
    return content


def json_bytes(content: Any) -> bytes:
    """Encode as indented JSON; non-finite numbers become null."""
    return (json.dumps(finite(content), indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Write `json_bytes(content)` atomically."""
    write_atomically(path, json_bytes(content))


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if it is missing or damaged."""
    try:
        check_regular(path, MAX_JSON_BYTES)
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or {} if the file is missing or damaged or holds something else."""
    content = read_json(path)
    return content if isinstance(content, dict) else {}
