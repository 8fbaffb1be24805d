"""Signals to a sweep, its jobs in this process or another."""

import os
import signal
import subprocess
import sys
import time

import pytest

from gan_lab.errors import InterruptedRun, UserError
from gan_lab.sweep import signals


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("GAN_LAB_SWEEP", "PYTHONPATH", "SUBMITIT_PREEMPT_SIGNAL", "SUBMITIT_EXECUTOR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that they are put back
        monkeypatch.delenv(name)


def test_a_sweep_without_other_processes_ends_at_once(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, signals.forwarded_to_jobs(lambda: tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_a_signal_is_passed_on_as_sigterm_and_no_further_job_starts(tmp_path, monkeypatch):
    identity = signals.export_identity()
    with signals.stoppable_job(tmp_path):
        assert not (tmp_path / ".jobs").exists()  # this is the sweep's own process
    child = (
        "import sys, time; from pathlib import Path\n"
        "from gan_lab import errors\nfrom gan_lab.sweep import signals as s\n"
        "try:\n    with s.stoppable_job(Path(sys.argv[1])):\n        print('in', flush=True)\n"
        "        for _ in range(600): time.sleep(0.1)\n"  # a signal just before a sleep does not end it
        "except errors.InterruptedRun as error:\n    print(error.exit_status)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", child, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "in\n"
        with signals.forwarded_to_jobs(lambda: tmp_path) as stop:
            signal.raise_signal(signal.SIGINT)
            assert stop.received == signal.SIGINT
        assert process.communicate(timeout=30)[0] == "143\n"
    finally:
        process.kill()
    monkeypatch.setenv("GAN_LAB_SWEEP", identity.replace(f":{os.getpid()}:", ":1:"))
    with pytest.raises(InterruptedRun, match="not started"), signals.stoppable_job(tmp_path):
        raise AssertionError("the job started")
    signals.clear(tmp_path)
    with signals.stoppable_job(tmp_path):
        assert [p.name for p in (tmp_path / ".jobs").iterdir()] == [str(os.getpid())]
    assert list((tmp_path / ".jobs").iterdir()) == []


@pytest.mark.parametrize("what", ["swallows", "fails", "passes on"])
def test_a_job_that_is_stopped_in_an_import_is_interrupted(tmp_path, monkeypatch, what):
    """Libraries catch what their imports raise, or fail by something else."""
    monkeypatch.setenv("GAN_LAB_SWEEP", "another:1:0")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRun, match="SIGTERM before training") as stop, signals.stoppable_job(tmp_path):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            assert what == "never"
        except BaseException:
            if what == "fails":
                raise AttributeError("partially initialized module") from None
            if what == "passes on":
                raise
        raise ImportError("cannot import name")
    assert stop.value.exit_status == 143 and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("error", [ImportError("no module"), UserError("bad settings"), SystemExit(3)])
def test_an_error_of_a_job_without_a_signal_is_its_own(tmp_path, monkeypatch, error):
    monkeypatch.setenv("GAN_LAB_SWEEP", "another:1:0")
    with pytest.raises(type(error)) as raised, signals.stoppable_job(tmp_path):
        raise error
    assert raised.value is error


def test_files_of_processes_that_are_gone_or_elsewhere_are_not_waited_for(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / ".jobs").mkdir()
    (tmp_path / ".jobs" / str(gone.pid)).write_text(__import__("socket").gethostname())
    (tmp_path / ".jobs" / str(os.getpid())).write_text("another machine")
    began = time.monotonic()
    with pytest.raises(SystemExit), signals.forwarded_to_jobs(lambda: tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert time.monotonic() - began < 30


def test_only_submitits_own_signal_puts_a_job_back_into_the_queue(monkeypatch):
    asked = []
    before = signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    try:
        signals.export_identity()
        with pytest.raises(SystemExit) as end:
            signals.end_or_requeue(signal.SIGUSR1)  # in the sweep's own process
        assert end.value.code == 138 and asked == []
        monkeypatch.setenv("GAN_LAB_SWEEP", "another:1:0")
        signals.end_or_requeue(signal.SIGUSR1)  # joblib: the job has ended, its process goes on
        assert asked == []
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
        signals.end_or_requeue(signal.SIGTERM)
        assert asked == []
        signals.end_or_requeue(signal.SIGUSR1)
        assert asked == [1]
    finally:
        signal.signal(signal.SIGUSR1, before)
