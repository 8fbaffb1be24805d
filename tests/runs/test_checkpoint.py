"""Checkpoints: what stays, what is refused, and what is fallen back to."""

import errno
import hashlib
import json
import os
import pickle

import pytest
import torch

from gan_lab.errors import StorageError, UserError
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint
from gan_lab.runs.migrations import FORMAT_VERSION


def content(step, best=None):
    """A checkpoint small enough to write many."""
    state = {"step": step, "x": torch.tensor([step]), "best": {} if best is None else {"step": best, "value": 1.5}}
    return {"state": state, "config": {}, "dataset": {}}


def step_of(checkpoint):
    return checkpoint["state"]["x"].item()


def names(folder):
    return sorted(p.name for p in folder.glob("*.pt"))


def name(step):
    return f"step-{step:08d}.pt"


def saved(folder, *steps, keep=9, best=None, every=0):
    """A folder in which the checkpoints of these steps were saved, that of step `best` as the best."""
    checkpoints, so_far = Checkpoints(folder, keep, every), None
    for step in steps:
        so_far = step if step == best else so_far
        checkpoints.save(content(step, so_far), step, best=step == best)
    return checkpoints


def test_keeps_the_last_ones_and_the_best(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3, 4, 5, keep=2, best=2)
    assert names(tmp_path) == [name(2), name(4), name(5)]
    index = checkpoints.index()
    assert (index["latest"], index["best"]) == (name(5), name(2))
    assert sorted(index["files"]) == names(tmp_path)
    assert step_of(checkpoints.latest()) == 5
    for file, entry in index["files"].items():
        assert entry == {"step": int(file[5:13]), "sha256": hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()}


@pytest.mark.parametrize(("every", "stay"), [(0, [10]), (3, [3, 6, 9, 10]), (5, [5, 10]), (20, [10])])
def test_keeps_every_nth_step_when_asked_to(tmp_path, every, stay):
    saved(tmp_path, *range(1, 11), keep=1, every=every)
    assert names(tmp_path) == [name(s) for s in stay]


def test_another_checkpoint_is_marked_as_the_best_and_none_that_is_not_there(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3, best=1)
    assert checkpoints.steps() == {1, 2, 3}
    checkpoints.mark_best(3)
    assert checkpoints.index()["best"] == name(3) and checkpoints.index()["latest"] == name(3)
    checkpoints.save(content(4, 3), 4)
    assert checkpoints.index()["best"] == name(3)
    for step in (9, None):
        checkpoints.mark_best(step)
        assert json.loads(checkpoints.index_path.read_text())["best"] is None
    Checkpoints(tmp_path / "absent", keep=1).mark_best(2)
    assert Checkpoints(tmp_path / "absent", keep=1).steps() == set() and not (tmp_path / "absent").exists()


def test_a_broken_newest_one_falls_back_to_the_one_before_and_says_so(tmp_path, caplog):
    checkpoints = saved(tmp_path, 1, 2)
    path = tmp_path / name(2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert step_of(checkpoints.latest()) == 1
    assert "step-00000002.pt is damaged" in caplog.text
    path.unlink()
    assert step_of(checkpoints.latest()) == 1
    (tmp_path / name(1)).write_bytes(b"")
    with pytest.raises(UserError, match="none of the checkpoints"):
        checkpoints.latest()


def test_no_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=1).latest() is None
    Checkpoints(tmp_path / "absent", keep=1).begin(0)
    assert not (tmp_path / "absent").exists()


@pytest.mark.slow
def test_an_index_truncated_anywhere_loses_nothing(tmp_path, caplog):
    checkpoints = saved(tmp_path, 1, 2, 3, best=2)
    whole = checkpoints.index_path.read_bytes()
    for size in range(len(whole)):
        checkpoints.index_path.write_bytes(whole[:size])
        caplog.clear()
        index = checkpoints.index()
        if whole[:size].strip() != whole.strip():
            assert "index.json is missing or damaged" in caplog.text
        assert index == json.loads(whole)
    checkpoints.index_path.unlink()
    assert checkpoints.index() == json.loads(whole)
    assert step_of(checkpoints.latest()) == 3


def wrong_types():
    good = {"step": 2, "sha256": "0" * 64}
    yield from (None, 7, "text", [], {}, {"files": None}, {"files": [1]}, {"files": {}, "latest": 5, "best": {}})
    yield {"latest": None, "best": None, "files": {name(2): 5}}
    yield {"latest": None, "best": name(2), "files": {name(2): {"step": "2", "sha256": 5}}}
    yield {"latest": "../../x", "best": ["a"], "files": {"../../x": good}}
    yield {"latest": name(2), "best": None, "files": {name(1): good}}


@pytest.mark.parametrize("raw", list(wrong_types()), ids=str)
def test_an_index_with_wrong_types_loses_nothing(tmp_path, raw):
    checkpoints = saved(tmp_path, 1, 2, best=1)
    whole = json.loads(checkpoints.index_path.read_text())
    checkpoints.index_path.write_text(json.dumps(raw))
    assert checkpoints.index() == whole
    assert step_of(checkpoints.latest()) == 2
    checkpoints.save(content(3, 1), 3)
    assert names(tmp_path) == [name(1), name(2), name(3)]
    assert checkpoints.index()["best"] == name(1) and sorted(checkpoints.index()["files"]) == names(tmp_path)


def test_a_rebuilt_index_leaves_out_what_does_not_load_and_believes_the_checksums_it_has(tmp_path, caplog):
    checkpoints = saved(tmp_path, 1, 2, 3, 4)
    (tmp_path / name(4)).write_bytes(b"cut off")
    torch.save({**content(2), "format_version": FORMAT_VERSION, "more": 1}, tmp_path / name(2))  # loads, but is another
    index = json.loads(checkpoints.index_path.read_text())
    index["files"][name(3)] = None
    checkpoints.index_path.write_text(json.dumps(index))
    assert sorted(checkpoints.index()["files"]) == [name(1), name(3)]
    assert "step-00000004.pt is damaged" in caplog.text and "step-00000002.pt is damaged" in caplog.text


def test_killed_between_the_checkpoint_and_the_index_the_checkpoint_counts(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, best=1)
    before = checkpoints.index_path.read_bytes()
    checkpoints.save(content(3, 3), 3, best=True)
    checkpoints.index_path.write_bytes(before)
    assert step_of(checkpoints.latest()) == 3
    index = checkpoints.index()
    assert (index["latest"], index["best"]) == (name(3), name(3))
    checkpoints.begin(3)
    assert json.loads(checkpoints.index_path.read_text()) == index


def test_killed_between_the_index_and_what_it_drops_the_rest_goes_next_time(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3, keep=2)
    torch.save({"format_version": FORMAT_VERSION, **content(1)}, tmp_path / name(1))
    checkpoints.begin(3)
    checkpoints.save(content(4), 4)
    assert names(tmp_path) == [name(3), name(4)] == sorted(checkpoints.index()["files"])


def test_replacing_a_checkpoint_of_the_same_step_leaves_a_good_one_at_every_moment(tmp_path, on_disk):
    """As when a signal comes at a step whose checkpoint is written already, and kill -9 soon after."""

    class Killed(BaseException):
        pass

    left = 10**9

    def act(called, go, size):
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return go()

    on_disk(tmp_path, act)
    for calls in range(100):
        left = 10**9
        checkpoints = saved(tmp_path / str(calls), 1, 2)
        left = calls
        try:
            checkpoints.save({**content(2), "more": "x" * 1000}, 2)
        except Killed:
            assert step_of(checkpoints.latest()) == 2
        else:
            break
    assert calls > 15  # three files, each of open, write, fsync, replace, unlink and the folder's open and fsync
    assert checkpoints.latest()["more"] == "x" * 1000


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("target", ["step-00000003.pt", "index.json"])
def test_a_full_disk_leaves_the_older_ones_and_says_what_could_not_be_written(tmp_path, on_disk, call, target):
    checkpoints = saved(tmp_path, 1, 2, keep=2)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    times = 0  # the checkpoint comes first; for the folder, too, there is an open and an fsync
    refused = 1 if target != "index.json" else 3 if call in ("open", "fsync") else 2

    def act(called, go, size):
        nonlocal times
        times += called == call
        if called == call and times == refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return go()

    on_disk(tmp_path, act)
    with pytest.raises(StorageError, match=f"cannot write .*{target} .No space left on device.*free space") as raised:
        checkpoints.save(content(3), 3)
    assert raised.value.exit_status == 1
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    checkpoints.save(content(3), 3)
    assert names(tmp_path) == [name(2), name(3)]


@pytest.mark.parametrize("fsync", range(1, 5))
def test_what_the_index_lists_is_there_even_if_only_an_fsync_failed(tmp_path, on_disk, fsync):
    """The fourth is that of the folder after the index was renamed: the new index is in place by then."""
    checkpoints, times = saved(tmp_path, 1, 2, keep=2), 0

    def act(called, go, size):
        nonlocal times
        times += called == "fsync"
        if called == "fsync" and times == fsync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return go()

    on_disk(tmp_path, act)
    with pytest.raises(StorageError, match="Input/output error"):
        checkpoints.save(content(3), 3)
    index = json.loads(checkpoints.index_path.read_text())
    assert set(index["files"]) <= set(names(tmp_path))
    assert step_of(checkpoints.latest()) == int(index["latest"][5:13]) == (3 if fsync == 4 else 2)
    checkpoints.begin(3)
    checkpoints.save(content(4), 4)
    assert names(tmp_path) == [name(3 if fsync == 4 else 2), name(4)]


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_cannot_be_removed_is_no_error_and_goes_later(tmp_path, on_disk, restart):
    checkpoints, broken = saved(tmp_path, 1, 2, keep=2), True

    def act(called, go, size):
        if called == "unlink" and broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return go()

    on_disk(tmp_path, act)
    checkpoints.save(content(3), 3)
    assert names(tmp_path) == [name(1), name(2), name(3)]
    assert sorted(json.loads(checkpoints.index_path.read_text())["files"]) == [name(2), name(3)]
    broken = False
    if restart:
        checkpoints = Checkpoints(tmp_path, keep=2)
        checkpoints.begin(3)
    checkpoints.save(content(4), 4)
    assert names(tmp_path) == [name(3), name(4)]


def test_what_was_passed_over_does_not_come_back(tmp_path):
    """A newest checkpoint that a disk would not give for once must not be resumed from after rows were dropped."""
    checkpoints = saved(tmp_path, 1, 2, best=2)
    data = (tmp_path / name(2)).read_bytes()
    (tmp_path / name(2)).write_bytes(b"")
    assert step_of(checkpoints.latest()) == 1
    checkpoints.begin(1)
    assert names(tmp_path) == [name(1)] and (tmp_path / f"{name(2)}.damaged").is_file()
    index = json.loads(checkpoints.index_path.read_text())
    assert (index["latest"], index["best"], list(index["files"])) == (name(1), None, [name(1)])
    (tmp_path / f"{name(2)}.damaged").write_bytes(data)
    assert step_of(checkpoints.latest()) == 1


def test_temporary_files_of_killed_writers_go_at_the_start(tmp_path):
    checkpoints = saved(tmp_path, 1)
    (tmp_path / f".{name(2)}.123.tmp").write_bytes(b"part")
    assert step_of(checkpoints.latest()) == 1
    assert (tmp_path / f".{name(2)}.123.tmp").exists()  # reading changes nothing
    checkpoints.begin(1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.json", name(1)]


def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    path = tmp_path / "bomb.pt"
    torch.save({"format_version": FORMAT_VERSION, **content(1), "x": Bomb()}, path)
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("version", [99, 0, -1, "2", None, True, 2.0, [1]])
def test_an_unknown_format_version_is_refused_by_its_number_and_not_passed_over(tmp_path, version):
    checkpoints = saved(tmp_path, 1)
    torch.save({**content(2), "format_version": version}, tmp_path / name(2))
    with pytest.raises(UserError, match=r"step-00000002.pt has checkpoint format .*reads formats 1 to 3"):
        load_checkpoint(tmp_path / name(2))
    with pytest.raises(UserError, match="checkpoint format"):  # an older gan_lab must not undo what a newer one did
        checkpoints.latest()


@pytest.mark.parametrize("part", ["state", "config", "dataset"])
@pytest.mark.parametrize("value", [None, 5, [], "text"], ids=str)
def test_a_file_without_the_parts_of_a_checkpoint_is_told_apart(tmp_path, part, value):
    torch.save({**content(1), "format_version": FORMAT_VERSION, part: value}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=f"not a checkpoint of a run: it has no '{part}'"):
        load_checkpoint(tmp_path / "x.pt")


def test_a_file_that_is_loaded_alone_is_checked_against_the_index_beside_it(tmp_path):
    checkpoints = saved(tmp_path, 1)
    file = tmp_path / name(1)
    assert step_of(load_checkpoint(file)) == 1
    index = json.loads(checkpoints.index_path.read_text())
    index["files"][name(1)]["sha256"] = "0" * 64
    checkpoints.index_path.write_text(json.dumps(index))
    with pytest.raises(UserError, match="is damaged: its checksum is not the one in index.json"):
        load_checkpoint(file)
    checkpoints.index_path.unlink()
    assert step_of(load_checkpoint(file)) == 1


def test_a_run_directory_that_has_gone_is_not_made_anew(tmp_path):
    checkpoints = Checkpoints(tmp_path / "gone" / "checkpoints", keep=1)
    with pytest.raises(StorageError):
        checkpoints.save(content(1), 1)
    assert not (tmp_path / "gone").exists()
