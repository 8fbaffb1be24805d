"""Penalties, norms, nets and losses from outside the package: a Python file, a line of YAML, and `extensions=`."""

import re
import sys
from pathlib import Path

import pytest
import torch

import gan_lab
from gan_lab.errors import UserError
from gan_lab.norms import effective_weights
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "extend.md").read_text()
BLOCKS = {name: text for text, name in re.findall(r"```\w+\n(# (\S+)\n.*?)```", GUIDE, re.DOTALL)}
COMMANDS = re.findall(r"python train.py (?:--config-dir my_conf )?(.*)", GUIDE)

STATEFUL = {
    "my_mean.py": """
import torch
from gan_lab.penalties import Penalty

class MeanDrift(Penalty):
    \"\"\"Squared running mean of D's logits on reals.\"\"\"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight, 1, side="d")
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, batch):
        self.mean.lerp_(batch.real_logits.detach().mean(), 0.5)
        return (batch.real_logits.mean() + self.mean).square()
"""
}
LOSS_LINE = ("loss.d._target_=my_loss.margin_d", "loss.g._target_=my_loss.margin_g")


def of_the_guide(part, *yaml):
    """The guide's Python file of a part with its YAML files, and the words of its command."""
    files = {f"my_{part}.py": BLOCKS[f"my_{part}.py"]} | {
        f"my_conf/{name}.yaml": BLOCKS[f"my_conf/{name}.yaml"] for name in yaml
    }
    for name in yaml:
        assert lines({name: BLOCKS[f"my_conf/{name}.yaml"]}) == 2  # a comment with the name of the file, and one line
    (words,) = (c.split() for c in COMMANDS if f"extensions=[my_{part}]" in c)
    return files, words


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Write a user's files into a folder that Python imports from; `train` 2 steps or `build` with them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    class Outside:
        def compose(self, files, data, *words, name="run"):
            for file, text in files.items():
                (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / file).write_text(text)
            small = (
                "trainer.total_steps=2", "trainer.batch_size=4", "trainer.log_every_steps=1", "trainer.device=cpu",
                "width=0.0625", "metrics=none", f"data_dir={data}", f"hydra.run.dir={tmp_path / name}",
            )  # fmt: skip
            folder = tmp_path / "my_conf"
            return gan_lab.compose(*small, *words, config_path=str(folder) if folder.exists() else None)

        def train(self, *parts, **how):
            return gan_lab.train(self.compose(*parts, **how))

        def build_and_load(self, run, *parts):
            """A new experiment, before and after it takes over the checkpoint of the run; every tensor is checked."""
            exp = gan_lab.build(self.compose(*parts))
            state = Checkpoints(run / "checkpoints", 2).latest()["state"]
            before = {name: p.detach().clone() for name, p in exp.D.named_parameters()}
            exp.load_state_dict(state)
            assert exp.step == 2 and any(not torch.equal(p, before[n]) for n, p in exp.D.named_parameters())
            for part in ("G", "D", "G_ema", "penalties"):
                for name, value in getattr(exp, part).state_dict().items():
                    assert torch.equal(value, state[part][name]), (part, name)
            return exp

    yield Outside()
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def lines(files):
    return sum(1 for text in files.values() for line in text.splitlines() if line.strip())


@pytest.mark.slow
def test_the_penalty_of_the_guide(outside, tiny_data):
    files, words = of_the_guide("penalty", "penalty/drift")
    assert lines(files) < 20
    run = outside.train(files, tiny_data, *words)
    rows = read_rows(run / "train.jsonl")
    assert len(rows) == 2
    for row in rows:
        assert 0 < row["penalty/drift"] < 10
        assert row["penalty/drift"] >= row["logits/real"] ** 2  # a mean of squares and the square of the mean
        assert "penalty/gp" in row

    # At its weight of 0.001 two steps are not sure to differ in float32; at 100 they do.
    runs = (outside.train(files, tiny_data, *words, f"penalty.drift.weight={w}", name=f"weight-{w}") for w in (0, 100))
    trained, other = (Checkpoints(r / "checkpoints", 2).latest()["state"]["D"] for r in runs)
    assert any(not torch.equal(trained[k], other[k]) for k in trained), "the term reached no gradient"


def test_a_penalty_with_state_is_one_file_and_one_override(outside, tiny_data):
    words = ("extensions=[my_mean]", "+penalty.mean._target_=my_mean.MeanDrift")
    run = outside.train(STATEFUL, tiny_data, *words)
    first, second = (row["logits/real"] for row in read_rows(run / "train.jsonl"))
    exp = outside.build_and_load(run, STATEFUL, tiny_data, *words)
    assert exp.penalties["mean"].mean.item() == pytest.approx(first / 4 + second / 2, rel=1e-5)
    assert len(exp.penalties) > 1  # it was added to the default's


@pytest.mark.slow
def test_the_norm_of_the_guide(outside, tiny_data):
    files, words = of_the_guide("norm", "norm/centred")
    assert lines(files) < 20
    run = outside.train(files, tiny_data, *words)
    raw = [k for k in Checkpoints(run / "checkpoints", 2).latest()["state"]["D"] if k.endswith("weight.original")]
    exp = outside.build_and_load(run, files, tiny_data, *words)
    assert len(raw) == len(effective_weights(exp.D)) == 6  # every layer of the default D, and its projection
    for name, weight in effective_weights(exp.D).items():
        assert weight.flatten(1).mean(1).abs().max() < 1e-6 < weight.abs().max(), name


@pytest.mark.slow
def test_the_nets_of_the_guide(outside, tiny_data):
    files, words = of_the_guide("net", "generator/mlp", "discriminator/mlp")
    assert lines(files) < 30
    run = outside.train(files, tiny_data, *words)
    rows = read_rows(run / "train.jsonl")
    assert len(rows) == 2 and rows[0]["penalty/r1r2"] > 0  # the default's, which differentiates D twice
    exp = outside.build_and_load(run, files, tiny_data, *words)
    assert type(exp.G).__name__ == "MLPGenerator" and type(exp.D).__name__ == "MLPDiscriminator"
    with pytest.raises(UserError, match="extensions=my_net"):
        gan_lab.load_generator(run)
    G = gan_lab.load_generator(run, extensions=["my_net"])
    z = G.sample_z(3, "cpu")
    assert torch.equal(G(z), exp.G_ema(z)) and G(z).shape == (3, 3, 32, 32)

    norm = outside.train(files, tiny_data, *words, "norm=bssn", name="norm")  # any norm goes with any net
    assert "hidden.parametrizations.weight.0.u_1" in Checkpoints(norm / "checkpoints", 2).latest()["state"]["D"]


@pytest.mark.slow
def test_a_loss_is_one_file_and_one_line_of_overrides(outside, tiny_data):
    files, words = of_the_guide("loss")
    assert tuple(w for w in words if "_target_" in w) == LOSS_LINE
    words = ("extensions=[my_loss]", "penalty=none", *LOSS_LINE)
    run = outside.train(files, tiny_data, *words, "+loss.d.margin=0.5")
    rows = read_rows(run / "train.jsonl")
    assert len(rows) == 2 and abs(rows[0]["loss/d"] - 1.0) < 0.5  # logits near 0: twice the margin
    outside.build_and_load(run, files, tiny_data, *words)
    wide = outside.train(files, tiny_data, *words, name="wide")
    hinge = outside.train(files, tiny_data, "penalty=none", "loss=hinge", name="hinge")
    for a, b in zip(read_rows(wide / "train.jsonl"), read_rows(hinge / "train.jsonl"), strict=True):
        assert a["loss/d"] == pytest.approx(b["loss/d"], rel=1e-6) and a["loss/g"] == pytest.approx(b["loss/g"])


def test_a_module_not_listed_is_refused(outside, tiny_data):
    with pytest.raises(UserError, match="extensions="):
        outside.train(of_the_guide("loss")[0], tiny_data, *LOSS_LINE)
