"""The command and its three files."""

import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gan_lab.errors import UserError
from gan_lab.report import report_command, write_report

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    """The report on the sweep: folder of the three files."""
    return write_report([sweep], tmp_path_factory.mktemp("report")).parent


def rows(folder):
    return list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))


class Checker(HTMLParser):
    """Counts tags, and notes tags closed in the wrong order and addresses outside the page."""

    VOID = {"meta", "img", "br", "link", "input", "line", "circle", "wbr"}

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.outside, self.ids = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.outside += [v for k, v in attributes if k in ("src", "href") and not v.startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append((tag, self.getpos()))


def checked(path):
    checker = Checker()
    checker.feed(path.read_text())
    assert checker.wrong == [] and checker.open == [] and checker.outside == []
    assert len(set(checker.ids)) == len(checker.ids)
    return path.read_text()


def test_the_page_is_whole_and_needs_nothing_else(report):
    page = checked(report / "report.html")
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page) and "@import" not in page
    assert not re.search(r"url\((?!#)", page.replace("url(#${id})", ""))
    assert "fetch(" not in page and "XMLHttpRequest" not in page
    assert page.count("data:image/webp;base64,") == 6


def test_the_page_names_what_was_compared_and_with_what(report):
    page = (report / "report.html").read_text()
    for words in ("5 recipes on shapes", "15 runs: 14 finished and 1 diverged", "torch 2.9.0", "Some CPU",
                  "0123456789ab", "norm=bssn has the lowest mean fid_shapes at step 3,000", "1 diverged of 3",
                  "the spread of the samples fell to 0.41", "num_fake_fid"):  # fmt: skip
        assert words in page, words


def test_the_csv_has_every_recipe_and_figure_at_the_step_and_at_best(report):
    found = rows(report)
    assert len(found) == 5 * 9 * 2
    row = next(r for r in found if r["recipe"] == "norm=none" and r["figure"] == "fid_shapes" and r["at"] == "step")
    assert (row["n"], row["runs"], row["finished"], row["diverged"], row["step"]) == ("2", "3", "2", "1", "3000")
    values = [float(pair.split("=")[1]) for pair in row["values"].split()]
    assert sum(values) / 2 == pytest.approx(float(row["mean"]), rel=1e-5)
    assert float(row["low95"]) < float(row["mean"]) < float(row["high95"])
    best = next(r for r in found if r["recipe"] == "norm=none" and r["figure"] == "fid_shapes" and r["at"] == "best")
    assert best["evaluations"] == "13" and float(best["mean"]) <= float(row["mean"])


def test_the_markdown_has_the_same_figures(report):
    text = (report / "report.md").read_text()
    row = next(r for r in rows(report) if r["recipe"] == "norm=bssn" and r["figure"] == "fid_shapes")
    assert f"| norm=bssn | 3 | {float(row['mean']):.3f} | {float(row['sd']):.3f} |" in text
    assert "Holm over 6 comparisons" in text and "norm=none,seed=3 | diverged" in text
    widths = {line.count(" | ") for line in text.splitlines() if re.search(r"^. norm=.*\d finished", line)}
    assert len(widths) == 1


def test_without_out_one_directory_gets_its_report_inside(tmp_path, fabricate, capsys):
    fabricate.run(tmp_path / "runs" / "a", fabricate.config(), last=100, every=50)
    assert report_command([str(tmp_path / "runs")]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == tmp_path / "runs" / "report.html" and written.with_suffix(".csv").is_file()
    before = (tmp_path / "runs" / "report.csv").read_text()
    assert report_command([str(tmp_path / "runs")]) == 0  # the report is no run
    assert (tmp_path / "runs" / "report.csv").read_text() == before


def test_runs_of_several_places_are_put_together(tmp_path, fabricate):
    fabricate.run(tmp_path / "x" / "norm=sn,seed=1", fabricate.config("sn", 1), last=100, every=50)
    fabricate.run(tmp_path / "y" / "single", fabricate.config("bsn", 1), last=100, every=50, norm="bsn")
    out = tmp_path / "out"
    words = [str(tmp_path / "x"), str(tmp_path / "y" / "single"), f"out={out}", "metric=kid_shapes", "step=50"]
    assert report_command(words) == 0
    assert {r["recipe"] for r in rows(out)} == {"norm=sn", "norm=bsn"}
    assert {r["step"] for r in rows(out) if r["at"] == "step"} == {"50"}
    page = checked(out / "report.html")
    assert "x/norm=sn,seed=1" in page and "y/single" in page and "mean kid_shapes at step 50" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere"], "no such directory"), (["out=x"], "no runs are named"),
     (["{runs}", "stepp=3"], "did you mean 'step'"), (["{runs}", "step=x"], "whole number"),
     (["{runs}", "protocols=two"], "one or separate"), (["{runs}", "metric=nonsense"], "no run has this figure"),
     (["{runs}", "out={runs}/multirun.yaml"], "cannot write")],
)  # fmt: skip
def test_mistakes_are_told(sweep, words, message):
    with pytest.raises(UserError, match=message):
        report_command([word.format(runs=sweep) for word in words])


def test_help(capsys):
    assert report_command([]) == 2 and report_command(["--help"]) == 0
    assert "protocols" in capsys.readouterr().out


def test_names_from_files_cannot_become_markup(tmp_path, fabricate):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    for seed in (1, 2):
        event = {"step": 50, "kind": evil, "severity": evil, "message": evil, "value": evil}
        fabricate.run(
            tmp_path / f"s{seed}", fabricate.config("sn", seed), figures={50: 2.0, 100: 1.0 + seed},
            overrides=[f"name2={evil}{seed}"], device=evil, events=[event],
        )  # fmt: skip
    other = fabricate.config("bsn", 1)
    other[evil] = evil
    path = fabricate.run(tmp_path / "o", other, figures={50: 2.0, 100: 2.0}, overrides=[f"x={evil}"], protocol=None)
    with open(path / "metrics.jsonl", "w") as file:
        file.write(json.dumps({"step": 100, evil: 3.0}) + "\n")
    with open(path / "train.jsonl", "a") as file:
        file.write(json.dumps({"step": 100, evil: 3.0, "sigma/" + evil: 1.0}) + "\n")
    page = checked(write_report([tmp_path], tmp_path / "out"))
    assert "<script>alert" not in page and "<img src=x" not in page and "alert(1)" in page


def test_runs_in_any_state_are_all_listed(tmp_path, fabricate):
    runs = tmp_path / "runs"
    for seed, status in enumerate(["finished", "diverged", "collapsed", "interrupted", "failed", None]):
        fabricate.run(runs / f"s{seed}", fabricate.config(seed=seed), status=status, last=100, every=50)
    (runs / "empty").mkdir()
    (runs / "started" / ".hydra").mkdir(parents=True)
    broken = fabricate.run(runs / "broken", fabricate.config(seed=8), last=100, every=50)
    (broken / "config.yaml").write_bytes(b"\xff\xfe{")
    fresh = fabricate.run(runs / "fresh", fabricate.config(seed=9), status=None, last=100, every=50)
    for name in ("metrics.jsonl", "train.jsonl", "protocol.json", "environment.json"):
        (fresh / name).unlink()
    page = checked(write_report([runs]))
    for name in ("s0", "s1", "s2", "s3", "s4", "s5", "empty", "started", "broken", "fresh"):
        assert f">{name}<" in page or f">{name}<small>" in page, name
    for status in ("finished", "diverged", "collapsed", "interrupted", "failed", "unfinished", "empty", "not started",
                   "unreadable"):  # fmt: skip
        assert f">{status}</span>" in page, status
    (row,) = [r for r in rows(runs) if r["figure"] == "fid_shapes" and r["at"] == "step"]
    assert (row["n"], row["runs"]) == ("3", "7") and row["collapsed"] == row["diverged"] == row["failed"] == "1"


@pytest.mark.parametrize("prepare", ["no evaluations", "nothing but a config"])
def test_a_report_without_any_figure(tmp_path, fabricate, prepare):
    path = fabricate.run(tmp_path / "runs" / "a", fabricate.config(), protocol=None, last=100, every=50)
    if prepare != "no evaluations":
        for file in path.iterdir():
            if file.name != "config.yaml":
                file.unlink()
    page = checked(write_report([tmp_path / "runs"]))
    assert "no figures to compare" in page and len(rows(tmp_path / "runs")) == 1


def test_versions_and_devices_that_differ_are_warned_about(tmp_path, fabricate):
    for seed, device in enumerate(["CPU A", "GPU B", "CPU A"]):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), device=device, last=100, every=50)
    page = write_report([tmp_path]).read_text()
    assert "device differs among the runs: CPU A (2 runs) and GPU B (1 run); speeds cannot be compared" in page
    assert "torch differs" not in page


def test_protocols_separate_make_one_section_each(tmp_path, fabricate):
    for seed in (1, 2):
        fabricate.run(tmp_path / f"a{seed}", fabricate.config("sn", seed), last=100, every=50)
        fabricate.run(tmp_path / f"b{seed}", fabricate.config("bsn", seed), last=100, every=50, norm="bsn",
                      protocol={**fabricate.protocol, "num_fake": 50_000})  # fmt: skip
    with pytest.raises(UserError, match="num_fake: 3000 against 50000"):
        report_command([str(tmp_path)])
    assert report_command([str(tmp_path), "protocols=separate"]) == 0
    page = checked(tmp_path / "report.html")
    assert page.count('<section class="comparison"') == 2 and "50,000 fakes" in page and "3,000 fakes" in page
    assert len({r["protocol"] for r in rows(tmp_path)}) == 2


def test_two_hundred_runs(tmp_path, fabricate):
    for i in range(40):
        for seed in range(5):
            config = fabricate.config("sn", seed)
            config["optimizer"]["d"]["lr"] = 1e-5 * (i + 1)
            status = "diverged" if (i, seed) == (7, 2) else "finished"
            fabricate.run(tmp_path / f"{i}-{seed}", config, figures={0: 50.0, 100: 3 + i + 0.1 * seed}, last=100,
                          status=status, overrides=[f"optimizer.d.lr={i}", f"seed={seed}"])  # fmt: skip
    page = checked(write_report([tmp_path]))
    found = [r for r in rows(tmp_path) if r["at"] == "step"]
    assert len(found) == 40 and sum(int(r["runs"]) for r in found) == 200
    assert [int(r["n"]) for r in found].count(5) == 39
    assert found[0]["recipe"] == "optimizer.d.lr=0" and float(found[0]["mean"]) == pytest.approx(3.2)
    assert "200 runs: 199 finished and 1 diverged" in page and "Of 780 pairs" in page
    assert page.count("-3</th>") == 40 and len(page) < 8e6


def test_the_script_tells_a_mistake_in_one_sentence(sweep, tmp_path):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "report.py", sweep, "metric=none_such"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: metric=none_such") and done.stdout == ""


def test_reading_files_needs_no_torch():
    code = "import sys, gan_lab.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=120).returncode == 0
