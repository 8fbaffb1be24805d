"""A metric from outside the package, one file and one line, in everything that follows from its declaration."""

import json
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.builder import build_evaluator
from gan_lab.cli.main import main
from gan_lab.errors import UserError
from gan_lab.files import read_json
from gan_lab.metrics import Figure, Metric
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.runs import read_run
from gan_lab.runs.files import read_rows
from gan_lab.use.evaluate import preset

MY_METRIC = """
from gan_lab.metrics import Figure, Metric

class Brightness(Metric):
    figures = (Figure("brightness", higher_is_better=True),)
    needs = ("fake.images",)

    def compute(self, fake, real):
        return float(fake.images.float().mean())

class Darkness(Brightness):
    figures = (Figure("darkness", higher_is_better=False),)
"""
LINE = "+metrics.extra.mine._target_=my_metric.{}"
VALUES = {0: 40.0, 1: 10.0, 2: 90.0, 3: 50.0}  # by evaluation


@pytest.fixture
def outside(importable):
    """A folder that Python imports my_metric.py from."""
    return importable("my_metric", MY_METRIC)


def train(folder, data, *words):
    small = ("trainer.total_steps=3", "trainer.batch_size=4", "trainer.eval_every_steps=1", "trainer.device=cpu",
             "trainer.keep_checkpoints=4", "width=0.0625", "metrics=shapes", "metrics.num_samples=20",
             "metrics.kid=false", "metrics.precision_recall=false", f"data_dir={data}")  # fmt: skip
    trusted = [] if any(word.startswith("extensions=") for word in words) else ["extensions=[my_metric]"]
    return gan_lab.train(gan_lab.compose(*small, *trusted, f"hydra.run.dir={folder}", *words))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "figure", "best"), [("Brightness", "brightness", 2), ("Darkness", "darkness", 1)])
def test_it_chooses_the_best_checkpoint_by_its_own_direction(outside, tiny_data, monkeypatch, kind, figure, best):
    import my_metric

    given = iter(VALUES.values())
    monkeypatch.setattr(my_metric.Brightness, "compute", lambda self, fake, real: next(given))
    run = train(outside / "run", tiny_data, LINE.format(kind), f"metrics.best={figure}")
    assert [row[figure] for row in read_rows(run / "metrics.jsonl")] == list(VALUES.values())
    assert read_json(run / "checkpoints" / "index.json")["best"] == f"step-{best:08d}.pt"
    chosen = read_json(run / "summary.json")["best"]
    assert (chosen["metric"], chosen["value"], chosen["step"]) == (figure, VALUES[best], best)
    protocol = read_json(run / "protocol.json")
    assert protocol["higher_is_better"][figure] is (kind == "Brightness")
    assert protocol["higher_is_better"]["fid_shapes"] is False and protocol["higher_is_better"]["is_shapes"] is True
    assert protocol["extra"] == {"mine": {"metric": kind}}
    (comparison,) = compare_runs([read_run(run, "run")])
    chosen = comparison.metric
    assert chosen.key == figure and chosen.higher_is_better is (kind == "Brightness")
    assert comparison.at_best(comparison.recipes[0], chosen).values == {0: VALUES[best]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "figure"), [("Brightness", "brightness"), ("Darkness", "darkness")])
def test_it_compares_folders_and_runs_alike(outside, tiny_data, kind, figure):
    for name, level in (("a", 100), ("b", 50)):
        (outside / name).mkdir()
        for i in range(12):
            pixels = np.full((32, 32, 3), level + i, np.uint8)
            Image.fromarray(pixels).save(outside / name / f"{i}.png")
    extra = {"mine": {"_target_": f"my_metric.{kind}"}}
    how = dict(metrics="shapes", settings={"extra": extra, "best": figure}, device="cpu", extensions=["my_metric"])
    found = gan_lab.evaluate(outside / "a", outside / "b", **how)
    assert found[figure] == pytest.approx(105.5)  # of the first set alone
    assert found["protocol_entries"]["extra"] == {"mine": {"metric": kind}}

    run = train(outside / "run", tiny_data)
    again = gan_lab.evaluate(run, **how)
    assert again["checkpoint"] and 0 < again[figure] < 255
    kept = json.loads((run / f"protocol-{again['protocol']}.json").read_text())
    assert kept["higher_is_better"][figure] is (kind == "Brightness")


@pytest.mark.filterwarnings("ignore")
def test_metrics_of_the_package_and_of_torchmetrics_are_added_by_the_same_line(toy, tmp_path):
    extra = {
        "accuracy": {"_target_": "gan_lab.metrics.LabelAccuracy"}, "intra": {"_target_": "gan_lab.metrics.IntraFID"},
        "variation": {"_target_": "torchmetrics.image.TotalVariation"},
    }  # fmt: skip
    node = {**preset("shapes"), "extra": extra, "best": "label_accuracy"}
    facts = dict(dataset=toy, cache_dir=tmp_path, device=torch.device("cpu"), conditional=True)
    with pytest.raises(UserError, match="extensions="):
        build_evaluator(node, (), **facts)
    evaluator = build_evaluator(node, ("torchmetrics",), **facts)
    names = [figure.name for figure in evaluator.figures]
    assert {"label_accuracy_shapes", "intra_fid_shapes", "intra_fid_shapes/15", "variation"} <= set(names)
    assert evaluator.best_figure.name == "label_accuracy_shapes"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_its_code_is_run_only_where_it_is_trusted(outside, tiny_data):
    run = train(outside / "run", tiny_data, LINE.format("Brightness"))
    with pytest.raises(UserError, match=r"metrics.extra.mine._target_='my_metric.Brightness': only targets in"):
        gan_lab.evaluate(run, device="cpu")
    with pytest.raises(UserError, match="only targets in"):
        gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", "metrics=shapes", LINE.format("Brightness")))
    assert "brightness" in gan_lab.evaluate(run, device="cpu", extensions=["my_metric"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_metric_of_the_guide(outside, tiny_data):
    guide = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "extend.md").read_text()
    (code,) = re.findall(r"```python\n# my_metric.py\n(.*?)```", guide, re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) < 12
    (outside / "my_metric.py").write_text(code)
    words = re.search(r"python train.py (extensions=\[my_metric\] .*)", guide)[1].split()
    run = train(outside / "run", tiny_data, *words)
    rows = read_rows(run / "metrics.jsonl")
    assert len(rows) == 4 and all(0 <= row["sharpness"] < 255 for row in rows)
    assert read_json(run / "summary.json")["best"]["value"] == max(row["sharpness"] for row in rows[1:])
    for i in range(3):
        (outside / "set").mkdir(exist_ok=True)
        Image.fromarray(np.tile(np.uint8([[[0], [50]]]), (32, 16, 3))).save(outside / "set" / f"{i}.png")
    command = re.search(r"gan-lab evaluate (path_a=DIR .*)", guide)[1].replace("DIR", str(outside / "set"))
    result = StringIO()
    with redirect_stdout(result):
        assert main(["evaluate", *shlex.split(command), "metrics=shapes", "device=cpu"]) == 0
    assert json.loads(result.getvalue())["sharpness"] == 50


@pytest.mark.slow
def test_the_command_line_says_how_one_is_added(outside):
    with pytest.raises(UserError, match=r"'metrics.extra' is empty; add to it with \+metrics.extra.mine._target_=x"):
        gan_lab.compose("metrics=shapes", "metrics.extra.mine._target_=x")
    with pytest.raises(UserError, match="unknown key 'metrics.extra.mine.bright'"):
        gan_lab.train(gan_lab.compose("metrics=shapes", "extensions=[my_metric]", LINE.format("Brightness"),
                                      "+metrics.extra.mine.bright=1"))  # fmt: skip


def test_a_figure_may_be_of_features_and_reals(toy, tmp_path):
    class MeanDistance(Metric):
        """Euclidean distance of the mean features, and a spread without a direction."""

        figures = (Figure("mean_distance", higher_is_better=False), Figure("mean_distance_std"))
        needs = ("fake.gaussian", "real.gaussian")

        def compute(self, fake, real):
            difference = fake.gaussian.mean - real.gaussian.mean
            return difference.norm(), difference.std()

    from gan_lab.metrics import classifier_evaluator

    evaluator = classifier_evaluator(
        dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=100, kid_subset_size=50, best="mean_distance",
        extra={"mine": MeanDistance()},
    )  # fmt: skip
    assert evaluator.best_figure == Figure("mean_distance_shapes", higher_is_better=False)
    figures = evaluator(lambda n: torch.rand(n, 3, 32, 32) * 2 - 1)
    assert list(figures)[-2:] == ["mean_distance_shapes", "mean_distance_shapes_std"]
    assert 0 < figures["mean_distance_shapes"] ** 2 < figures["fid_shapes"]  # the part of the FID that is the means'
