"""Short versions of the torture, and that it would see what it looks for."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gan_lab.cli.main import guarded, run_command
from gan_lab.cli.options import parse
from scripts.torture import __main__ as command
from scripts.torture import comparison, torture

REPOSITORY = Path(__file__).resolve().parents[3]


def tortured(*words):
    command = [sys.executable, "-m", "scripts.torture", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900)


@pytest.mark.long
def test_a_run_killed_five_times_is_the_undisturbed_one(tmp_path):
    done = tortured("kills=5", "steps=13", "draw=1", f"folder={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {line.split(None, 1)[1]: int(line.split()[0]) for line in done.stdout.splitlines()}
    assert sum(n for name, n in counts.items() if name.startswith("kills by") or name.startswith("kills at")) >= 4
    assert counts["runs that differ"] == 0 and counts["runs finished"] > 0


@pytest.mark.long
def test_five_failing_disks_lose_nothing(tmp_path):
    done = tortured("mode=disk", "trials=5", "steps=13", "draw=1", f"folder={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0  trials that differ" in done.stdout and "0  checkpoints broken" in done.stdout


@pytest.mark.parametrize("words", [["mode=nice"], ["kills=-1"], ["kills=x"], ["mode=disk", "trials=0"]], ids=str)
def test_wrong_words_are_told(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torture, "Torture", lambda *arguments: None)
    words = [*words, f"folder={tmp_path}"]
    assert guarded(lambda: run_command("torture", command.Options, command.run, words)) == 2
    assert words[-2].partition("=")[0] in capsys.readouterr().err


def test_other_words_are_settings_of_the_run():
    options = parse(command.Options, ["recipe=bsn", "kills=3", "seed=4"])
    assert options.kills == 3 and options.settings == ("recipe=bsn", "seed=4")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_data):
    """A finished run."""
    import gan_lab

    words = ("trainer.total_steps=4", "trainer.batch_size=8", "trainer.log_every_steps=1", "trainer.device=cpu",
             "trainer.checkpoint_every_steps=2", "width=0.0625", "metrics=none", "monitor=off")  # fmt: skip
    folder = tmp_path_factory.mktemp("torture") / "run"
    return gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", f"hydra.run.dir={folder}", *words))


def flip_a_bit(folder):
    path = folder / "checkpoints" / "step-00000004.pt"
    content = torch.load(path, weights_only=True)
    weight = next(iter(content["state"]["D"].values()))
    weight[(0,) * weight.ndim] += 1e-7
    torch.save(content, path)
    (folder / "checkpoints" / "index.json").unlink()
    from gan_lab.runs.checkpoint import Checkpoints

    Checkpoints(folder / "checkpoints", 9).begin(4)


def edit_rows(change):
    def edit(folder):
        lines = (folder / "train.jsonl").read_text().splitlines()
        (folder / "train.jsonl").write_text("\n".join(change(lines)) + "\n")

    return edit


def other_loss(lines):
    return [json.dumps({**json.loads(lines[0]), "loss/d": 0.5}), *lines[1:]]


HARM = {
    "state": flip_a_bit,
    "train.jsonl ": edit_rows(lambda lines: lines[:-1]),  # a row is missing
    "train.jsonl (": edit_rows(lambda lines: [*lines, lines[-1]]),  # a row is doubled
    "train.jsonl has 1 torn": edit_rows(lambda lines: [*lines[:2], '{"step":', *lines[2:]]),
    "train.jsonl[0].loss/d": edit_rows(other_loss),
    "index": lambda folder: (folder / "checkpoints" / "step-00000002.pt").unlink(),
    "beside the index": lambda folder: shutil.copy(
        folder / "checkpoints" / "step-00000002.pt", folder / "checkpoints" / "step-00000001.pt"
    ),
    "was left": lambda folder: (folder / "checkpoints" / ".index.json.5.tmp").touch(),
    "samples": lambda folder: next((folder / "samples").iterdir()).write_bytes(b"half"),
    "TensorBoard": lambda folder: next(folder.glob("events.out*")).write_bytes(b""),
    "summary.skipped_updates": lambda folder: (folder / "summary.json").write_text(
        json.dumps({**json.loads((folder / "summary.json").read_text()), "skipped_updates": 3})
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HARM)
def test_it_sees_every_kind_of_harm(tmp_path, pair, what):
    run = tmp_path / "run"
    shutil.copytree(pair, run)
    assert comparison.differences(pair, run) == []
    HARM[what](run)
    assert any(what in line for line in comparison.differences(pair, run))


@pytest.mark.slow
def test_on_a_failing_disk_any_evaluation_may_be_the_best_with_its_own_figure(tmp_path, tiny_data):
    import gan_lab

    words = ("trainer.total_steps=4", "trainer.batch_size=8", "trainer.device=cpu", "trainer.eval_every_steps=2",
             "trainer.checkpoint_every_steps=2", "width=0.0625", "metrics.num_samples=64", "metrics.num_real=64",
             "metrics.kid=false", "metrics.precision_recall=false", "monitor=off")  # fmt: skip
    run = gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", f"hydra.run.dir={tmp_path / 'run'}", *words))
    values = {row["step"]: row["fid_shapes"] for row in map(json.loads, (run / "metrics.jsonl").open())}
    other = tmp_path / "other"
    shutil.copytree(run, other)

    def seen(step, value):
        summary = json.loads((run / "summary.json").read_text())
        summary["best"] |= {"step": step, "value": value}
        (other / "summary.json").write_text(json.dumps(summary))
        return comparison.differences(run, other, spared=True)

    assert seen(2, values[2]) == [] and seen(4, values[4]) == []
    assert any("summary.best" in line for line in seen(2, values[4]))
    assert any("summary.best" in line for line in seen(3, values[2]))


def test_clock_values_are_no_difference_and_nan_equals_itself():
    a = {"x": torch.tensor([float("nan"), -0.0]), "y": [1.5, float("nan")], "wall_seconds": 3}
    b = {"x": torch.tensor([float("nan"), 0.0]), "y": [1.5, float("nan")], "wall_seconds": 4}
    assert comparison.unequal(*map(comparison.without_clock, (a, b)), "s") == ["s.x"]
    assert comparison.unequal(a, a, "s") == []
    assert (
        comparison.unequal({"a": 1}, {"b": 1}, "s")
        and comparison.unequal(1, 1.0, "s")
        and comparison.unequal([1], [1, 2], "s")
    )
