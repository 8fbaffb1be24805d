"""The command `train`: where it goes on, what it leaves, and where its paths are."""

import json
import logging
import os
import re
import shutil
import sys

import pytest
import yaml

import gan_lab
from gan_lab.cli.train import train_command
from gan_lab.errors import UserError
from gan_lab.runs.lock import lock_run, remove_unbegun
from tests.training.short_runs import PLAIN

CONSTANT = ("optimizer=adam", "penalty=r1")  # no schedule spans the run


@pytest.fixture
def command(tmp_path, monkeypatch, tiny_data):
    """`command(*words)`: `train.py` in this process, with packed data in ./data; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(tiny_data / "shapes", tmp_path / "data" / "shapes")

    def run(*words):
        try:
            return train_command(words)
        except SystemExit as end:
            return end.code
        finally:
            os.chdir(tmp_path)
            logging.captureWarnings(False)

    return run


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_configuration(command, tmp_path, capsys):
    words = [*PLAIN, *CONSTANT, "data_dir=data", "name=a", "ema.halflife_images=33", "trainer.total_steps=2"]
    assert command(*words) == 0
    first = (tmp_path / "runs" / "a" / ".hydra" / "overrides.yaml").read_text()
    os.rename(tmp_path / "runs" / "a", tmp_path / "moved")
    assert command("run=moved", "trainer.total_steps=4", "trainer.log_every_steps=1") == 0
    after = config_of(tmp_path / "moved")
    assert (after["ema"]["halflife_images"], after["trainer"]["total_steps"]) == (33, 4)
    summary = json.loads((tmp_path / "moved" / "summary.json").read_text())
    assert (summary["step"], summary["status"]) == (4, "finished")
    assert [json.loads(row)["step"] for row in (tmp_path / "moved" / "train.jsonl").open()] == [2, 3, 4]
    assert (tmp_path / "moved" / ".hydra" / "overrides.yaml").read_text() == first
    assert not (tmp_path / "runs" / "a").exists()
    lines = (tmp_path / "moved" / "train.log").read_text().splitlines()  # of both commands, with the day of each
    assert sum(" finished in " in line for line in lines) == 2
    assert all(re.match(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] ", line) for line in lines)

    capsys.readouterr()
    assert command("run=moved", "ema.halflife_images=34") == 2
    said = capsys.readouterr().out
    assert "ema.halflife_images: 33 -> 34" in said and "resume=force" in said
    assert command("run=moved", "ema.halflife_images=34", "resume=force", "trainer.total_steps=5") == 0
    assert config_of(tmp_path / "moved")["ema"]["halflife_images"] == 34
    assert config_of(tmp_path / "moved")["resume"] == "auto"
    environment = json.loads((tmp_path / "moved" / "environment.json").read_text())
    assert environment["command"][1:3] == ["run=moved", "ema.halflife_images=34"]  # as it was typed


@pytest.mark.slow
def test_a_command_that_is_refused_leaves_the_run_s_own_words(command, tmp_path, capsys):
    words = [*PLAIN, *CONSTANT, "data_dir=data", "name=a", "trainer.total_steps=1"]
    assert command(*words, "norm=bssn") == 0
    written = tmp_path / "runs" / "a" / ".hydra" / "overrides.yaml"
    first = written.read_text()
    assert "norm=bssn" in first
    assert command(*words, "norm=none") == 2 and "norm" in capsys.readouterr().out
    assert written.read_text() == first
    assert command(*words, "norm=bsn", "resume=force") == 0
    assert "norm=bsn" in written.read_text()


@pytest.mark.slow
def test_a_written_configuration_runs_again_as_it_is(command, tmp_path):
    assert command(*PLAIN, "data_dir=data", "name=a", "trainer.total_steps=1") == 0
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "runs" / "a" / "config.yaml", tmp_path / "new" / "config.yaml")
    assert command("run=new") == 0
    assert command("--config-path", "runs/a", "--config-name", "config", "name=b") == 0
    assert command("config=runs/a/config.yaml") == 0  # its name is a: it has finished
    first = config_of(tmp_path / "runs" / "a")
    assert gan_lab.train(first) == tmp_path.relative_to(tmp_path) / "runs" / "a"
    assert config_of(tmp_path / "new") == first and config_of(tmp_path / "runs" / "b") == {**first, "name": "b"}
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["a", "b"]


@pytest.mark.slow
def test_relative_paths_are_of_where_the_command_was_given(command, tmp_path, monkeypatch):
    shutil.copytree(tmp_path / "data" / "shapes", tmp_path / "mine")
    words = [
        *PLAIN,
        "trainer.total_steps=1",
        "name=a",
        "hydra.job.chdir=true",
        "dataset.path=mine",
        "data_dir=elsewhere",
    ]
    assert command(*words) == 0
    folder = tmp_path / "runs" / "a"
    written = config_of(folder)
    assert (written["data_dir"], written["dataset"]["path"]) == (str(tmp_path / "elsewhere"), str(tmp_path / "mine"))
    assert not (folder / "elsewhere").exists() and not (folder / "mine").exists()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert gan_lab.train(gan_lab.compose(f"run={folder}")) == folder
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("where", [(), ("name=a",), ("hydra.run.dir=x/y/z",)], ids=str)
@pytest.mark.parametrize("wrong", [("generator.z_dim=0",), ("dataset=folder", "dataset.path=absent")], ids=str)
def test_nothing_is_left_of_a_run_that_never_began(command, tmp_path, where, wrong):
    assert command(*PLAIN, "data_dir=data", *where, *wrong) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_nothing_is_left_of_it_from_python_either_but_what_was_there(tmp_path, tiny_data):
    for folder in (tmp_path / "new", tmp_path / "old"):
        if folder.name == "old":
            folder.mkdir()
            (folder / "notes.txt").write_text("mine")
        with pytest.raises(UserError):
            gan_lab.train(
                gan_lab.compose(*PLAIN, f"data_dir={tiny_data}", "generator.z_dim=0", f"hydra.run.dir={folder}")
            )
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("files", "gone"),
    [([], True), ([".hydra/config.yaml", "train.log"], True), (["train.log", "config.yaml"], False),
     (["job.json"], False), (["checkpoints/index.json"], False)],
)  # fmt: skip
def test_only_a_folder_of_a_run_that_never_began_is_removed(tmp_path, files, gone):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    lock = lock_run(folder)
    remove_unbegun(folder)  # another process is about to begin there
    assert folder.exists()
    lock.release()
    remove_unbegun(folder)
    assert folder.exists() != gone
    remove_unbegun(tmp_path / "absent")
