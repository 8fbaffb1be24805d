"""Logs of whole records, on disks that work and on disks that do not."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_lab.errors import StorageError, UserError
from gan_lab.runs.files import (
    Appender,
    append_row,
    check_takes_files,
    keep_rows_up_to,
    read_rows,
    row_bytes,
    storage_error,
)


def test_short_writes_are_gone_on_with(tmp_path, on_disk):
    on_disk(tmp_path, lambda name, go, size: go(1) if name == "write" else go())
    append_row(tmp_path / "log", {"step": 12})
    assert (tmp_path / "log").read_bytes() == b'{"step": 12}\n'


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, StorageError), (errno.EIO, StorageError), (errno.EROFS, UserError)]
)
@pytest.mark.parametrize("call", ["mkdir", "open", "write", "replace"])
def test_a_folder_that_takes_no_files_is_told(tmp_path, on_disk, refusing, call, code, kind):
    folder = tmp_path / "runs" / "mine"
    check_takes_files(tmp_path)
    assert list(tmp_path.iterdir()) == []
    on_disk(folder, refusing(call, code))
    with pytest.raises(kind, match=f"{folder}.*{os.strerror(code)}"):
        check_takes_files(folder)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "free space on that disk"), (errno.EROFS, "writable"), (errno.EIO, "check that disk")],
)
def test_the_message_says_what_why_and_what_to_do(tmp_path, code, advice):
    error = storage_error(tmp_path / "x.pt", OSError(code, os.strerror(code)))
    assert isinstance(error, StorageError) and error.exit_status == 1
    assert str(tmp_path / "x.pt") in str(error) and os.strerror(code) in str(error) and advice in str(error)


def test_rows_survive_a_line_cut_off_by_a_crash(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in (1, 2, 3):
        append_row(path, {"step": step, "loss": step / 2})
    with open(path, "a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in read_rows(path)] == [1, 2, 3]
    append_row(path, {"step": 4})
    assert [r["step"] for r in read_rows(path)] == [1, 2, 3, 4]
    keep_rows_up_to(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 1.0}\n'
    append_row(path, {"step": 3})
    assert [r["step"] for r in read_rows(path)] == [1, 2, 3]


@given(st.lists(st.integers(0, 9), max_size=6), st.binary(max_size=20), st.integers(-1, 9), st.integers(0, 6))
def test_what_is_kept_is_what_can_be_read_whatever_a_power_cut_wrote(tmp_path_factory, steps, garbage, step, at):
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    lines = [row_bytes({"step": s, "x": s / 7}) for s in steps]
    lines.insert(min(at, len(lines)), garbage.replace(b"\r", b"") + b"\n")
    path.write_bytes(b"".join(lines))
    wanted = [r for r in read_rows(path) if r.get("step", 0) <= step]
    stays = keep_rows_up_to(path, step)
    assert read_rows(path) == wanted
    assert b"".join(path.read_bytes().splitlines(keepends=True)) == path.read_bytes()
    assert stays == set(path.read_bytes().splitlines(keepends=True))
    before = path.read_bytes()
    keep_rows_up_to(path, step)
    assert path.read_bytes() == before


def test_dropping_the_last_rows_takes_no_space(tmp_path, on_disk, refusing):
    path = tmp_path / "log.jsonl"
    for step in (1, 2, 3):
        append_row(path, {"step": step})
    inode = path.stat().st_ino
    on_disk(tmp_path, refusing("write"))
    assert keep_rows_up_to(path, 2) == {b'{"step": 1}\n', b'{"step": 2}\n'}
    assert [r["step"] for r in read_rows(path)] == [1, 2] and path.stat().st_ino == inode


def test_of_the_remaining_rows_the_wanted_lines_and_all_names_of_measurements_are_told(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [row_bytes({"step": s, "images_seen": 8 * s, f"x{s}": s / 2, "note": "text"}) for s in (1, 2, 3)]
    path.write_bytes(lines[0] + b'{"torn": 1' + b"\n" + lines[1] + lines[2])
    keys = {"earlier"}
    assert keep_rows_up_to(path, 2, {lines[1], lines[2], b"other\n"}, keys) == {lines[1]}
    assert keys == {"earlier", "x1", "x2"}
    assert path.read_bytes() == lines[0] + lines[1]


def test_a_row_after_damage_that_ends_in_a_carriage_return_stays(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\r\n\x00\r{"step": 2}\n{"step"\r: 3}\n')
    keep_rows_up_to(path, 9)
    assert path.read_bytes() == b'{"step": 1}\r\n{"step": 2}\n'


def test_no_file_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "absent.jsonl") == []
    assert keep_rows_up_to(tmp_path / "absent.jsonl", 3) == set()


class Disk:
    """Takes `room` bytes; `broken` names calls that fail altogether."""

    def __init__(self, room=10**9, broken=()):
        self.room, self.broken = room, broken

    def __call__(self, name, go, size):
        if name in self.broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if name == "write" and size > self.room:
            if self.room == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part, self.room = self.room, 0
            return go(part)
        self.room -= size
        return go()


@pytest.mark.parametrize("room", range(26))
def test_no_row_is_lost_torn_or_doubled_when_a_disk_is_full_for_a_while(tmp_path, on_disk, caplog, room):
    disk, log = Disk(), Appender(tmp_path / "log.jsonl")
    on_disk(tmp_path, disk)

    def row(step):
        log.add(row_bytes({"step": step}))
        return log.flush()

    assert row(1)
    disk.room = room  # a row has 12 bytes
    worked = [row(2), row(3)]
    assert worked == [room >= 12, room >= 24]
    whole = 1 + sum(worked)
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(row_bytes({"step": s}) for s in range(1, whole + 1))
    disk.room = 10**9
    assert row(4)
    assert [r["step"] for r in read_rows(tmp_path / "log.jsonl")] == [1, 2, 3, 4]
    assert (tmp_path / "log.jsonl").read_bytes().count(b"\n") == 4
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == (0 if room >= 24 else 2)  # once when it fails, though it fails twice, and once when it works
    if told:
        assert "log.jsonl (No space left on device)" in told[0] and "again, nothing is missing" in told[1]


@pytest.mark.parametrize("room", [1, 5, 11])
def test_a_part_that_cannot_be_taken_back_is_gone_on_with(tmp_path, on_disk, room):
    disk, log = Disk(room, broken=("truncate",)), Appender(tmp_path / "log.jsonl")
    on_disk(tmp_path, disk)
    log.add(row_bytes({"step": 1}))
    assert not log.flush()
    assert (tmp_path / "log.jsonl").stat().st_size == room
    log.add(row_bytes({"step": 2}))
    disk.room = 3
    assert not log.flush()
    disk.room = 10**9
    assert log.flush()
    assert (tmp_path / "log.jsonl").read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_rows_that_another_program_appended_stay(tmp_path, on_disk):
    log = Appender(tmp_path / "log.jsonl")

    def act(name, go, size):
        if name == "fsync":  # between our write and its failure
            with open(tmp_path / "log.jsonl", "ab") as file:
                file.write(b'{"step": 9, "evaluated": true}\n')
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return go()

    on_disk(tmp_path, act)
    log.add(row_bytes({"step": 1}))
    assert not log.flush(sync=True)
    assert log.flush()
    assert [r["step"] for r in read_rows(tmp_path / "log.jsonl")] == [1, 9]


def test_a_log_that_was_moved_away_is_begun_anew_and_nothing_pending_makes_no_file(tmp_path):
    log = Appender(tmp_path / "log.jsonl")
    assert log.flush(sync=True) and not log.path.exists()
    log.add(b"1\n")
    log.flush()
    log.path.rename(tmp_path / "old")
    log.add(b"2\n")
    assert log.flush(sync=True) and log.path.read_bytes() == b"2\n"


def test_memory_is_bounded_where_records_may_be_left_out_and_their_number_is_told(tmp_path, on_disk, caplog):
    disk, log = Disk(0), Appender(tmp_path / "events", limit_bytes=10)
    on_disk(tmp_path, disk)
    for number in range(8):
        log.add(b"%d---\n" % number)
        log.flush()
    disk.room = 10**9
    log.flush()
    assert (tmp_path / "events").read_bytes() == b"0---\n1---\n2---\n"
    assert "5 records were left out" in caplog.text
    log.add(b"9---\n")
    assert log.flush() and (tmp_path / "events").read_bytes().endswith(b"9---\n")


def test_each_record_is_measured_once_and_the_limit_holds_anew_after_each_full_disk(tmp_path, on_disk):
    measured = []

    class Record(bytes):
        def __len__(self):
            measured.append(self)
            return super().__len__()

    disk, log = Disk(), Appender(tmp_path / "events", limit_bytes=100)
    on_disk(tmp_path, disk)
    for _ in range(2):
        disk.room = 0
        for _ in range(60):
            log.add(Record(b"0---\n"))
            log.flush()
        disk.room = 10**9
        assert log.flush()
    # A record is left out once more than the limit is pending: there is room for 21 of 5 bytes each time.
    assert (tmp_path / "events").read_bytes() == b"0---\n" * 42 and len(measured) == 42


def test_append_row_raises(tmp_path, on_disk, refusing):
    append_row(tmp_path / "log", {"step": 1})
    on_disk(tmp_path, refusing("write"))
    with pytest.raises(OSError, match="No space left"):
        append_row(tmp_path / "log", {"step": 2})
    assert read_rows(tmp_path / "log") == [{"step": 1}]
