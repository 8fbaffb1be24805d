"""`gan-lab report`: its words, its refusals, and where it says the report is."""

import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.cli import report
from gan_lab.cli.main import run_command
from gan_lab.cli.options import parse
from gan_lab.errors import UserError
from tests.reporting.conftest import write_sweep

REPOSITORY = Path(__file__).resolve().parents[2]


def report_command(words):
    return run_command("report", report.Options, report.run, words)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Five recipes of three seeds; one run diverged."""
    return write_sweep(tmp_path_factory.mktemp("runs") / "sweep")


@pytest.mark.slow
def test_every_option_reaches_the_report(sweep, tmp_path, capsys):
    out = tmp_path / "report.md"
    words = [str(sweep), f"out={out}", "power=0.05", "metric=kid_shapes", "step=1000", "protocols=separate"]
    assert report_command(words) == 0 and capsys.readouterr().out == f"{out}\n"
    text = out.read_text()
    assert "5% of the leader's mean" in text and "kid_shapes at step 1,000" in text


def test_directories_are_told_from_options(tmp_path, monkeypatch):
    """A sweep's folders have `=` in their names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "norm=sn").mkdir()
    (tmp_path / "step=7").mkdir()
    options = parse(report.Options, ["a", "norm=sn", "step=7", "b/norm=bsn,seed=1", "metric=fid", "step=8"])
    assert options.runs == (Path("a"), Path("norm=sn"), Path("step=7"), Path("b/norm=bsn,seed=1"))
    assert (options.metric, options.step) == ("fid", 8)
    assert parse(report.Options, ["~/runs"]).runs == (Path.home() / "runs",)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere"], "no such directory"), (["out=x"], "RUNS... is missing"),
     (["{runs}", "stepp=3"], "did you mean 'step'"), (["{runs}", "step=x"], "whole number"),
     (["{runs}", "protocols=two"], "one or separate"), (["{runs}", "metric=nonsense"], "no run has this figure"),
     (["{runs}", "out={runs}/multirun.yaml"], "cannot write a .yaml file; give a directory"),
     (["{runs}", "out={runs}/multirun.yaml/x"], "cannot write the report"),
     (["{runs}", "power=x"], "power=x: must be a number"), (["{runs}", "power=0"], "above 0")],
)  # fmt: skip
def test_mistakes_are_told(sweep, words, message):
    with pytest.raises(UserError, match=message):
        report_command([word.format(runs=sweep) for word in words])


def test_help(capsys):
    assert report_command([]) == 2 and report_command(["--help"]) == 0
    assert "protocols" in capsys.readouterr().out


def test_the_command_tells_a_mistake_in_one_sentence(sweep, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gan_lab", "report", sweep, "metric=none_such"],
        capture_output=True, text=True, timeout=120, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: metric=none_such") and done.stdout == ""
