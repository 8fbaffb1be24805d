"""What the command `train` says at the end."""

import json
import logging
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from gan_lab.cli.finished import changed_run, closing_lines, reached
from gan_lab.cli.main import main
from gan_lab.cli.train import preflight, train_command
from gan_lab.runs.reading import Run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run in runs/mine, without weights."""
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/mine")
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"name": "mine", "seed": 4}))
    best = {"metric": "fid_shapes", "value": 2.25, "step": 40, "evaluations": 3, "identity": "x"}
    final = {"step": 60, "fid_shapes": 2.51234, "modes_shapes": 16.0, "modes_kl_shapes": 0.01}
    (folder / "summary.json").write_text(json.dumps({"status": "finished", "best": best, "final": final}))
    return Run(folder)


def test_it_tells_what_was_reached_and_shows_the_pictures(run):
    for step in (0, 60):
        (run.path / "samples" / f"samples-{step:08d}.png").touch()
    (run.path / "progress.gif").touch()
    said, shown, *_ = closing_lines(run.path, ["train.py", "name=mine"])
    assert said == (
        "reached fid_shapes 2.512 (lower is better), modes_shapes 16; the best checkpoint is of step 40: 2.25"
    )
    assert shown == "samples: runs/mine/samples/samples-00000060.png; how they came about: runs/mine/progress.gif"


def test_a_run_that_was_not_measured_claims_nothing(run):
    (run.path / "summary.json").write_text(json.dumps({"status": "finished", "best": None, "final": None}))
    assert reached(run) == []
    assert closing_lines(run.path, ["train.py"])[0] == "next:"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], ["norm=bssn", "name=mine-normbssn"]),
        (["loss=hinge", "name=mine"], ["loss=hinge", "norm=bssn", "name=mine-normbssn"]),
        (["norm=sn", "seed=4", "name=mine"], ["norm=sn", "seed=5", "name=mine-seed5"]),
        (["name=mine"], ["config=runs/mine/config.yaml", "seed=5", "name=mine-seed5"]),  # it may have gone on so
        (["recipe=dcgan"], ["recipe=dcgan", "seed=5", "name=mine-seed5"]),
        (["run=runs/mine"], ["config=runs/mine/config.yaml", "seed=5", "name=mine-seed5"]),
        (["--config-dir", "conf", "x=1"], ["config=runs/mine/config.yaml", "seed=5", "name=mine-seed5"]),
    ],
)
def test_the_changed_run_has_the_words_of_this_one_and_a_name_of_its_own(run, typed, words):
    assert shlex.split(changed_run(run, ["train.py", *typed]))[1:] == ["train.py", *words]
    assert shlex.split(changed_run(run, ["bin/gan-lab", *typed]))[-len(words) - 1 :] == ["train", *words]


def test_a_run_with_code_of_its_own_names_it_again(run):
    (run.path / "config.yaml").write_text(yaml.safe_dump({"name": "mine", "seed": 4, "extensions": ["a", "b.c"]}))
    words = ["config=runs/mine/config.yaml", "extensions=[a,b.c]", "seed=5", "name=mine-seed5"]
    assert shlex.split(changed_run(run, ["train.py", "run=runs/mine", "extensions=[a,b.c]"]))[2:] == words


@pytest.mark.slow
def test_the_next_commands_work(tmp_path, monkeypatch, tiny_data, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = [f"data_dir={tiny_data}", "name=mine,1", "metrics=none", "trainer.total_steps=2", "trainer.batch_size=4"]
    train_command([*words, "width=0.0625", "trainer.threads=1"])
    logging.captureWarnings(False)
    said = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    sample, dashboard, changed = (shlex.split(line, comments=True) for line in said[said.index("next:") + 1 :])
    assert main(sample[sample.index("sample") :]) == 0 and Path("mine,1.png").stat().st_size > 0
    assert dashboard[-2:] == ["dashboard", "runs=runs/mine,1"]
    assert preflight(changed[2:]) and changed[1] == "train.py"
    assert Path("runs/mine,1/progress.gif").read_bytes()[:4] == b"GIF8"
