"""Sweeps and the program as a process."""

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from gan_lab.cli import train as cli
from gan_lab.errors import UserError
from gan_lab.sweep import jobs as sweeps

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = (
    "trainer.total_steps=2", "trainer.batch_size=8", "trainer.log_every_steps=1", "trainer.device=cpu", "width=0.0625",
    "trainer.threads=1", "trainer.sample_every_steps=0", "loss=hinge", "penalty=none", "monitor=off",
    "trainer.max_skipped_updates=0",
)  # fmt: skip
MEASURED = (
    "metrics.num_samples=64", "metrics.num_real=64", "metrics.batch_size=32", "metrics.kid=false",
    "metrics.precision_recall=false",
)  # fmt: skip
STOPPER = '''
"""A penalty that sends a signal once, in the second step of the first job that gets there."""
import os, signal
from pathlib import Path
from gan_lab.penalties import Penalty

class Stopper(Penalty):
    def __init__(self, number, parent=False, weight=1.0, interval=1):
        super().__init__(weight, interval, side="d")
        self.number, self.parent, self.updates = number, parent, 0

    def forward(self, batch):
        self.updates += 1
        sent = Path("sent")
        if self.updates > 1 and not sent.exists():
            sent.touch()
            os.kill(os.getppid() if self.parent else os.getpid(), self.number)
        return batch.real_logits.sum() * 0
'''


def plugin(name):
    return pytest.mark.skipif(
        importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(f"hydra_plugins.{name}") is None,
        reason=f"the plugin {name} is not installed",
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a penalty that sends a signal, and everything that a command changes put back."""
    (tmp_path / "stopper_for_test.py").write_text(STOPPER)
    (tmp_path / "mine" / "penalty").mkdir(parents=True)
    (tmp_path / "mine" / "penalty" / "stopper.yaml").write_text(
        "stopper: {_target_: stopper_for_test.Stopper, number: 15}"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("GAN_LAB_SWEEP", "PYTHONPATH", "SUBMITIT_PREEMPT_SIGNAL"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("SUBMITIT_PREEMPT_SIGNAL")
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield tmp_path
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    sys.modules.pop("stopper_for_test", None)


def command(data, *words):
    """`train.py` in this process; its exit status."""
    try:
        return cli.train_command([f"data_dir={data}", *TINY, *words])
    except SystemExit as end:
        return end.code


def sweep(data, *words):
    return command(data, "-m", *words)


def train(folder, data, *words, wait=True):
    call = [sys.executable, REPOSITORY / "train.py", f"data_dir={data}", *TINY, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not wait:
        return subprocess.Popen(
            call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)


def summaries(folder):
    return {p.parent.name: json.loads(p.read_text()) for p in sorted(folder.glob("*/summary.json"))}


def statuses(folder):
    return {name: summary["status"] for name, summary in summaries(folder).items()}


def rows(run):
    return [json.loads(line)["step"] for line in (run / "train.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_every_combination_runs_a_failing_job_stops_nothing_and_results_are_kept(here, tiny_data, capsys):
    words = ["norm=sn,none", "optimizer.d.lr=1e-4,1e38", "metrics=none", "hydra.sweep.dir=sweep"]
    assert sweep(tiny_data, *words, "seed=1") == 3
    found = statuses(here / "sweep")
    assert set(found) == {
        f"norm={norm},optimizer.d.lr={lr},seed=1" for norm in ("sn", "none") for lr in ("0.0001", "1e+38")
    }
    for name, status in found.items():
        assert status == ("diverged" if "1e+38" in name else "finished")
        assert ("diverged" in (here / "sweep" / name / "train.log").read_text()) == ("1e+38" in name)
    said = capsys.readouterr().out
    assert "sweep of 4 jobs in sweep: 2 finished, 2 diverged" in said and "report: " in said
    assert (here / "sweep" / "report.html").is_file()

    before = {p: p.stat().st_mtime_ns for p in (here / "sweep").glob("*/train.jsonl")}
    assert sweep(tiny_data, *words, "seed=1,2") == 3  # more seeds: only these run
    assert len(statuses(here / "sweep")) == 8
    assert {p: p.stat().st_mtime_ns for p in before} == before
    said = capsys.readouterr().out
    assert said.count("finished earlier") == 2 and said.count("diverged earlier") == 2
    assert "sweep of 8 jobs in sweep: 4 finished, 4 diverged" in said


@pytest.mark.slow
def test_a_stopped_sweep_goes_on_where_it_stopped_and_a_job_with_other_settings_is_refused(here, tiny_data, capsys):
    words = ["--config-dir", "mine", "extensions=[stopper_for_test]", "penalty=stopper", "metrics=none", "name=x"]
    words.append("trainer.total_steps=4")
    assert sweep(tiny_data, *words, "seed=1,2") == 143
    said = capsys.readouterr().out
    assert statuses(here / "runs" / "x") == {"seed=1": "interrupted"}
    assert (
        "sweep of 2 jobs in runs/x: 1 interrupted, 1 not started" in said
        and "resumes from here" in said
        and "report:" not in said
    )
    stopped_at = summaries(here / "runs" / "x")["seed=1"]["step"]
    assert 0 < stopped_at < 4

    assert sweep(tiny_data, *words, "seed=1,2") == 0
    assert statuses(here / "runs" / "x") == {"seed=1": "finished", "seed=2": "finished"}
    assert f"steps {stopped_at} to 4" in (here / "runs" / "x" / "seed=1" / "train.log").read_text()
    assert rows(here / "runs" / "x" / "seed=1") == [1, 2, 3, 4]

    capsys.readouterr()
    job = (here / "runs" / "x" / "seed=1" / "job.json").read_text()
    assert sweep(tiny_data, *words, "seed=1,3", "ema.rampup=0.5", "trainer.log_every_steps=2") == 2
    assert statuses(here / "runs" / "x") == {"seed=1": "finished", "seed=2": "finished", "seed=3": "finished"}
    assert "ema.rampup: 0.05 -> 0.5" in (here / "runs" / "x" / "seed=1" / "train.log").read_text()
    assert rows(here / "runs" / "x" / "seed=1") == [1, 2, 3, 4] and rows(here / "runs" / "x" / "seed=3") == [2, 4]
    assert "1 refused, 1 finished" in capsys.readouterr().out
    assert (here / "runs" / "x" / "seed=1" / "job.json").read_text() == job


@pytest.mark.slow
def test_a_setting_of_a_norm_that_is_varied_and_a_report_that_fails(here, tiny_data, capsys, monkeypatch):
    def write_report(paths):
        raise UserError("the runs are of two protocols")

    monkeypatch.setattr("gan_lab.reporting.write_report", write_report)
    words = ["norm=ssn,bssn", "norm.scale=1.2", "trainer.total_steps=1", "metrics=none", "name=x"]
    assert sweep(tiny_data, *words) == 0
    scales = [yaml.safe_load(p.read_text())["norm"]["scale"] for p in (here / "runs" / "x").glob("*/config.yaml")]
    assert scales == [1.2, 1.2]
    said = capsys.readouterr().out
    assert "no report: the runs are of two protocols" in said and "Traceback" not in said


@pytest.mark.slow
@plugin("hydra_optuna_sweeper")
def test_a_search_goes_by_the_final_figure_and_is_the_same_again(here, tiny_data, capsys):
    words = [*MEASURED, "sweep=scale_search", "hydra.sweeper.n_trials=3", "trainer.eval_every_steps=1", "name=search"]
    assert sweep(tiny_data, *words, "ema.halflife_images=0", "optimizer.g.lr=0.01") == 0
    runs = summaries(here / "runs" / "search")
    finals = {float(name.split("=")[1]): summary["final"]["fid_shapes"] for name, summary in runs.items()}
    assert len(set(finals.values())) == 3 and all(0.7 <= scale <= 4.0 for scale in finals)
    found = yaml.safe_load((here / "runs" / "search" / "optimization_results.yaml").read_text())
    assert found["best_value"] == pytest.approx(min(finals.values()))
    assert finals[found["best_params"]["norm.scale"]] == min(finals.values())
    capsys.readouterr()
    assert sweep(tiny_data, *words, "ema.halflife_images=0", "optimizer.g.lr=0.01") == 0
    assert "3 finished" in (said := capsys.readouterr().out) and said.count("finished earlier") == 3


@pytest.mark.long
@plugin("hydra_joblib_launcher")
def test_joblib_runs_two_at_a_time_and_tells_how_each_ended(tmp_path, tiny_data):
    done = train(tmp_path, tiny_data, "-m", "optimizer.d.lr=1e-4,1e38", "metrics=none", "name=x",
                 "hydra/launcher=several", "hydra.launcher.n_jobs=2")  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    found = statuses(tmp_path / "runs" / "x")
    assert found == {"optimizer.d.lr=0.0001": "finished", "optimizer.d.lr=1e+38": "diverged"}
    assert "sweep of 2 jobs in runs/x: 1 finished, 1 diverged" in done.stdout and "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "x" / ".jobs").exists()


@pytest.mark.long
@plugin("hydra_joblib_launcher")
def test_a_signal_to_a_sweep_reaches_the_jobs_in_other_processes(here, tiny_data):
    words = ["--config-dir", "mine", "extensions=[stopper_for_test]", "penalty=stopper", "+penalty.stopper.parent=true"]
    done = train(here, tiny_data, "-m", *words, "metrics=none", "name=x", "seed=1,2,3", "trainer.total_steps=100000",
                 "trainer.log_every_steps=1000", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")  # fmt: skip
    assert done.returncode == 143, done.stdout + done.stderr
    assert "3 interrupted" in done.stdout and "not started, as the sweep was stopped" in done.stdout
    trained = summaries(here / "runs" / "x")
    assert trained and set(s["status"] for s in trained.values()) == {"interrupted"}
    for name in trained:
        assert json.loads((here / "runs" / "x" / name / "checkpoints" / "index.json").read_text())["latest"]


@pytest.mark.long
@plugin("hydra_submitit_launcher")
def test_a_job_that_submitit_asks_to_make_room_is_queued_again_and_goes_on(here, tiny_data):
    words = ["--config-dir", "mine", "extensions=[stopper_for_test]", "penalty=stopper", "penalty.stopper.number=10"]
    done = train(here, tiny_data, "-m", *words, "metrics=none", "name=x", "seed=1,2", "trainer.total_steps=4",
                 "hydra/launcher=submitit_local")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(here / "runs" / "x") == {"seed=1": "finished", "seed=2": "finished"}
    logs = [(here / "runs" / "x" / f"seed={seed}" / "train.log").read_text() for seed in (1, 2)]
    queued_again = [log for log in logs if "stopped by SIGUSR1" in log]
    assert len(queued_again) == 1 and "resuming: " in queued_again[0]
    assert [rows(here / "runs" / "x" / f"seed={seed}") for seed in (1, 2)] == [[1, 2, 3, 4]] * 2


@pytest.mark.slow
def test_a_named_run_is_a_fixed_directory_and_sigterm_leaves_a_checkpoint(here, tiny_data, capsys):
    words = ["name=fixed", "trainer.total_steps=100000", "metrics=none"]
    process = train(here, tiny_data, *words, wait=False)
    log = here / "runs" / "fixed" / "train.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "Traceback" not in output
    index = json.loads((here / "runs" / "fixed" / "checkpoints" / "index.json").read_text())
    assert index["latest"] is not None
    capsys.readouterr()
    assert command(tiny_data, "name=fixed", "metrics=none", "trainer.total_steps=3") == 2
    assert "trainer.total_steps: 100000 -> 3" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("status", "metric", "number", "objective"),
    [
        ("finished", "fid_shapes", 3.5, 3.5),
        ("finished", "is_shapes", 3.5, -3.5),  # more is better, and a search minimizes
        ("finished", "modes_kl_shapes", 0.5, 0.5),
        ("diverged", "fid_shapes", 3.5, float("inf")),
        ("refused", "fid_shapes", 3.5, float("inf")),
        ("finished", "fid_shapes", None, float("inf")),  # what JSON has instead of NaN
    ],
)
def test_what_a_search_minimizes(status, metric, number, objective, tmp_path):
    summary = {"final": {"step": 4, metric: number}, "best": {"metric": metric, "value": 1.0, "step": 2}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    outcome = sweeps.Outcome(status, 0)
    assert sweeps._add_objective(outcome, tmp_path) == objective
    assert outcome.value == (None if status == "refused" else number)
