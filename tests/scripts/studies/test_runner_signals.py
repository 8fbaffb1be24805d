"""A signal to a study stops the run that it has begun, and waits until that is saved."""

import os
import signal
import sys
import threading
import time

import pytest

from gan_lab.errors import InterruptedRun
from scripts.studies import runner


def test_a_signal_to_the_study_stops_its_run_and_waits_for_it(tmp_path, monkeypatch):
    """The child stands for a training run: it says that it has begun, and takes its time to save at SIGTERM."""
    child = tmp_path / "python"
    code = (
        "import signal, time\ndef stop(*_):\n  time.sleep(0.2)\n  print('saved', flush=True)\n  raise SystemExit(143)"
    )
    code += "\nsignal.signal(signal.SIGTERM, stop)\nprint('begun', flush=True)\ntime.sleep(60)"
    child.write_text(f"#!{sys.executable}\n{code}\n")
    child.chmod(0o755)
    monkeypatch.setattr(runner.sys, "executable", str(child))
    log = tmp_path / "run.log"

    def when_begun():
        while not (log.is_file() and "begun" in log.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=when_begun).start()
    with pytest.raises(InterruptedRun, match="stopped by SIGTERM; the same command goes on"):
        runner._call(["train"], dict(os.environ), None, log)
    assert log.read_text() == "begun\nsaved\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_while_the_run_is_started_stops_it_too(tmp_path, monkeypatch):
    processes = []

    class Started(runner.subprocess.Popen):
        def __init__(self, *args, **kwargs):
            processes.append(self)
            super().__init__(["sleep", "60"], **kwargs | {"env": None})
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(runner.subprocess, "Popen", Started)
    with pytest.raises(InterruptedRun, match="stopped by SIGTERM"):
        runner._call(["train"], dict(os.environ), None, tmp_path / "run.log")
    assert processes[0].returncode == -signal.SIGTERM
