"""One process for one run directory."""

import json
import os
import shutil
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from gan_lab.errors import UserError
from gan_lab.files import read_json_object
from gan_lab.locks import acquire_lock

NAME = ".lock"
_APPENDED = ("train.log", "train.jsonl", "metrics.jsonl")
_BEFORE_IT_BEGINS = {NAME, ".hydra", "train.log"}


def lock_run(folder: Path) -> FileLock:
    """Lock a folder for this process alone, until `release` or the end of the process, however it ends.

    The kernel's lock on the file `.lock` is what counts. The file's content only tells users who holds it.
    Raises UserError if the folder is locked already, also by this process, or holds links in place of files that grow;
    OSError if it cannot be written to.
    """
    refuse_links(folder)
    path = folder / NAME
    try:
        lock = acquire_lock(path, wait=False, consequence="no second process may train there")
    except Timeout as error:
        raise UserError(
            f"{folder} is in use by {_owner(path)}: wait until it has ended, stop it, or choose another name"
        ) from error
    with suppress(OSError):  # a full disk
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
        path.write_text(json.dumps(owner) + "\n")
    return lock


def refuse_links(folder: Path) -> None:
    """UserError if a file that is appended to is a link: a run of someone else's could then change any file."""
    for name in _APPENDED:
        if (folder / name).is_symlink():
            raise UserError(f"{folder / name} is a link, and what it leads to would be changed: put the file there")


def _owner(path: Path) -> str:
    owner = read_json_object(path)
    if not owner:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('started')}"


def remove_unbegun(folder: Path) -> None:
    """Remove the folder of a run that never began: it holds only what comes before config.yaml."""
    try:
        if not {path.name for path in folder.iterdir()} <= _BEFORE_IT_BEGINS:
            return
        lock = lock_run(folder)
    except (OSError, UserError):  # none, or in use by a run that is about to begin
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
