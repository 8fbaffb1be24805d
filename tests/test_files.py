"""Atomic files, on disks that work and on disks that do not."""

import errno
import json
import os
import subprocess
import sys

import pytest

from gan_lab.files import remove_temporaries, write_atomically, write_json


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_and_no_temporary_file(tmp_path, on_disk, refusing, call):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")
    on_disk(tmp_path, refusing(call))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_writers_on_two_machines_may_have_one_process_id(tmp_path, on_disk):
    """Both are whole: neither writes into, or removes, the other's temporary file."""
    path, began = tmp_path / "file", []

    def act(name, go, size):
        if name == "write" and not began:
            began.append(True)
            write_atomically(path, b"of the other one, from beginning to end")
        return go()

    on_disk(tmp_path, act)
    write_atomically(path, b"of the first")
    assert began and path.read_bytes() == b"of the first" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_short_writes_are_gone_on_with(tmp_path, on_disk):
    on_disk(tmp_path, lambda name, go, size: go(1) if name == "write" else go())
    write_atomically(tmp_path / "file", b"whole content")
    assert (tmp_path / "file").read_bytes() == b"whole content"


def test_a_file_system_that_cannot_sync_folders_is_no_error_but_a_broken_one_is(tmp_path, on_disk):
    code, folders = errno.EINVAL, []

    def act(name, go, size):
        if name == "fsync" and folders:
            raise OSError(code, os.strerror(code))
        if name == "replace":
            folders.append(1)
        return go()

    on_disk(tmp_path, act)
    write_atomically(tmp_path / "a", b"1")
    assert folders and (tmp_path / "a").read_bytes() == b"1"
    folders.clear()
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        write_atomically(tmp_path / "a", b"2")


def test_only_leftovers_of_the_named_files_are_removed(tmp_path):
    for name in (".a.json.77.tmp", ".b.json.78.tmp", "a.tmp", ".lock"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, "a.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".b.json.78.tmp", ".lock", "a.tmp"]
    remove_temporaries(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "a.tmp"]


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": -float("inf")}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


WITHOUT_POSIX = """
import os, signal, sys, filelock, tempfile, torch, multiprocessing.connection
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None
for holder, names in ((os, ("O_CLOEXEC", "pread", "pwrite", "getuid")), (signal, ("SIGUSR1", "SIGHUP", "SIGKILL"))):
    for name in names:
        delattr(holder, name)
from pathlib import Path
from gan_lab.files import write_atomically
from gan_lab.runs.files import append_row, read_rows
import gan_lab.cli.train, gan_lab.distributed.launch, gan_lab.sweep.jobs, gan_lab.training.train
folder = Path(sys.argv[1])
write_atomically(folder / "a", bytes(range(256)))
(folder / "log").write_bytes(b'{"step": 1}\\n{"ste')
append_row(folder / "log", {"step": 2})
assert (folder / "a").read_bytes() == bytes(range(256))
assert [row["step"] for row in read_rows(folder / "log")] == [1, 2]
"""


@pytest.mark.slow
def test_what_only_posix_has_is_not_needed(tmp_path):
    """A stand-in for Windows, which lacks these modules, functions and signals."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
