"""A penalty, a norm and a loss from outside the package: a Python file, a YAML file, and `extensions=`."""

import re
from pathlib import Path

import pytest
import torch

import gan_lab
from gan_lab.errors import UserError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"```\w+\n(# (\S+)\n.*?)```", README, re.DOTALL)
FILES = {name: text for text, name in BLOCKS if name.startswith("my_") and name != "my_metric.py"}

NORM = {
    "my_norm.py": """
from torch import nn
from torch.nn.utils import parametrize

from gan_lab.norms import weight_layers

class ZeroMean(nn.Module):
    def forward(self, weight):
        return weight - weight.mean(dim=tuple(range(1, weight.dim())), keepdim=True)

class Centred:
    \"\"\"Every filter has mean zero.\"\"\"

    def apply(self, module):
        for _, layer in weight_layers(module):
            parametrize.register_parametrization(layer, "weight", ZeroMean())
        return module
""",
    "my_conf/norm/centred.yaml": "_target_: my_norm.Centred\ngenerator: none\n",
}
LOSS = {
    "my_loss.py": """
import torch.nn.functional as F

def margin_d(real_logits, fake_logits, margin=1.0):
    return F.relu(margin - real_logits).mean() + F.relu(margin + fake_logits).mean()

def margin_g(fake_logits, real_logits=None):
    return -fake_logits.mean()
""",
    "my_conf/loss/margin.yaml": """
d: {_target_: my_loss.margin_d, _partial_: true, margin: 0.5}
g: {_target_: my_loss.margin_g, _partial_: true}
""",
}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Write a user's files into a folder that Python imports from, and train 2 steps with them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def train(files, data, *words, name="run"):
        for file, text in files.items():
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        small = ("trainer.total_steps=2", "trainer.batch_size=4", "trainer.log_every_steps=1", "trainer.device=cpu",
                 "width=0.0625", "metrics=none", f"data_dir={data}", f"hydra.run.dir={tmp_path / name}")  # fmt: skip
        return gan_lab.train(gan_lab.compose(*small, *words, config_path=str(tmp_path / "my_conf")))

    return train


def lines(files):
    return sum(1 for text in files.values() for line in text.splitlines() if line.strip())


def test_the_penalty_of_the_readme(outside, tiny_data):
    assert sorted(FILES) == ["my_conf/penalty/drift.yaml", "my_penalty.py"]
    assert lines(FILES) < 20
    command = re.search(r"python train.py --config-dir my_conf (.*)", README)[1].split()
    run = outside(FILES, tiny_data, *command)
    rows = read_rows(run / "train.jsonl")
    assert len(rows) == 2
    for row in rows:
        assert 0 < row["penalty/drift"] < 10
        assert row["penalty/drift"] >= row["logits/real"] ** 2  # a mean of squares and the square of the mean
        assert "penalty/gp" in row

    # At its weight of 0.001 two steps are not sure to differ in float32; at 100 they do.
    runs = (outside(FILES, tiny_data, *command, f"penalty.drift.weight={w}", name=f"weight-{w}") for w in (0, 100))
    trained, other = (Checkpoints(r / "checkpoints", 2).latest()["state"]["D"] for r in runs)
    assert any(not torch.equal(trained[k], other[k]) for k in trained), "the term reached no gradient"


def test_a_norm_from_outside(outside, tiny_data):
    assert lines(NORM) < 20
    run = outside(NORM, tiny_data, "extensions=[my_norm]", "norm=centred")
    D = Checkpoints(run / "checkpoints", 2).latest()["state"]["D"]
    raw = [v for k, v in D.items() if k.endswith("parametrizations.weight.original")]
    assert len(raw) == 4  # every layer of the default D

    cfg = gan_lab.compose(f"data_dir={tiny_data}", "extensions=[my_norm]", "norm=centred", "width=0.0625",
                          "metrics=none", config_path=str(run.parent / "my_conf"))  # fmt: skip
    x = gan_lab.build(cfg)
    x.D.load_state_dict(D)
    for name, module in x.D.named_modules():
        if hasattr(module, "parametrizations"):
            assert module.weight.flatten(1).mean(1).abs().max() < 1e-6, name


def test_a_loss_from_outside(outside, tiny_data):
    assert lines(LOSS) < 20
    words = ("extensions=[my_loss]", "penalty=none")
    run = outside(LOSS, tiny_data, *words, "loss=margin")
    rows = read_rows(run / "train.jsonl")
    assert len(rows) == 2 and abs(rows[0]["loss/d"] - 1.0) < 0.5  # logits near 0: twice the margin
    wide = outside(LOSS, tiny_data, *words, "loss=margin", "loss.d.margin=1.0", name="wide")
    hinge = outside(LOSS, tiny_data, *words, "loss=hinge", name="hinge")
    for a, b in zip(read_rows(wide / "train.jsonl"), read_rows(hinge / "train.jsonl"), strict=True):
        assert a["loss/d"] == pytest.approx(b["loss/d"], rel=1e-6) and a["loss/g"] == pytest.approx(b["loss/g"])


def test_a_module_not_listed_is_refused(outside, tiny_data):
    with pytest.raises(UserError, match="extensions="):
        outside(LOSS, tiny_data, "loss=margin")
