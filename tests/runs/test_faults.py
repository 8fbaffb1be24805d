"""Whole runs on disks that fail, and signals: what goes on, what stops, and that nothing is lost."""

import errno
import json
import os
import signal

import pytest
import torch

import gan_lab
from gan_lab.config.plain import plain
from gan_lab.errors import InterruptedRun, StorageError, UserError
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint
from gan_lab.runs.directory import RunDirectory
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from gan_lab.training.progress import StopSignal

SMALL = (
    "trainer.total_steps=7", "trainer.batch_size=8", "trainer.eval_every_steps=0", "trainer.checkpoint_every_steps=2",
    "trainer.sample_every_steps=4", "trainer.log_every_steps=1", "trainer.device=cpu", "width=0.0625", "metrics=none",
    "monitor=off",
)  # fmt: skip


def run(folder, data, *words):
    return gan_lab.train(gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *SMALL, *words))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_data):
    return run(tmp_path_factory.mktemp("undisturbed"), tiny_data)


def assert_equal(folder, undisturbed):
    """The same weights to the bit, the same rows, every checkpoint readable."""
    a, b = (Checkpoints(f / "checkpoints", keep=9).latest()["state"] for f in (folder, undisturbed))
    assert a["step"] == b["step"]
    for net in ("G", "D", "G_ema"):
        assert all(torch.equal(a[net][k], b[net][k]) for k in b[net])
    files = (folder / "train.jsonl", undisturbed / "train.jsonl")
    rows = [[(r["step"], r["loss/d"], r["loss/g"]) for r in read_rows(file)] for file in files]
    assert rows[0] == rows[1] and [r[0] for r in rows[0]] == [1, 2, 3, 4, 5, 6, 7]
    assert (folder / "train.jsonl").read_bytes().count(b"\n") == 7
    assert_readable(folder)


def assert_readable(folder):
    index = json.loads((folder / "checkpoints" / "index.json").read_text())
    for name, entry in index["files"].items():
        load_checkpoint(folder / "checkpoints" / name, entry["sha256"])
    assert not list(folder.rglob(".*.tmp"))


class Disk:
    """Nothing can be written during the steps from `first` to `last`."""

    def __init__(self, first, last, code=errno.ENOSPC):
        self.first, self.last, self.code, self.step = first, last, code, 0

    def __call__(self, name, go, size):
        if self.first <= self.step <= self.last and name in ("write", "fsync", "replace", "mkdir"):
            raise OSError(self.code, os.strerror(self.code))
        return go()


@pytest.fixture
def at_step(monkeypatch):
    """`at_step(act)`: `act(n)` is called in the middle of every step, the first being 1."""
    true_step = accelerate.g_step

    def install(act):
        def stepping(exp, real, y):
            act(exp.step + 1)
            return true_step(exp, real, y)

        monkeypatch.setattr(accelerate, "g_step", stepping)

    return install


@pytest.fixture
def fails(at_step, on_disk):
    """`fails(folder, first, last, code)`: a Disk under the folder."""

    def install(folder, *how):
        disk = Disk(*how)
        at_step(lambda step: setattr(disk, "step", step))
        on_disk(folder, disk)
        return disk

    return install


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_run_goes_on_past_a_disk_that_takes_nothing_for_a_while(
    tmp_path, tiny_data, undisturbed, fails, caplog, code
):
    fails(tmp_path, 3, 5, code)
    run(tmp_path, tiny_data)
    assert_equal(tmp_path, undisturbed)
    told = [r.getMessage() for r in caplog.records if os.strerror(code) in r.getMessage()]
    assert sum("/train.jsonl" in line for line in told) == 1  # though it failed three times
    assert sum("checkpoints/step-00000004.pt" in line for line in told) == 1
    assert sum("/samples" in line for line in told) == 1
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 3, 7])
def test_a_disk_that_stays_full_ends_the_run_with_an_error_and_the_same_command_completes_it(
    tmp_path, tiny_data, undisturbed, fails, first
):
    disk = fails(tmp_path, first, 99)
    with pytest.raises(StorageError, match=r"step-00000007.pt.*No space left on device.*free space") as raised:
        run(tmp_path, tiny_data)
    assert raised.value.exit_status == 1
    checkpoints = Checkpoints(tmp_path / "checkpoints", 9)
    if first > 1:
        assert_readable(tmp_path)
        assert checkpoints.latest()["state"]["step"] == (6 if first == 7 else 2)
    disk.last = 0
    run(tmp_path, tiny_data)
    assert_equal(tmp_path, undisturbed)


@pytest.mark.slow
def test_rows_kept_back_when_the_checkpoint_was_written_survive_the_process(tmp_path, tiny_data, undisturbed, at_step):
    log = tmp_path / "train.jsonl"

    def act(step):
        if step == 3:  # from here the log cannot be written, and the checkpoints can
            log.rename(tmp_path / "moved")
            log.mkdir()
        if step == 6:
            raise RuntimeError("killed")

    at_step(act)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, tiny_data)
    assert Checkpoints(tmp_path / "checkpoints", 9).latest()["state"]["step"] == 4
    log.rmdir()
    (tmp_path / "moved").rename(log)
    at_step(lambda step: None)
    run(tmp_path, tiny_data)
    assert_equal(tmp_path, undisturbed)


def test_a_second_process_is_refused_before_it_touches_anything(tmp_path, tiny_data, undisturbed):
    first = RunDirectory(undisturbed, plain(gan_lab.compose("dataset=shapes")))
    first.lock()
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    try:
        with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on "):
            run(undisturbed, tiny_data)
    finally:
        first.unlock()
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before


def test_a_failed_start_lets_go_of_the_directory(tmp_path, tiny_data):
    for _ in range(2):
        with pytest.raises(UserError, match="trainer.device"):
            run(tmp_path, tiny_data, "trainer.device=cuda:99")
    RunDirectory(tmp_path, {}).lock()


def test_a_closed_terminal_is_a_signal_to_stop_and_nohup_is_not(tmp_path, tiny_data, at_step):
    at_step(lambda step: os.kill(os.getpid(), signal.SIGHUP) if step == 3 else None)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with pytest.raises(InterruptedRun) as stopped:
            run(tmp_path, tiny_data)
        assert stopped.value.exit_status == 129
        assert Checkpoints(tmp_path / "checkpoints", 9).latest()["state"]["step"] == 3

        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopSignal().installed() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.received == signal.SIGUSR1
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
