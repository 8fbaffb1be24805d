"""`gan-lab evaluate`: its words, its refusals, and what it prints of sets and runs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli import evaluate
from gan_lab.cli.main import run_command
from gan_lab.cli.options import parse
from gan_lab.data import pack
from gan_lab.data.shapes import CLASS_NAMES, render
from gan_lab.errors import UserError
from gan_lab.metrics import functional as fn
from gan_lab.metrics.backbones.classifier import SHIPPED, ClassifierExtractor
from gan_lab.metrics.protocol import difference


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, Path]:
    """The same 80 images as a folder, a ZIP and a packed dataset, and 90 others as a packed dataset."""
    root = tmp_path_factory.mktemp("sets")
    images, labels = render(80, seed=1)
    (root / "folder" / "inner").mkdir(parents=True)
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for i, image in enumerate(images):
            file = root / "folder" / ("inner" if i % 2 else ".") / f"{i:03}.png"
            Image.fromarray(image).save(file)
            archive.write(file, f"{i:03}.png")
        archive.writestr("readme.txt", "no image")
    pack(root / "packed", [(images, labels)], name="packed", class_names=CLASS_NAMES)
    pack(root / "other", [render(90, seed=2)], name="other", class_names=CLASS_NAMES)
    return {name: root / name for name in ("folder", "set.zip", "packed", "other")}


def evaluate_command(words) -> int:
    return run_command("evaluate", evaluate.Options, evaluate.run, words)


def run(capsys, *words: str) -> dict:
    assert evaluate_command(list(words)) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["folder", "set.zip", "packed"])
def test_two_sets_are_compared_whatever_they_are_stored_in(sets, capsys, kind):
    result = run(capsys, f"path_a={sets[kind]}", f"path_b={sets['other']}", "metrics=shapes",
                 "metrics.kid_subset_size=40", "device=cpu")  # fmt: skip
    net = ClassifierExtractor(
        SHIPPED / "shapes.safetensors", resolution=32, channels=3, num_classes=1, device=torch.device("cpu")
    )
    a, b = (net(torch.from_numpy(render(n, seed=s)[0]).permute(0, 3, 1, 2)) for n, s in ((80, 1), (90, 2)))
    expected = fn.frechet_distance_of_features(a["features"], b["features"])
    assert result["fid_shapes"] == pytest.approx(expected, rel=1e-5)
    precision, recall = fn.precision_recall(b["features"], a["features"])
    assert (result["precision_shapes"], result["recall_shapes"]) == pytest.approx((precision, recall))
    assert result["is_shapes"] > 5 and result["modes_shapes"] == 16
    entries = result["protocol_entries"]
    assert entries["num_fake"] == 80 and entries["num_real"] == 90 and entries["dataset"] == "other"
    assert "truncation" not in entries and len(result["protocol"]) == 16
    read = ("fakes_read", "fakes_skipped", "reals_read", "reals_skipped")
    assert [result[key] for key in read] == [80, 0, 90, 0]


@pytest.mark.filterwarnings("ignore")
def test_a_set_against_itself_is_at_distance_zero(sets, capsys):
    same = run(capsys, f"path_a={sets['packed']}", f"path_b={sets['folder']}", "metrics=shapes", "metrics.kid=false")
    assert same["fid_shapes"] == pytest.approx(0, abs=1e-6)
    assert (same["precision_shapes"], same["recall_shapes"], same["coverage_shapes"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "'run' is not key=value"),
        (["rum=x"], "unknown key 'rum'; did you mean 'run'"),
        (["path_a=x"], "give either run=DIR, or both path_a=PATH and path_b=PATH"),
        (["run=a", "path_a=b", "path_b=c"], "give either"),
        (["run=absent"], "run=absent: config.yaml cannot be read"),
        (["path_a={packed}", "path_b={packed}", "metrics=fid50"], "no such preset; did you mean 'fid50k'"),
        (
            ["path_a={packed}", "path_b={packed}", "metrics=shapes", "metrics.num_sample=3"],
            "did you mean 'num_samples'",
        ),
        (
            ["path_a={packed}", "path_b={packed}", "metrics=shapes", "metrics.splits=many"],
            "metrics.splits='many'",
        ),
        (
            ["path_a={packed}", "path_b={packed}", "metrics=shapes", "metrics.splits=0"],
            "splits must be at least 1",
        ),
        (["path_a={packed}", "path_b={packed}", "metrics=shapes", "metrics.splits=[1"], "cannot be read"),
        (["path_a={packed}", "path_b={packed}", "metrics=classifier"], "metrics.weights is missing"),
    ],
)
def test_mistakes_are_told_in_one_sentence(sets, words, message):
    with pytest.raises(UserError) as caught:
        evaluate_command([word.format(packed=sets["packed"]) for word in words])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_help_and_no_arguments(capsys):
    assert evaluate_command(["--help"]) == 0 and "run=PATH" in capsys.readouterr().out
    assert evaluate_command([]) == 2
    options = parse(evaluate.Options, ["run=a=b", "metrics.best=null", "metrics.seed=3"])
    assert options.run == Path("a=b") and options.settings == {"best": None, "seed": 3}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_evaluated_again_with_the_same_figures_and_under_another_protocol(tmp_path, capsys):
    pack(tmp_path / "shapes", [render(120, seed=3)], name="shapes", class_names=CLASS_NAMES)
    cfg = gan_lab.compose(
        "dataset=shapes", "metrics=shapes", f"data_dir={tmp_path}", f"run_dir={tmp_path / 'run'}",
        "width=0.05", "trainer.total_steps=2", "trainer.batch_size=4", "trainer.device=cpu",
        "metrics.num_samples=80",
    )  # fmt: skip
    run_dir = gan_lab.train(cfg)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    again = run(capsys, f"run={run_dir}", "checkpoint=latest", "device=cpu")
    assert all(again[key] == value for key, value in rows[-1].items() if key != "wall_seconds")
    other = run(capsys, f"run={run_dir}", "checkpoint=2", "device=cpu", "metrics.seed=5", "metrics.ema=false")
    assert other["protocol"] != again["protocol"] and other["fid_shapes"] != again["fid_shapes"]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["protocol"] for row in rows[-2:]] == [again["protocol"], other["protocol"]]
    protocols = [json.loads((run_dir / f"protocol-{row['protocol']}.json").read_text()) for row in rows[-2:]]
    assert difference(*protocols) == ["seed: 0 against 5", "weights_of_G: ema against raw"]
    assert protocols[0] == json.loads((run_dir / "protocol.json").read_text())
    with pytest.raises(UserError, match="no checkpoint step-00000009.pt"):
        evaluate_command([f"run={run_dir}", "checkpoint=9"])
