"""`gan-lab plot-stability`: where it says the picture is, and its refusals."""

import json

import pytest

from gan_lab.cli import plot_stability
from gan_lab.cli.main import main, run_command
from gan_lab.errors import UserError


def plot_command(words):
    return run_command("plot-stability", plot_stability.Options, plot_stability.run, words)


@pytest.fixture
def run(tmp_path):
    numbers = {"grad/effective/joint": 0.7, "grad/effective/linear": 0.1, "variance/linear": 2e-3, "sigma/linear": 0.4}
    rows = [{"step": step, "images_seen": 4 * step, **numbers} for step in (10, 20)]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


@pytest.mark.slow
def test_it_prints_where_the_picture_is(run, capsys):
    assert plot_command([f"run={run}"]) == 0 and capsys.readouterr().out == f"{run / 'stability.png'}\n"
    assert plot_command([f"run={run}", f"out={run / 'b.svg'}"]) == 0 and capsys.readouterr().out == f"{run / 'b.svg'}\n"
    assert (run / "b.svg").stat().st_size > 10_000 and (run / "stability.png").stat().st_size > 10_000
    assert plot_command(["--help"]) == 0 and plot_command([]) == 2


def test_mistakes(run, capsys):
    with pytest.raises(UserError, match="run= is missing"):
        plot_command(["out=a.png"])
    with pytest.raises(UserError, match="did you mean 'run'"):
        plot_command([f"runs={run}"])
    assert main(["plot-stability", "run=nowhere"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: run=nowhere") and said.count("\n") == 1
