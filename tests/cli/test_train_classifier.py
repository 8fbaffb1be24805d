"""`gan-lab train-classifier`: the file that metrics=classifier reads, and the refusals."""

import shutil

import pytest

from gan_lab.cli import train_classifier
from gan_lab.cli.main import run_command
from gan_lab.data.shapes import render
from gan_lab.errors import UserError
from gan_lab.metrics.backbones.classifier import load_classifier


def train_classifier_command(words):
    return run_command("train-classifier", train_classifier.Options, train_classifier.run, words)


def test_the_command_trains_on_a_packed_dataset(tmp_path, capsys):
    from gan_lab.data import pack

    images, labels = render(300, seed=5)
    pack(tmp_path / "tiny", [(images, labels)], name="tiny", class_names=[str(i) for i in range(16)], test=50)
    words = ["dataset=packed", f"path={tmp_path / 'tiny'}", f"data_dir={tmp_path}", "epochs=1", "width=4",
             f"out={tmp_path / 'net.safetensors'}", "name=mine", "device=cpu"]  # fmt: skip
    assert train_classifier_command(words) == 0
    assert "held-out accuracy" in capsys.readouterr().out
    assert load_classifier(tmp_path / "net.safetensors")[1]["name"] == "mine"
    shutil.rmtree(tmp_path / "tiny")
    for wrong, message in [
        ([], None), (["epochs=1"], "dataset= is missing"),
        (["dataset=cifar10", "epochs=-1"], "epochs=-1: must be"),
        (["datasets=x"], "unknown key 'datasets'; did you mean 'dataset'"),
        (["nonsense"], "is not key=value"),
    ]:  # fmt: skip
        if message is None:
            assert train_classifier_command(wrong) == 2
        else:
            with pytest.raises(UserError, match=message):
                train_classifier_command([*wrong, f"data_dir={tmp_path}"])
