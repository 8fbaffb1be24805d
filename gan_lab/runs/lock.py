"""One process for one run directory."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from gan_lab.errors import UserError
from gan_lab.runs.files import read_json, reason

log = logging.getLogger(__name__)

NAME = ".lock"
_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class RunLock:
    """An exclusive lock on a folder, held until `release` or the end of the process, however it ends.

    The kernel's lock (flock) on `.lock` is what counts; what stands in the file is for people. The file stays, since
    removing it would let a third process lock a new one beside a second that waits for the old.
    """

    def __init__(self, folder: Path) -> None:
        """UserError if another process, or another RunLock of this one, has it; OSError if there is no such file."""
        path = folder / NAME
        self._file = open(path, "r+b", buffering=0, opener=_create)  # noqa: SIM115 (as long as the lock is held)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UserError(
                f"{folder} is in use by {_owner(path)}: wait until it has ended, stop it, or choose another name"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                self._file.close()
                raise
            log.warning("%s cannot be locked (%s): no second process may train there", folder, reason(error))
        with suppress(OSError):  # a full disk
            started = datetime.now().astimezone().isoformat(timespec="seconds")
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
            self._file.truncate(0)
            self._file.write(json.dumps(facts).encode() + b"\n")

    def release(self) -> None:
        """Let others have the folder."""
        self._file.close()


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def _owner(path: Path) -> str:
    facts = read_json(path)
    if not isinstance(facts, dict):
        return "another process"
    return f"process {facts.get('pid')} on {facts.get('host')} since {facts.get('started')}"
