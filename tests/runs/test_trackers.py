"""Trackers get what the run's own files get; one that fails ends nothing; services are used without network."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

import gan_lab
from gan_lab.errors import UserError
from gan_lab.runs import trackers as module
from gan_lab.runs.files import read_rows
from gan_lab.runs.trackers import Tracker, Trackers
from tests.training.short_runs import EVALUATED, run

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "extend.md").read_text()
NOTES = """
from gan_lab.runs.trackers import Tracker

CALLS = []

class Notes(Tracker):
    def open(self, run, config, step):
        CALLS.append(("open", step, config["trainer"]["batch_size"]))

    def scalars(self, step, values):
        CALLS.append(("scalars", step, dict(values)))

    def image(self, step, name, picture):
        CALLS.append(("image", step, name, picture.shape, str(picture.dtype)))

    def close(self, status):
        CALLS.append(("close", status))

class Broken(Notes):
    def scalars(self, step, values):
        raise ConnectionError("no network")

class Stranger:
    pass
"""


def test_a_tracker_gets_numbers_pictures_and_the_end(tmp_path, tiny_data, importable):
    importable("my_notes", NOTES)
    words = (f"data_dir={tiny_data}", f"hydra.run.dir={tmp_path / 'run'}", *EVALUATED, "monitor=off")
    own = ("extensions=[my_notes]", "tracker=none", "+tracker.notes._target_=my_notes.Notes")
    folder = gan_lab.train(gan_lab.compose(*words, *own))
    import my_notes

    calls = my_notes.CALLS
    assert calls[0] == ("open", 0, 8) and calls[-1] == ("close", "finished")
    numbers = [call[1:] for call in calls if call[0] == "scalars"]
    for row in read_rows(folder / "train.jsonl"):
        assert (row["step"], {k: v for k, v in row.items() if k not in module_clocks()}) in numbers
    for row in read_rows(folder / "metrics.jsonl"):
        (found,) = [v for step, v in numbers if step == row["step"] and "metrics/fid_shapes" in v]
        assert found["metrics/fid_shapes"] == row["fid_shapes"] and "metrics/protocol" not in found
    pictures = {call[1:] for call in calls if call[0] == "image"}
    assert {(0, "real"), (0, "samples"), (4, "samples"), (7, "raw")} <= {(step, name) for step, name, *_ in pictures}
    assert {kind for *_, kind in pictures} == {"uint8"} and all(shape[2] == 3 for _, _, shape, _ in pictures)
    assert list(folder.glob("events.out*")) == []  # tracker=none


def module_clocks():
    return ("step", "images_seen", "wall_seconds")


def test_the_tracker_of_the_readme_goes_on_after_a_resume(tmp_path, tiny_data, importable):
    (code,) = re.findall(r"```python\n(# my_tracker\.py\n.*?)```", GUIDE, re.DOTALL)
    (command,) = re.findall(r"python train.py (extensions=\[my_tracker\].*)", GUIDE)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    importable("my_tracker", code)
    run(tmp_path / "run", tiny_data, *command.split(), "trainer.total_steps=4")
    run(tmp_path / "run", tiny_data, *command.split(), "resume=force")
    lines = (tmp_path / "run" / "lines.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["2", "4", "6"] and "'loss/d': " in lines[0]
    assert len(list((tmp_path / "run").glob("events.out*"))) == 2  # the default is there as well


def test_a_failing_tracker_is_reported_once_and_ends_nothing(tmp_path, tiny_data, importable, caplog):
    importable("my_notes", NOTES)
    with caplog.at_level(logging.WARNING):
        words = ("extensions=[my_notes]", "+tracker.bad._target_=my_notes.Broken")
        folder = run(tmp_path / "run", tiny_data, *words)
    assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
    told = [r.getMessage() for r in caplog.records if "tracker=bad" in r.getMessage()]
    assert told == ["tracker=bad fails (no network); training goes on"]


def test_what_cannot_be_used_is_told(tmp_path, tiny_data, importable, monkeypatch):
    importable("my_notes", NOTES)
    with pytest.raises(UserError, match="tracker.x: Stranger must be a subclass"):
        run(tmp_path / "a", tiny_data, "extensions=[my_notes]", "+tracker.x._target_=my_notes.Stranger")
    with pytest.raises(UserError, match="unknown key 'tracker.x'"):
        run(tmp_path / "b", tiny_data, "+tracker.x.mode=offline")
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install wandb"):
        run(tmp_path / "c", tiny_data, "tracker=wandb")

    class Refuses(Tracker):
        def open(self, run, config, step):
            raise PermissionError(13, "no") if step else RuntimeError("log in first\nby hand")

    class Before(Tracker):
        def close(self, status):
            closed.append(status)

    closed = []
    with pytest.raises(UserError, match="tracker=x: log in first; leave it out"):
        Trackers({"before": Before(), "x": Refuses(), "after": Before()}).open(tmp_path, {}, 0)
    assert closed == ["failed"]  # of the one that was open


def written(tracker, folder, first=0):
    """What a run would send: numbers, a picture, the end."""
    tracker.open(folder, {"seed": 3, "trainer": {"batch_size": 8}}, first)
    tracker.scalars(first + 1, {"loss/d": 1.5, "sigma/conv1": 2.5})
    tracker.image(first + 1, "samples", np.full((4, 4, 3), 9, np.uint8))
    tracker.close("finished")


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    written(module.WandB(), tmp_path)
    wandb.teardown()  # its own process has written everything
    (name,) = json.loads((tmp_path / "trackers.json").read_text()).values()
    (file,) = [f for f in (tmp_path / "wandb").glob(f"offline-run-*/run-{name}.wandb") if not f.parent.is_symlink()]
    assert b"loss/d" in file.read_bytes() and list(file.parent.rglob("samples*.png"))


@pytest.mark.slow
def test_mlflow_in_a_folder_goes_on_with_the_same_run(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    (tmp_path / "run").mkdir()
    written(module.MLflow("mine"), tmp_path / "run")
    written(module.MLflow("mine"), tmp_path / "run", first=6)  # resumed
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert found.info.status == "FINISHED" and found.data.params == {"seed": "3", "trainer.batch_size": "8"}
    assert [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, "loss/d")] == [(1, 1.5), (7, 1.5)]
    assert {a.path for a in client.list_artifacts(found.info.run_id)} == {
        "samples-00000001.png",
        "samples-00000007.png",
    }
