"""Sweeps and the program as a process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = (
    "trainer.total_steps=2", "trainer.batch_size=4", "trainer.log_every_steps=1", "trainer.device=cpu", "width=0.0625",
    "metrics=none", "trainer.threads=1",
)  # fmt: skip


def train(folder, data, *words, wait=True):
    command = [sys.executable, REPOSITORY / "train.py", f"data_dir={data}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not wait:
        return subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, env=environment)


@pytest.mark.slow
def test_a_sweep_makes_a_run_for_every_combination_and_survives_a_failing_job(tmp_path, tiny_data):
    done = train(tmp_path, tiny_data, "-m", *TINY, "norm=sn,none", "seed=1,2", "loss=hinge", "penalty=none",
                 "optimizer.d.lr=1e-4,1e38", "hydra.sweep.dir=sweep", "norm.generator=none")  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    runs = sorted(p.parent for p in (tmp_path / "sweep").glob("*/summary.json"))
    assert len(runs) == 8
    statuses = {p.name: json.loads((p / "summary.json").read_text())["status"] for p in runs}
    assert "norm=sn,optimizer.d.lr=0.0001,seed=1" in statuses  # only what differs between the jobs
    bad = [name for name, status in statuses.items() if status == "diverged"]
    assert set(statuses.values()) == {"finished", "diverged"}
    for name in bad:
        assert "1e+38" in name
        assert "diverged" in (tmp_path / "sweep" / name / "train.log").read_text()


@pytest.mark.slow
def test_a_named_run_is_a_fixed_directory_and_sigterm_leaves_a_checkpoint(tmp_path, tiny_data):
    words = [*TINY, "name=fixed", "trainer.total_steps=100000"]
    process = train(tmp_path, tiny_data, *words, wait=False)
    log = tmp_path / "runs" / "fixed" / "train.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "Traceback" not in output
    index = json.loads((tmp_path / "runs" / "fixed" / "checkpoints" / "index.json").read_text())
    assert index["latest"] is not None
    again = train(tmp_path, tiny_data, *TINY, "name=fixed", "trainer.total_steps=3")
    assert again.returncode == 2 and "trainer.total_steps: 100000 -> 3" in again.stdout + again.stderr
