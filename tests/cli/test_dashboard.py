"""`gan-lab dashboard`: what it refuses, and that it serves the runs it is pointed at."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from gan_lab.cli import dashboard
from gan_lab.cli.main import run_command
from gan_lab.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("runs=nowhere", "no folder nowhere"), ("runs=.", "no TensorBoard files"), ("port=80", "1024"),
        ("open=no", "true or false"), ("run=runs", "'runs'"),
    ],
)  # fmt: skip
def test_mistakes(word, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=part):
        run_command("dashboard", dashboard.Options, dashboard.run, [word])


@pytest.mark.slow
def test_it_serves_the_runs_until_it_is_interrupted_and_refuses_a_busy_port(tmp_path):
    with SummaryWriter(str(tmp_path / "mine")) as writer:
        writer.add_scalar("loss/d", 1.0, 1)
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gan_lab", "dashboard", f"runs={tmp_path}", f"port={port}", "open=false"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in what a script starts with &
    )  # fmt: skip
    try:
        assert process.stdout.readline().startswith(f"http://localhost:{port}/")
        with pytest.raises(UserError, match=f"port {port}"):
            dashboard.start(tmp_path, port)
        with urllib.request.urlopen(f"http://localhost:{port}/data/plugin/scalars/tags", timeout=30) as answer:
            assert "loss/d" in json.loads(answer.read())["mine"]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
