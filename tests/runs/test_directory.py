"""The run directory: one process at a time, logs that lose nothing, and what is made of a damaged one."""

import copy
import errno
import fcntl
import json
import os
import signal
import subprocess
import tracemalloc
from dataclasses import replace

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gan_lab
from gan_lab.config.changes import changed_settings
from gan_lab.config.check import check
from gan_lab.errors import StorageError, UserError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.runs.environment import commit_of, with_history
from gan_lab.runs.files import read_rows


@pytest.fixture(scope="module")
def config():
    return check(gan_lab.compose("recipe=dcgan", "dataset=shapes"))


def opened(path, config, step=0, **how):
    run = RunDirectory(path, config)
    run.open(step, {"hash": "x"}, **how)
    return run


def killed(run):
    """What the kernel does for a process that is gone; nothing is closed or written."""
    run.unlock()


def write(run, *steps):
    for step in steps:
        run.scalars(step, 8 * step, {"loss/d": step / 2}, 0.1)
        run.metrics({"step": step, "fid": step / 4, "protocol": "x"})


def steps_of(folder, name="train.jsonl"):
    return [row["step"] for row in read_rows(folder / name)]


def scalars_of(folder, tag="4 losses and logits/loss/d"):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()
    return [(e.step, e.value) for e in events.Scalars(tag)]


class Disk:
    """`code`: every write fails with it."""

    code = None

    def __call__(self, name, go, size):
        if self.code is not None and name in ("write", "truncate", "replace"):
            raise OSError(self.code, os.strerror(self.code))
        return go()


# -- one process at a time


def test_a_second_one_is_refused_with_what_is_known_of_the_first(tmp_path, config):
    first, second = (RunDirectory(tmp_path / "a" / "run", config) for _ in range(2))
    first.lock()
    first.lock()  # again is no harm
    with pytest.raises(UserError, match=rf"a/run is in use by process {os.getpid()} on .* since 20.*another name"):
        second.lock()
    with pytest.raises(UserError, match="is in use"):
        second.open(0, None)
    first.unlock()
    first.unlock()
    second.lock()
    with pytest.raises(UserError, match="is in use"):
        first.lock()
    second.unlock()
    assert (tmp_path / "a" / "run" / ".lock").is_file()  # removing it would race


def test_close_and_the_end_of_its_object_let_go(tmp_path, config):
    run = opened(tmp_path, config)
    run.close({"status": "interrupted"})
    RunDirectory(tmp_path, config).lock()  # held by nobody afterwards
    RunDirectory(tmp_path, config).lock()


@pytest.mark.parametrize("name", ["metrics.jsonl", "train.jsonl", "train.log"])
def test_a_link_in_place_of_a_file_that_grows_is_refused_and_what_it_leads_to_stays(tmp_path, config, name):
    other, run = tmp_path / "other", tmp_path / "run"
    other.write_text("mine\n")
    run.mkdir()
    (run / name).symlink_to(other)
    with pytest.raises(UserError, match=f"{name} is a link, and what it leads to would be changed"):
        RunDirectory(run, config).open(0, None)
    assert other.read_text() == "mine\n"
    (run / name).unlink()
    RunDirectory(run, config).open(0, None)


def test_kill_minus_9_lets_go(tmp_path, config):
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            held = RunDirectory(tmp_path, config)
            held.lock()
            os.write(told, b".")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(ready, 1) == b"."
        with pytest.raises(UserError, match=f"in use by process {child} on "):
            RunDirectory(tmp_path, config).lock()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    RunDirectory(tmp_path, config).lock()


def test_the_lock_file_tells_who_and_when_or_nothing_on_a_full_disk(tmp_path, config):
    run = RunDirectory(tmp_path, config)
    run.lock()
    facts = json.loads((tmp_path / ".lock").read_text())
    assert facts["pid"] == os.getpid() and facts.keys() == {"pid", "host", "started"}
    (tmp_path / ".lock").write_text("")
    with pytest.raises(UserError, match="in use by another process"):
        RunDirectory(tmp_path, config).lock()
    run.unlock()


def test_a_file_system_without_locks_is_warned_about_and_one_that_fails_is_refused(
    tmp_path, config, monkeypatch, caplog
):
    code = errno.ENOTSUP

    def flock(file, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    run = RunDirectory(tmp_path, config)
    run.lock()
    assert "cannot be locked" in caplog.text and "no second process" in caplog.text
    run.unlock()
    code = errno.EIO
    with pytest.raises(StorageError, match="Input/output error"):
        run.lock()


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (errno.EROFS, UserError, "Read-only file system.*make it writable"),
        (errno.EACCES, UserError, "Permission denied"),
        (errno.ENOSPC, StorageError, "No space left.*free space"),
    ],
)
@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_directory_that_takes_nothing_is_told_in_one_sentence(tmp_path, config, on_disk, code, kind, word, call):
    def act(name, go, size):
        if name == call:
            raise OSError(code, os.strerror(code))
        return go()

    on_disk(tmp_path / "run", act)
    with pytest.raises(kind, match=word) as raised:
        RunDirectory(tmp_path / "run", config).lock()
    assert str(tmp_path / "run") in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_where_the_directory_should_be(tmp_path, config):
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match="cannot write to the run directory.*File exists"):
        RunDirectory(tmp_path / "run", config).lock()


# -- resuming


def test_rows_and_events_after_the_step_are_dropped_and_written_again_once(tmp_path, config):
    run = opened(tmp_path, config)
    write(run, 0, 2, 4, 6)
    run.sync()
    killed(run)
    run = opened(tmp_path, config, 4)
    assert steps_of(tmp_path) == steps_of(tmp_path, "metrics.jsonl") == [0, 2, 4]
    write(run, 6, 8)
    run.close({"status": "finished"})
    assert steps_of(tmp_path) == [0, 2, 4, 6, 8]
    assert scalars_of(tmp_path) == [(s, s / 2) for s in (0, 2, 4, 6, 8)]
    assert scalars_of(tmp_path, "1 FID and IS/fid") == [(s, s / 4) for s in (0, 2, 4, 6, 8)]


def test_resuming_keeps_neither_the_log_nor_its_rows_in_memory(tmp_path, config):
    killed(opened(tmp_path, config))  # imports what is imported on first use
    line = (
        b'{"step": %d, "images_seen": 8, "loss/d": 0.5' + b"".join(b', "x/%d": 0.125' % n for n in range(30)) + b"}\n"
    )
    (tmp_path / "train.jsonl").write_bytes(b"".join(line % step for step in range(8000)))
    size = (tmp_path / "train.jsonl").stat().st_size
    tracemalloc.start()
    run = opened(tmp_path, config, 7000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2
    assert steps_of(tmp_path) == list(range(7001))
    assert run._trackers.tensorboard.charts.keys == {"loss/d", *(f"x/{n}" for n in range(30))}
    killed(run)


def test_killed_before_the_first_checkpoint_it_starts_over(tmp_path, config):
    run = opened(tmp_path, config)
    write(run, 0, 2)
    killed(run)
    run = opened(tmp_path, config)
    assert steps_of(tmp_path) == []
    write(run, 0, 2, 4)
    run.close({"status": "finished"})
    assert steps_of(tmp_path) == [0, 2, 4] and [s for s, _ in scalars_of(tmp_path)] == [0, 2, 4]


def test_resumed_within_the_first_step_the_rows_of_step_0_stay(tmp_path, config):
    run = opened(tmp_path, config)
    write(run, 0)
    killed(run)
    run = opened(tmp_path, config, 0, fresh=False)
    write(run, 2)
    run.close({"status": "finished"})
    assert steps_of(tmp_path) == [0, 2] and [s for s, _ in scalars_of(tmp_path)] == [0, 2]


def test_event_files_are_read_in_the_order_they_were_written_whatever_the_clock_says(tmp_path, config, monkeypatch):
    now = 1_800_000_000
    for start, clock in ((0, now), (2, now), (4, now - 86_400)):
        monkeypatch.setattr("gan_lab.runs.event_file.time.time", lambda clock=clock: clock)
        run = opened(tmp_path, config, start)
        write(run, *range(start + 2, 12, 2))
        killed(run)
    run.close({"status": "finished"})
    assert [s for s, _ in scalars_of(tmp_path)] == [2, 4, 6, 8, 10]


def test_events_torn_by_a_kill_hide_nothing_that_came_before_or_after(tmp_path, config):
    run = opened(tmp_path, config)
    write(run, 2, 4)
    run.sync()
    with open(run.writer.appender.path, "ab") as file:
        file.write(b"\x18\x00\x00\x00\x00\x00")
    killed(run)
    run = opened(tmp_path, config, 4)
    write(run, 6)
    run.close({"status": "finished"})
    assert [s for s, _ in scalars_of(tmp_path)] == [2, 4, 6]


def test_text_images_and_histograms_go_through_the_event_file(tmp_path, config):
    run = opened(tmp_path, config)
    run.grid(3, torch.zeros(4, 3, 8, 8))
    run.writer.add_text("events", "collapse", 3)
    run.writer.add_histogram("weights", torch.arange(5.0), 3)
    run.close({"status": "finished"})
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    tags = events.Tags()
    assert tags["images"] == ["2 samples of fixed z/weights"] and tags["histograms"] == ["weights"]
    assert "events/text_summary" in tags["tensors"] and "config/text_summary" in tags["tensors"]
    assert (tmp_path / "samples" / "samples-00000003.png").read_bytes()[:4] == b"\x89PNG"


def test_leftovers_of_killed_writers_go_and_other_programs_files_stay(tmp_path, config):
    (tmp_path / "samples").mkdir()
    (tmp_path / "checkpoints").mkdir()
    stale = [tmp_path / ".config.yaml.1.tmp", tmp_path / "samples" / ".samples-00000001.png.1.tmp",
             tmp_path / "checkpoints" / ".index.json.1.tmp"]  # fmt: skip
    foreign = tmp_path / ".protocol-abc.json.1.tmp"  # of an evaluation that runs beside
    for path in (*stale, foreign):
        path.touch()
    opened(tmp_path, config)
    assert not any(path.exists() for path in stale) and foreign.exists()


def test_what_an_older_version_did_not_know_is_no_change_and_what_it_knew_is(config):
    old = json.loads(json.dumps(config.tree()))
    del old["monitor"], old["trainer"]["keep_every_steps"], old["stop_on_collapse"]
    assert changed_settings(old, config.tree()) == []
    assert changed_settings(old, {**config.tree(), "width": 0.5}) == [f"width: {config.width} -> 0.5"]
    old["trainer"]["keep_checkpoints"] = 99  # says what is kept, not what is computed
    assert changed_settings(old, config.tree()) == []
    old["trainer"]["batch_size"] = 3
    assert len(changed_settings(old, config.tree())) == 1


def test_an_argument_that_an_earlier_version_did_not_know_had_its_default():
    words = ("recipe=sngan_resnet", "dataset=shapes")
    new = check(gan_lab.compose(*words)).tree()
    old = copy.deepcopy(new)
    del old["generator"]["conditional"], old["discriminator"]["condition"]
    del old["norm"]["exact"]
    assert changed_settings(old, new) == []
    new["discriminator"]["condition"] = "projection"
    assert changed_settings(old, new) == ["discriminator.condition: none -> projection"]
    del old["discriminator"]["width"]  # a known one with another value than its default
    assert len(changed_settings(old, {**new, "discriminator": {**new["discriminator"], "width": 0.5}})) == 2


def checkpoint(config, step=2):
    settings = {k: v for k, v in config.tree().items() if k not in ("run_dir", "resume")}
    return {"state": {"step": step}, "config": settings, "dataset": {}}


@pytest.mark.parametrize("damage", ["gone", "", "[1, 2]", "a: [", "\x00\x00"], ids=repr)
def test_a_lost_config_is_taken_from_the_newest_checkpoint(tmp_path, config, damage, caplog):
    run = opened(tmp_path, config)
    Checkpoints(tmp_path / "checkpoints", keep=2).save(checkpoint(config), 2)
    run.close({"status": "finished"})
    if damage == "gone":
        (tmp_path / "config.yaml").unlink()
    else:
        (tmp_path / "config.yaml").write_text(damage)
    assert RunDirectory(tmp_path, config).finished()
    assert "config.yaml is missing or damaged" in caplog.text
    with pytest.raises(UserError, match="seed: 0 -> 5"):
        RunDirectory(tmp_path, replace(config, seed=5)).finished()
    (tmp_path / "checkpoints" / "step-00000002.pt").unlink()
    (tmp_path / "checkpoints" / "index.json").unlink()
    assert not RunDirectory(tmp_path, replace(config, seed=5)).finished()  # nothing there that could be lost


def test_the_commit_is_that_of_the_package_and_of_no_repository_around_it(tmp_path):
    def git(*words):
        own = ["-c", "user.name=x", "-c", "user.email=x@x"]
        done = subprocess.run(["git", "-C", str(tmp_path), *own, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    package = tmp_path / "site-packages" / "gan_lab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert commit_of(package) is None
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "another project")
    assert commit_of(package) is None
    git("add", "-A")
    git("commit", "-q", "-m", "the package")
    assert commit_of(package) == git("rev-parse", "HEAD")


def test_the_environments_of_earlier_processes_stay_where_they_differed():
    a, b = {"torch": "1", "started": "x"}, {"torch": "2", "started": "y"}
    both = with_history(b, a)
    assert both == {**b, "earlier": [a]}
    again = with_history({**b, "started": "z"}, both)
    assert again == {**b, "started": "z", "earlier": [a]}
    assert with_history({**a, "started": "w"}, again)["earlier"] == [{**b, "started": "z"}, a]
    assert with_history(a, None) == a


# -- disks that fail


def test_a_run_does_not_start_on_a_full_disk_but_goes_on_on_one(tmp_path, config, on_disk, caplog):
    disk = Disk()
    on_disk(tmp_path, disk)
    disk.code = errno.ENOSPC
    with pytest.raises(StorageError, match="No space left"):
        opened(tmp_path, config)
    disk.code = None
    run = opened(tmp_path, config)
    write(run, 2)
    killed(run)
    disk.code = errno.ENOSPC
    (tmp_path / "config.yaml").write_text("")
    run = opened(tmp_path, config, 2)
    write(run, 4, 6)
    run.grid(6, torch.zeros(4, 3, 8, 8))
    run.sync()
    assert steps_of(tmp_path) == [2] and [r["step"] for r in run.metric_rows()] == [2, 4, 6]
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("cannot write")]
    names = (
        "config.yaml",
        "environment.json",
        "protocol.json",
        "train.jsonl",
        "metrics.jsonl",
        "events.out",
        "samples",
    )
    assert len(told) == len(names)
    for name in names:  # each once, by name and reason
        assert sum(f"/{name}" in line and "No space left on device" in line for line in told) == 1
    disk.code = None
    write(run, 8)
    run.close({"status": "finished"})
    assert steps_of(tmp_path) == steps_of(tmp_path, "metrics.jsonl") == [2, 4, 6, 8]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["recipe"] == "dcgan"
    assert [s for s, _ in scalars_of(tmp_path)] == [2, 4, 6, 8]
    assert sum("can be written again" in r.getMessage() for r in caplog.records) == len(names) - 1  # no grid since


@pytest.mark.parametrize("status", ["finished", "diverged"])
def test_what_cannot_be_written_at_the_end_is_told_and_is_the_error_of_a_run_that_has_no_other(
    tmp_path, config, on_disk, caplog, status
):
    disk = Disk()
    on_disk(tmp_path, disk)
    run = opened(tmp_path, config)
    disk.code = errno.EIO
    write(run, 2)
    if status == "finished":
        with pytest.raises(StorageError, match="summary.json, train.jsonl, metrics.jsonl.*same command"):
            run.close({"status": status})
    else:
        run.close({"status": status})
        assert "could not write all of summary.json, train.jsonl, metrics.jsonl" in caplog.text
    RunDirectory(tmp_path, config).lock()


@pytest.mark.parametrize("written_since", [False, True])
def test_rows_that_a_disk_did_not_take_survive_in_the_checkpoint(tmp_path, config, on_disk, written_since):
    disk = Disk()
    on_disk(tmp_path, disk)
    run = opened(tmp_path, config)
    write(run, 2)
    assert run.unwritten() == {}
    disk.code = errno.ENOSPC
    write(run, 4)
    unwritten = json.loads(json.dumps(run.unwritten()))
    assert unwritten.keys() == {"train.jsonl", "metrics.jsonl"}
    disk.code = None
    if written_since:
        write(run, 6)
    killed(run)
    run = RunDirectory(tmp_path, config)
    run.restore(unwritten)
    run.open(4, None)
    write(run, 6)
    assert steps_of(tmp_path) == steps_of(tmp_path, "metrics.jsonl") == [2, 4, 6]


@pytest.mark.parametrize(
    "hostile", [None, 5, {"train.jsonl": 5}, {"train.jsonl": [None, "{}", "x\n"]}, {"../x": ["{}\n"]}], ids=str
)
def test_unwritten_rows_of_a_strange_checkpoint_are_ignored(tmp_path, config, hostile):
    run = RunDirectory(tmp_path / "run", config)
    run.restore(hostile)
    run.open(4, None)
    run.close({"status": "finished"})
    assert steps_of(tmp_path / "run") == [] and not (tmp_path / "x").exists()


def test_sync_puts_every_log_onto_the_disk(tmp_path, config, on_disk):
    synced = []
    run = opened(tmp_path, config)
    write(run, 2)
    run.writer.add_text("late", "text", 2)
    before = run.writer.appender.path.stat().st_size

    def act(name, go, size):
        synced.append(name)
        return go()

    on_disk(tmp_path, act)
    run.sync()
    assert synced.count("fsync") == 4  # train, metrics, events and the folder
    assert run.writer.appender.path.stat().st_size > before


def test_a_damaged_summary_is_none(tmp_path, config):
    run = RunDirectory(tmp_path, config)
    for text in ("", "[1]", "{", "\x00", "7"):
        (tmp_path / "summary.json").write_text(text)
        assert run.summary() == {}
