"""Studies: their order and words; a run that a study stops goes on; a dry run does all of it."""

import errno
import json
import os
import re
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
import yaml
from filelock import FileLock

from gan_lab.config.compose import compose
from gan_lab.errors import InterruptedRun
from gan_lab.locks import acquire_lock
from scripts.studies import runner
from scripts.studies.__main__ import NAMES, load_study, main
from scripts.studies.study import Study


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_run_of_a_study_composes(name):
    study = load_study(name)
    assert study.name == name
    for tiny in (study, study.tiny()):
        own = ["metrics.weights=none.safetensors"] if study.classifier else []
        configs = [compose(*tiny.words(cell, 0), *own) for cell in tiny.cells]
        assert len({str(config) for config in configs}) == len(configs)  # the cells differ
        assert all(config.trainer.total_steps == 4 for config in configs) is (tiny is not study)
    assert len(study.runs()) == len(set(study.runs())) == len(study.cells) * study.seeds


def test_all_seeds_of_a_cell_come_first_or_all_cells_of_a_seed():
    study = Study(name="s", question="", setting=("a=1",), cells={"x": ("a=2",), "y": ()}, seeds=2, budget="")
    assert study.runs() == [("x", 0), ("x", 1), ("y", 0), ("y", 1)]
    turns = Study(name="s", question="", setting=(), cells=study.cells, seeds=2, budget="", seeds_in_turn=True)
    assert turns.runs() == [("x", 0), ("y", 0), ("x", 1), ("y", 1)]
    assert study.words("x", 1) == ["a=2", "seed=1"]


@pytest.fixture
def verbs(monkeypatch):
    """Record what the runner calls; training ends each run as `end` says."""
    calls, end = [], {"status": "finished"}

    def call(words, environment, deadline, log=None):
        calls.append(words)
        folder = next((runner.Path(w.partition("=")[2]) for w in words if w.startswith("hydra.run.dir=")), None)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "summary.json").write_text(json.dumps({"status": end["status"], "out": "/home/me/x"}))
            (folder / "config.yaml").write_text("data_dir: /home/me/data\nmetrics: {weights: ~/w.pt, best: a/b}\n")
            rows = "".join(f'{{"step": {i}}}\n' for i in range(1, 24))
            (folder / "train.jsonl").write_text(rows)
            (folder / "metrics.jsonl").write_text('{"step": 23, "fid": 1.5}\n')
        if words[0] in ("evaluate", "reconstruct"):
            with (runner.Path(words[1].partition("=")[2]) / "metrics.jsonl").open("a") as file:
                file.write('{"step": 23, "fid768": 2.5, "checkpoint": "c.pt"}\n')

    monkeypatch.setattr(runner, "_call", call)
    return calls, end


STUDY = Study(
    name="s", question="", setting=(), cells={"x": ()}, seeds=2, budget="", evaluations=("evaluate", "metrics=quick")
)


def test_what_ended_is_measured_once_and_not_trained_again(tmp_path, verbs):
    calls, end = verbs
    for _ in range(2):
        assert runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
        assert [words[0] for words in calls] == ["train", "evaluate", "evaluate"] * 2
    assert [w[2] for w in calls if w[0] == "evaluate"] == ["checkpoint=latest", "checkpoint=best"] * 2


def test_a_study_may_be_measured_by_another_verb(tmp_path, verbs):
    measured = replace(STUDY, seeds=1, evaluations=("reconstruct", "recon_images=3"))
    assert runner.run_study(measured, tmp_path / "out", tmp_path / "kept")
    run = f"run={tmp_path}/out/x-0"
    assert verbs[0][1:] == [["reconstruct", run, f"checkpoint={name}", "recon_images=3"] for name in ("latest", "best")]


def test_a_checkpoint_that_is_the_latest_and_the_best_is_measured_once(tmp_path, verbs):
    folder = tmp_path / "out" / "x-0" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "index.json").write_text('{"latest": "a.pt", "best": "a.pt"}')
    runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
    assert [w[1:3] for w in verbs[0] if w[0] == "evaluate"] == [
        [f"run={tmp_path}/out/x-0", "checkpoint=latest"],
        [f"run={tmp_path}/out/x-1", "checkpoint=latest"],
        [f"run={tmp_path}/out/x-1", "checkpoint=best"],
    ]


def test_what_was_stopped_ends_the_call_and_goes_on_at_the_next(tmp_path, verbs):
    calls, end = verbs
    end["status"] = "interrupted"
    assert not runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
    assert [words[0] for words in calls] == ["train"]
    assert json.loads((tmp_path / "kept" / "x-0" / "summary.json").read_text())["status"] == "interrupted"
    end["status"] = "finished"
    assert runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
    assert [words[0] for words in calls] == ["train"] + ["train", "evaluate", "evaluate"] * 2


def test_what_another_machine_has_done_is_not_run_again(tmp_path, verbs):
    calls, end = verbs
    assert runner.run_study(STUDY, tmp_path / "there", tmp_path / "kept") and len(calls) == 6
    (tmp_path / "kept" / "x-1" / "metrics.jsonl").write_text('{"step": 23, "fid": 1.5}\n')  # not measured again there
    before = (tmp_path / "kept" / "x-0" / "metrics.jsonl").read_bytes()
    assert runner.run_study(STUDY, tmp_path / "here", tmp_path / "kept")
    assert [words[0] for words in calls[6:]] == ["train", "evaluate", "evaluate"] and "seed=1" in calls[6]
    assert (tmp_path / "kept" / "x-0" / "metrics.jsonl").read_bytes() == before
    assert not (tmp_path / "here" / "x-0").exists()


def test_a_shorter_run_never_replaces_what_was_kept(tmp_path, verbs, capsys):
    calls, end = verbs
    runner.run_study(STUDY, tmp_path / "there", tmp_path / "kept")
    kept = tmp_path / "kept" / "x-0"
    longer = (kept / "train.jsonl").read_text() + '{"step": 24}\n'
    (kept / "train.jsonl").write_text(longer)
    (kept / "metrics.jsonl").write_text('{"step": 24, "fid": 1.5}\n')  # not measured again there
    end["status"] = "interrupted"
    assert not runner.run_study(STUDY, tmp_path / "here", tmp_path / "kept")
    assert calls[-1][0] == "train" and (kept / "train.jsonl").read_text() == longer
    assert json.loads((kept / "summary.json").read_text())["status"] == "finished"
    assert "stays as it is: it is of a run that reached step 24" in capsys.readouterr().out


def test_a_stop_between_two_measurements_leaves_the_second_for_the_next_call(tmp_path, verbs):
    one = replace(STUDY, seeds=1)
    runner.run_study(one, tmp_path / "out", tmp_path / "kept")
    folder = tmp_path / "out" / "x-0"
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "index.json").write_text('{"latest": "c.pt", "best": "b.pt"}')  # only c.pt was measured
    verbs[0].clear()
    runner.run_study(one, tmp_path / "out", tmp_path / "kept")
    assert [words[:3] for words in verbs[0]] == [["evaluate", f"run={folder}", "checkpoint=best"]]


def test_a_study_s_classifier_is_trained_only_for_a_run_that_is_missing(tmp_path, verbs):
    own = replace(STUDY, seeds=1, classifier=("epochs=1",))
    runner.run_study(own, tmp_path / "there", tmp_path / "kept")
    assert [words[0] for words in verbs[0]] == ["train-classifier", "train", "evaluate", "evaluate"]
    weights = tmp_path / "there" / "classifier.safetensors"
    assert f"out={weights}" in verbs[0][0] and f"metrics.weights={weights}" in verbs[0][1]
    verbs[0].clear()
    assert runner.run_study(own, tmp_path / "here", tmp_path / "kept") and verbs[0] == []


def test_a_run_that_another_process_has_begun_is_left_to_it(tmp_path, verbs, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / "x-0.lock"):
        assert not runner.run_study(STUDY, out, tmp_path / "kept")
    assert [words[0] for words in verbs[0]] == ["train", "evaluate", "evaluate"] and "seed=1" in verbs[0][0]
    assert "x-0 is left to the process that has begun it" in capsys.readouterr().out
    assert runner.run_study(STUDY, out, tmp_path / "kept")
    assert "seed=0" in verbs[0][3] and len(verbs[0]) == 6
    with FileLock(out / "x-0.lock"):  # it ended meanwhile
        assert runner.run_study(STUDY, out, tmp_path / "kept")


def test_one_process_of_a_study_trains_its_classifier(tmp_path, verbs, monkeypatch):
    own = replace(STUDY, seeds=1, classifier=("epochs=1",))
    weights = tmp_path / "out" / "classifier.safetensors"

    def acquire(path, *, wait, consequence):
        if wait:  # another process had the lock, and has trained it
            assert path == weights.with_suffix(".lock")
            weights.touch()
        return acquire_lock(path, wait=wait, consequence=consequence)

    monkeypatch.setattr(runner, "acquire_lock", acquire)
    assert runner.run_study(own, tmp_path / "out", tmp_path / "kept")
    assert [words[0] for words in verbs[0]] == ["train", "evaluate", "evaluate"]
    assert f"metrics.weights={weights}" in verbs[0][0]


def test_a_study_runs_where_nothing_can_be_locked(tmp_path, verbs, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    own = replace(STUDY, seeds=1, classifier=("epochs=1",))
    assert runner.run_study(own, tmp_path / "out", tmp_path / "kept")
    assert len(verbs[0]) == 4 and "a second process would begin the same run" in caplog.text


def test_a_run_stopped_before_it_began_leaves_no_small_files(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_call", lambda *arguments: None)
    assert not runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_kept_files_have_every_so_many_rows_the_last_one_and_no_paths(tmp_path, verbs):
    runner.run_study(STUDY, tmp_path / "out", tmp_path / "kept")
    kept = tmp_path / "kept" / "x-1"
    assert [json.loads(row)["step"] for row in (kept / "train.jsonl").read_text().splitlines()] == [10, 20, 23]
    assert len((kept / "metrics.jsonl").read_text().splitlines()) == 3
    config = yaml.safe_load((kept / "config.yaml").read_text())
    assert config == {"data_dir": "data", "metrics": {"weights": "w.pt", "best": "a/b"}}
    assert json.loads((kept / "summary.json").read_text())["out"] == "x"


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


@pytest.mark.slow
def test_the_gpu_study_goes_through_all_of_it_without_a_gpu(capfd):
    assert main(["gpu", "dry=true"]) == 0
    page = capfd.readouterr().out
    assert "2 of 2 runs came to their end." in page
    assert re.search(r"^\| bssn \| \d+\.\d+ \|", page, re.MULTILINE) and "![fid_shapes" in page
