"""Studies: their order and words; a run that a study stops goes on; a dry run does all of it."""

import errno
import json
import re
from dataclasses import replace

import pytest
import yaml
from filelock import FileLock

from gan_lab.config.compose import compose
from gan_lab.errors import UserError
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
            summary = {"status": end["status"], "out": "/home/me/x", "step": 23, "best": {"step": 12}}
            (folder / "summary.json").write_text(json.dumps(summary))
            (folder / "config.yaml").write_text("data_dir: /home/me/data\nmetrics: {weights: ~/w.pt, best: a/b}\n")
            rows = "".join(f'{{"step": {i}}}\n' for i in range(1, 24))
            (folder / "train.jsonl").write_text(rows)
            (folder / "metrics.jsonl").write_text('{"step": 23, "fid": 1.5}\n')
            (folder / "checkpoints").mkdir(exist_ok=True)
            for step in (12, 23):
                (folder / "checkpoints" / f"step-{step:08d}.pt").touch()
        if words[0] in ("evaluate", "reconstruct"):
            step = {"checkpoint=latest": 23, "checkpoint=best": 12}[words[2]]
            row = {"step": step, "fid768": step / 10, "checkpoint": f"step-{step:08d}.pt"}
            with (runner.Path(words[1].partition("=")[2]) / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

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
    index = {"latest": "step-00000023.pt", "best": "b.pt"}  # which was not measured
    (folder / "checkpoints" / "index.json").write_text(json.dumps(index))
    verbs[0].clear()
    runner.run_study(one, tmp_path / "out", tmp_path / "kept")
    assert [words[:3] for words in verbs[0]] == [["evaluate", f"run={folder}", "checkpoint=best"]]


def leave(folder, steps=(12, 23), kept=(), status="finished", best=12, index=None):
    """Leave a run that ended at step 23: measured at `steps`, and with the checkpoints of the steps `kept`."""
    (folder / "checkpoints").mkdir(parents=True) if kept else folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    summary = {"status": status, "step": 23, "best": {"step": best} if best else None}
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [{"step": 23, "fid": 1.5}, *({"step": s, "fid768": s / 10, "checkpoint": f"step-{s:08d}.pt"} for s in steps)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in kept:
        (folder / "checkpoints" / f"step-{step:08d}.pt").touch()
    if index:
        (folder / "checkpoints" / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("steps, kept, index, missing", [
    ((), (12, 23), {}, ["latest", "best"]),
    ((23,), (12, 23), {}, ["best"]),  # without an index the summary says which are which
    ((12,), (12, 23), {}, ["latest"]),
    ((23,), (12, 23), {"latest": "step-00000023.pt", "best": "step-00000012.pt"}, ["best"]),
    ((23,), (12, 23), {"latest": "step-00000023.pt", "best": None}, []),
    ((12, 23), (12, 23), {}, []),
    ((23,), (23,), {}, []),  # the best was removed: to measure it would fail at each call
])  # fmt: skip
def test_a_run_is_measured_at_its_end_and_at_its_best(tmp_path, verbs, steps, kept, index, missing):
    one, folder = replace(STUDY, seeds=1), tmp_path / "out" / "x-0"
    leave(folder, steps, kept, index=index)
    assert runner._complete(one, folder) is (not missing)
    for _ in range(2):
        assert runner.run_study(one, tmp_path / "out", tmp_path / "kept")
        assert [words[:3] for words in verbs[0]] == [
            ["evaluate", f"run={folder}", f"checkpoint={name}"] for name in missing
        ]
    assert runner._complete(one, folder) is True


def test_a_run_that_was_best_at_its_end_is_measured_once(tmp_path, verbs):
    leave(tmp_path / "out" / "x-0", (), (23,), best=23)
    runner.run_study(replace(STUDY, seeds=1), tmp_path / "out", tmp_path / "kept")
    assert [words[2] for words in verbs[0]] == ["checkpoint=latest"]


@pytest.mark.parametrize("steps, status, done", [
    ((12, 23), "finished", True), ((23,), "finished", True), ((12,), "finished", False), ((), "finished", False),
    ((), "collapsed", True), ((), "diverged", True), ((12, 23), "interrupted", False),
])  # fmt: skip
def test_small_files_without_checkpoints_need_the_figure_at_the_end_only(tmp_path, verbs, steps, status, done):
    leave(tmp_path / "kept" / "x-0", steps, status=status)
    one = replace(STUDY, seeds=1)
    assert runner._complete(one, tmp_path / "kept" / "x-0") is done
    assert runner.run_study(one, tmp_path / "here", tmp_path / "kept")
    assert [words[0] for words in verbs[0]] == ([] if done else ["train", "evaluate", "evaluate"])


def test_what_was_measured_again_is_kept_by_its_step(tmp_path):
    leave(tmp_path / "x-0", (23, 12))
    with (tmp_path / "x-0" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "is_mean": 3.0, "kid": 1.0, "fid2048": null, "checkpoint": "step-00000012.pt"}\n')
    assert runner.measured_again(tmp_path / "x-0") == {23: {"fid768": 2.3}, 12: {"fid768": 1.2, "is_mean": 3.0}}


def test_a_study_s_classifier_is_trained_only_for_a_run_that_is_missing(tmp_path, verbs):
    own = replace(STUDY, seeds=1, classifier=("epochs=1",))
    runner.run_study(own, tmp_path / "there", tmp_path / "kept")
    assert [words[0] for words in verbs[0]] == ["train-classifier", "train", "evaluate", "evaluate"]
    weights = tmp_path / "there" / "classifier.safetensors"
    assert f"out={weights}" in verbs[0][0] and f"metrics.weights={weights}" in verbs[0][1]
    verbs[0].clear()
    assert runner.run_study(own, tmp_path / "here", tmp_path / "kept") and verbs[0] == []


def test_runs_beside_those_of_another_study_are_measured_by_its_classifier(tmp_path, verbs):
    other = replace(STUDY, name="other", seeds=1, classifier=("epochs=1",))
    weights = tmp_path / "other" / "classifier.safetensors"
    runner.run_study(replace(other, name="s", beside=(other, STUDY)), tmp_path / "s", tmp_path / "kept" / "s")
    assert f"out={weights}" in verbs[0][0] and weights.parent.is_dir()  # trained there, as none was
    runner.run_study(other, tmp_path / "other", tmp_path / "kept" / "other")
    verbs[0].clear()
    more = replace(other, name="s", beside=(other,), seeds=2)
    with pytest.raises(UserError, match="is missing, by which the runs of other were measured; put it there"):
        runner.run_study(more, tmp_path / "s", tmp_path / "kept" / "s")
    assert verbs[0] == []
    weights.touch()
    runner.run_study(more, tmp_path / "s", tmp_path / "kept" / "s")
    assert [words[0] for words in verbs[0]] == ["train", "evaluate", "evaluate"]
    assert f"metrics.weights={weights}" in verbs[0][0]


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


@pytest.mark.slow
def test_the_gpu_study_goes_through_all_of_it_without_a_gpu(capfd):
    assert main(["gpu", "dry=true"]) == 0
    page = capfd.readouterr().out
    assert "2 of 2 runs came to their end." in page
    assert re.search(r"^\| bssn \| \d+\.\d+ \|", page, re.MULTILINE) and "![fid_shapes" in page
