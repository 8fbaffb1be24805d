"""The files of a report."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.reporting import write_report

REPOSITORY = Path(__file__).resolve().parents[2]


def rows(folder):
    return list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))


def test_without_out_one_directory_gets_its_report_inside(tmp_path, fabricate):
    fabricate.run(tmp_path / "runs" / "a", fabricate.config(), last=100, every=50)
    written = write_report(str(tmp_path / "runs"))
    assert written == tmp_path / "runs" / "report.html" and written.with_suffix(".csv").is_file()
    before = (tmp_path / "runs" / "report.csv").read_text()
    assert write_report([tmp_path / "runs"]) == written  # the report is no run
    assert (tmp_path / "runs" / "report.csv").read_text() == before


def test_runs_of_several_places_are_put_together(tmp_path, fabricate):
    fabricate.run(tmp_path / "x" / "norm=sn,seed=1", fabricate.config("sn", 1), last=100, every=50)
    fabricate.run(tmp_path / "y" / "single", fabricate.config("bsn", 1), last=100, every=50, norm="bsn")
    out = tmp_path / "out"
    write_report([str(tmp_path / "x"), tmp_path / "y" / "single"], str(out), "kid_shapes", 50)
    assert {r["recipe"] for r in rows(out)} == {"norm=sn", "norm=bsn"}
    assert {r["step"] for r in rows(out)} == {"50"}
    page = (out / "report.html").read_text()
    assert "x/norm=sn,seed=1" in page and "y/single" in page and "mean kid_shapes at step 50" in page


@pytest.mark.slow
def test_a_directory_gets_all_formats_and_a_file_only_its_own(sweep, tmp_path):
    assert write_report([sweep], tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / "report.html"
    suffixes = ("html", "md", "tex", "csv")
    assert {p.name for p in (tmp_path / "new" / "folder").iterdir()} == {f"report.{x}" for x in suffixes}
    for suffix in suffixes:
        out = tmp_path / suffix / f"table.{suffix}"
        assert write_report([sweep], out) == out and list(out.parent.iterdir()) == [out]
        made = (tmp_path / "new" / "folder" / f"report.{suffix}").read_text()
        assert out.read_text().splitlines()[-3:] == made.splitlines()[-3:]
    (tmp_path / "runs.csv").mkdir()  # a directory, whatever its name
    assert write_report([sweep], tmp_path / "runs.csv") == tmp_path / "runs.csv" / "report.html"


@pytest.mark.slow
def test_power_says_how_many_seeds_a_difference_of_that_share_takes(sweep, tmp_path):
    out = tmp_path / "report.md"
    assert write_report([sweep], out, power=0.05) == out
    assert "A difference of 0.175, 5% of the leader's mean, takes " in out.read_text()
    write_report([sweep], out)
    assert "of the leader's mean" not in out.read_text() and "To settle it takes so many seeds" in out.read_text()


@pytest.mark.slow
def test_reading_files_needs_no_torch():
    code = "import sys, gan_lab.reporting; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=120).returncode == 0
