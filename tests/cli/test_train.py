"""`train.py` before anything runs: its flags, its help, its hints, and a sentence for Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from gan_lab import __version__
from gan_lab.cli import train as cli
from gan_lab.cli.main import guarded, main
from gan_lab.cli.warn import forget_shown, show_warnings_once
from gan_lab.config.compose import compose
from gan_lab.config.messages import closest
from gan_lab.config.options import GROUPS, group_options
from gan_lab.config.schema import leaf_settings
from gan_lab.config.tree import flatten
from gan_lab.errors import UserError, signal_name, useful_line
from gan_lab.sweep import signals

ROOT = Path(__file__).resolve().parents[2]


def said(words, capsys, status=2):
    assert cli.train_command(words) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out if status == 0 else err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seed=3"], ["write seed=3"]),
        (["-seed=3"], ["write seed=3"]),
        (["--name=a b"], ["write 'name=a b'"]),
        (["--lr", "3"], ["--lr: there is no such option", "as in seed=3"]),
        (["--multi"], ["did you mean '--multirun'?"]),
        (["--config-dri=x"], ["did you mean '--config-dir'?"]),
        (["--experimental-rerun", "x"], ["there is no such option"]),
        (["--shell-completion"], ["install=bash"]),
        (["-sc", "install=tcsh"], ["install=zsh"]),
        (["trainer.device=gpu"], ["did you mean 'cuda'?"]),
        (["trainer.device=Gpu:2"], ["did you mean 'cuda:2'?"]),
        (["trainer.precision=float16"], ["did you mean 'bf16'?"]),
        (["recipe=SNGAN_resnet"], ["did you mean 'sngan_resnet'?"]),
        (["recipe=BSSN-CNN"], ["did you mean 'bssn_cnn'?"]),
        (["recipe=null"], ["recipe=null", "is the default"]),
        (["setting=null"], ["is the default"]),
        (["augment=null"], ["write augment=none"]),
        (["lr=1e-4"], ["'optimizer.d.lr' or 'optimizer.g.lr'"]),
        (["betas=[0,0.9]"], ["'optimizer.d.betas' or 'optimizer.g.betas'"]),
        (["optimizer.lr=1e-4"], ["'optimizer.d.lr' or 'optimizer.g.lr'"]),
        (["trainer.seed=1"], ["did you mean 'metrics.seed' or 'seed'?"]),
        (["resolution=64"], ["'dataset.resolution', with dataset=celeba, dataset=folder, dataset=stl10"]),
        (["path=photos"], ["did you mean 'dataset.path'?"]),
        (["scale=2"], ["'norm.scale', with norm=bsn"]),
        (["total_step=5"], ["did you mean 'trainer.total_steps'?"]),
        (["penalty=r1,gp"], ["penalty=[r1,gp]", "-m penalty=r1,gp"]),
        (["optimizer.d.betas=0,0.9"], ["optimizer.d.betas=[0,0.9]"]),
        (["norm=sn,bssn"], ["add -m", "-m norm=sn,bssn"]),
        (["seed=range(3)"], ["add -m", "'seed=range(3)'"]),
        (["+penalty.gp.weight=3"], ["penalty=gp penalty.gp.weight=3"]),
        (["penalty.lecam.weight=3"], ["penalty=lecam penalty.lecam.weight=3", "penalty=[lecam,...]"]),
    ],
    ids=lambda x: " ".join(x)[:40],
)
def test_hints(words, parts, capsys):
    text = said(words, capsys)
    assert text.startswith("error: ") and text.count("\n") == 1
    assert all(part in text for part in parts), text


def test_a_flags_value_is_expanded_and_arguments_are_split(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    assert cli.split_arguments(["--config-dir=~/a b", "seed=1"]) == (
        ["seed=1"],
        ["--config-dir=/home/x/a b"],
        "/home/x/a b",
    )
    assert cli.split_arguments(["-cd", "~/c", "-m"]) == ([], ["-cd", "/home/x/c", "-m"], "/home/x/c")


def test_an_extra_directory_of_any_name(tmp_path):
    folder = tmp_path / "it's my (1) conf, [2]"
    (folder / "norm").mkdir(parents=True)
    (folder / "norm" / "mine.yaml").write_text("_target_: gan_lab.norms.SpectralNorm\n")
    assert compose("norm=mine", config_path=str(folder)).norm._target_.endswith("SpectralNorm")


def test_the_version_is_ours(capsys):
    assert said(["--version"], capsys, 0) == f"gan_lab {__version__}\n"
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"gan_lab {__version__}\n"


def test_the_first_screen_of_help_shows_groups_and_every_key(capsys):
    text = said(["--help"], capsys, 0)
    assert len(text.splitlines()) <= 40 and max(map(len, text.splitlines())) <= 120
    words = set(re.findall(r"[\w.]+", text))
    for group in GROUPS:
        assert set(group_options(group)) <= words, group
    for key, _ in leaf_settings():
        assert key.rpartition(".")[2] in words, key
    assert main(["train", "-h"]) == 0 and capsys.readouterr().out == text


def test_help_on_everything_has_type_default_range_and_meaning_of_every_key(capsys):
    text = " ".join(said(["--help", "all"], capsys, 0).split())
    for key, f in leaf_settings():
        if key in GROUPS:
            continue
        assert re.search(rf"\b{re.escape(key)}=\S+ {re.escape(f.metadata['meaning'])} \(", text), key
        allowed = f.metadata["range"]
        assert allowed is None or allowed.text in text, key
    for key in flatten(dict(compose())):
        assert f" {key}=" in text or "_target_" in key or key.split(".")[0] not in GROUPS, key


def test_help_on_a_topic_follows_the_other_words(capsys):
    text = " ".join(
        said(["--help", "norm", "norm=bssn", "trainer.batch_size", "trainer.batch_size=7"], capsys, 0).split()
    )
    assert "norm.scale=" in text and "default: 7)" in text and "trainer.n_dis" not in text
    assert "trainer.n_dis=N updates of D before each update of G (at least 1; default: 1)" in " ".join(
        said(["trainer", "--help"], capsys, 0).split()
    )
    assert "did you mean 'trainer'?" in said(["--help", "trainr"], capsys)


def test_ctrl_c_is_named(capsys):
    assert [signal_name(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == ["Ctrl-C", "SIGTERM", "SIGUSR1"]

    def press():
        raise KeyboardInterrupt

    assert guarded(press) == 130 and capsys.readouterr().err == "stopped by Ctrl-C\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one", "one"),
        ("one:", "one:"),
        ("\n one \n two", "one"),
        ("Errors:\n\tsize mismatch for a.\n\tsize mismatch for b.\n\tc", "Errors: size mismatch for a (and 2 more)"),
        ("Error(s):\n\n\tsize mismatch.", "Error(s): size mismatch"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_the_useful_line_of_an_error(text, line):
    assert useful_line(ValueError(text)) == line


def test_weights_and_yaml_that_do_not_fit_are_told_with_their_place(tmp_path):
    import torch
    import yaml

    with pytest.raises(RuntimeError) as caught:
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 5).state_dict())
    line = useful_line(caught.value)
    assert "size mismatch for weight" in line and "[5, 2]" in line and "[3, 2]" in line and "(and 1 more)" in line
    with pytest.raises(yaml.YAMLError) as caught:
        yaml.safe_load("a: 1\nb: [1,\n2")
    assert useful_line(caught.value) == "expected ',' or ']', but got '<stream end>', in line 3, column 2"
    (tmp_path / "norm").mkdir()
    (tmp_path / "norm" / "broken.yaml").write_text("a: {b\nc: 1\n")
    with pytest.raises(UserError, match="in line 2, column 2"):
        compose("norm=broken", config_path=str(tmp_path))


def test_closest():
    names = ["bssn_resnet", "sngan_resnet", "a"]
    assert closest("SNGAN-ResNet", names) == "sngan_resnet" and closest("bssn_resnt", names) == "bssn_resnet"
    assert closest("gpu", names) is None and closest("gpu", ["cpu", "cuda"]) == "cuda"


def test_a_warning_is_shown_once_as_its_text_alone(caplog):
    forget_shown()
    show_warnings_once(lambda text: text != "known elsewhere")
    for _ in range(2):
        for text in ("too few images", "known elsewhere", "two\nlines"):
            warnings.warn(text, stacklevel=1)
    assert [r.getMessage() for r in caplog.records if r.name == "gan_lab.warnings"] == ["too few images", "two lines"]


def test_a_sweeps_processes_say_a_thing_once(tmp_path, monkeypatch):
    assert signals.is_new(tmp_path, "a") and signals.is_new(tmp_path, "a")  # outside of a job's own process
    monkeypatch.setenv("GAN_LAB_SWEEP", "elsewhere:1:2")
    assert [signals.is_new(tmp_path, text) for text in "aba"] == [True, True, False]
    signals.clear(tmp_path)
    assert signals.is_new(tmp_path, "a")


@pytest.mark.slow
@pytest.mark.parametrize("word", ["seed=1", "extensions=[mine]"])
def test_only_extensions_import_from_the_working_directory(tmp_path, word):
    (tmp_path / "hydra_plugins").mkdir()
    for name in ("hydra_plugins/evil.py", "mine.py"):
        (tmp_path / name).write_text("open('imported', 'a').close()\ndef loss(real_logits, fake_logits): ...\n")
    words = ["width=0.0625", word, *(["loss.d._target_=mine.loss"] if "mine" in word else []), "--cfg", "job"]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}  # as the program gan-lab starts
    command = [sys.executable, "-m", "gan_lab", "train", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=True)
    assert "seed:" in done.stdout and (tmp_path / "imported").exists() == ("mine" in word)
