"""Locks between processes, which the kernel releases however their holder ends."""

import errno
import logging
from pathlib import Path

from filelock import FileLock

from gan_lab.files import reason

log = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


def acquire_lock(path: Path, *, wait: bool, consequence: str) -> FileLock:
    """Lock the file `path` for this process; `release` or the end of the process, even by SIGKILL, unlocks it.

    The file stays after the release: removing it would let two processes lock different files of one name. On a file
    system without locks nothing is locked, and a warning tells the user the `consequence`.

    Raises filelock.Timeout if another process holds the lock and `wait` is False, OSError if `path` cannot be opened.
    """
    lock = FileLock(path, timeout=-1 if wait else 0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s): %s", path.parent, reason(error), consequence)
    return lock
