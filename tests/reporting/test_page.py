"""The page, Markdown and LaTeX: whole, safe, small, and with everything in them."""

import csv
import io
import json
import re
import statistics
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gan_lab.errors import UserError
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.reporting import write_report


@pytest.fixture(scope="module")
def report(sweep, tmp_path_factory):
    """The report on the sweep: folder of the files."""
    return write_report([sweep], tmp_path_factory.mktemp("report")).parent


def rows(folder):
    return list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))


class Checker(HTMLParser):
    """Counts tags, and notes tags closed in the wrong order and addresses outside the page."""

    VOID = {"meta", "img", "br", "link", "input", "wbr"}

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


@pytest.mark.slow
def test_the_page_is_whole_and_needs_nothing_else(report):
    page = checked(report / "report.html")
    assert "default-src 'none'" in page and "{{" not in page and "{%" not in page
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page) and "@import" not in page
    assert "url(" not in page
    assert "fetch(" not in page and "XMLHttpRequest" not in page
    assert page.count("data:image/webp;base64,") == 6


def test_the_page_names_what_was_compared_and_with_what(report):
    page = (report / "report.html").read_text()
    for words in ("5 recipes on shapes", "15 runs: 14 finished and 1 diverged", "torch 2.9.0", "Some CPU",
                  "0123456789ab", "No difference can be claimed between norm=bssn and norm=ssn",
                  "norm=bssn has the lowest mean fid_shapes at step 3,000", "1 diverged of 3",
                  "the spread of the samples fell to 0.41", "num_fake_fid"):  # fmt: skip
        assert words in page, words


def test_the_markdown_has_the_same_figures(report):
    text = (report / "report.md").read_text()
    values = [float(r["value"]) for r in rows(report) if r["recipe"] == "norm=bssn" and r["metric"] == "fid_shapes"]
    assert len(values) == 3
    assert f"| norm=bssn | {statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} | [" in text
    assert f"| norm=bssn | {' | '.join(f'{v:.3f}' for v in values)} |" in text  # seeds side by side
    assert f"Protocol: shapes, classifier shapes, 3,000 fakes, `{rows(report)[0]['protocol']}`." in text
    assert "Holm over 6 comparisons" in text and re.search(r"norm=none,seed=3 \| norm=none \| 3 \| diverged", text)
    assert "| fid_shapes (lower is better) | is_shapes (higher is better) |" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_the_latex_has_the_same_figures_in_tables_of_one_width(report):
    text = (report / "report.tex").read_text()
    assert f"% Protocol: shapes, classifier shapes, 3,000 fakes, {rows(report)[0]['protocol']}" in text
    assert "norm=bssn & 3.493 $\\pm$ 0.057 & {[}3.355, 3.637]" in text and "fid\\_shapes" in text and "booktabs" in text
    tables = re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    assert len(tables) == 4 and "brackets" not in text  # the intervals of notes are not in LaTeX
    for columns, body in tables:
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", lines[0])]
        widths = [len(re.findall(r"(?<!\\)&", line)) for line in lines]
        assert len(lines) > 5 and {widths[0] + sum(spans), *widths[1:]} == {len(columns) - 1}
    assert "fid\\_shapes $\\downarrow$ & is\\_shapes $\\uparrow$ & kid\\_shapes $\\downarrow$" in text
    assert text.count("{") == text.count("}")  # every special character of a text is escaped
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%#]|[−±–·<>]", plain)


def test_special_characters_stay_what_they_are(tmp_path, fabricate):
    strange = r"a|b & 50% #1 $x_2^3$ {c} ~\d [e]"
    for norm in ("sn", "bsn"):
        fabricate.run(tmp_path / norm, fabricate.config(norm), figures={100: 2.0}, overrides=[f"norm={norm}{strange}"])
    write_report([tmp_path])
    assert r"norm=sna\|b & 50% #1 $x_2^3$ {c} ~\d [e] | 2" in (tmp_path / "report.md").read_text()
    latex = (tmp_path / "report.tex").read_text()
    assert (
        r"norm=sna|b \& 50\% \#1 \$x\_2\textasciicircum{}3\$ \{c\} \textasciitilde{}\textbackslash{}d {[}e] & 2"
        in latex
    )


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


def test_a_figure_cannot_become_markup_as_the_metric_of_the_captions(tmp_path, fabricate):
    evil = "fid<img src=x onerror=alert(1)>"
    path = fabricate.run(tmp_path / "o", fabricate.config("bsn", 1), figures={50: 2.0, 100: 2.0}, protocol=None)
    protocol = {**fabricate.protocol, "higher_is_better": {evil: False}}
    (path / "protocol.json").write_text(json.dumps(protocol))
    with open(path / "metrics.jsonl", "w") as file:
        file.write(json.dumps({"step": 100, evil: 3.0, "protocol": protocol_hash(protocol)}) + "\n")
    write_report([tmp_path], tmp_path / "out", metric=evil)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img src=x" not in page and "fid&lt;img" in page


def test_what_is_no_hash_is_no_protocol_and_names_no_file(tmp_path, fabricate):
    (tmp_path / "secret.json").write_text(json.dumps({"token": "s3cr3t", "dataset": "s3cr3t"}))
    path = fabricate.run(tmp_path / "runs" / "o", fabricate.config("bsn", 1), figures={50: 2.0}, protocol=None)
    (path / "protocol-..").mkdir()
    for stated in ("../../../secret", "x\n\\input{/etc/passwd}\n%", "`x", 3):
        row = {"step": 50, "fid_shapes": 2.0, "protocol": stated}
        (path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        write_report([tmp_path / "runs"], tmp_path / "out")
        written = "".join(file.read_text() for file in (tmp_path / "out").iterdir())
        assert "s3cr3t" not in written and "etc/passwd" not in written and "secret" not in written


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
    found = rows(runs)
    measured = {r["run"]: r for r in found if r["metric"] == "fid_shapes" and r["recipe"]}
    assert [r["run"] for r in measured.values() if r["in_means"] == "True" and r["value"]] == ["s0", "s3", "s5"]
    assert {r["status"] for r in measured.values() if r["in_means"] == "False"} == {"diverged", "collapsed", "failed"}
    assert {r["run"] for r in found if not r["metric"]} == {"empty", "started", "fresh"}
    assert {r["run"]: r["status"] for r in found if not r["recipe"]}["broken"] == "unreadable"


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
    assert "% Warning: device differs among the runs: CPU A (2 runs)" in (tmp_path / "report.tex").read_text()
    assert "device differs among the runs: CPU A (2 runs) and GPU B (1 run); speeds cannot be compared" in page
    assert "torch differs" not in page


def test_protocols_separate_make_one_section_each(tmp_path, fabricate):
    for seed in (1, 2):
        fabricate.run(tmp_path / f"a{seed}", fabricate.config("sn", seed), last=100, every=50)
        fabricate.run(tmp_path / f"b{seed}", fabricate.config("bsn", seed), last=100, every=50, norm="bsn",
                      protocol={**fabricate.protocol, "num_fake": 50_000})  # fmt: skip
    with pytest.raises(UserError, match="num_fake: 3000 against 50000"):
        write_report([tmp_path])
    write_report([tmp_path], separate_protocols=True)
    page = checked(tmp_path / "report.html")
    assert page.count('<section class="comparison"') == 2 and "50,000 fakes" in page and "3,000 fakes" in page
    assert len({r["protocol"] for r in rows(tmp_path)}) == 2


@pytest.mark.slow
def test_two_hundred_runs(tmp_path, fabricate):
    for i in range(40):
        for seed in range(5):
            config = fabricate.config("sn", seed)
            config["optimizer"]["d"]["lr"] = 1e-5 * (i + 1)
            status = "diverged" if (i, seed) == (7, 2) else "finished"
            fabricate.run(tmp_path / f"{i}-{seed}", config, figures={0: 50.0, 100: 3 + i + 0.1 * seed}, last=100,
                          status=status, overrides=[f"optimizer.d.lr={1e-5 * (i + 1):g}", f"seed={seed}"])  # fmt: skip
    page = checked(write_report([tmp_path]))
    found = rows(tmp_path)
    assert len(found) == 200 and len({r["recipe"] for r in found}) == 40
    assert sum(r["in_means"] == "True" for r in found) == 199
    first = [float(r["value"]) for r in found if r["recipe"] == found[0]["recipe"]]
    assert found[0]["recipe"] == "optimizer.d.lr=1e-05" and statistics.mean(first) == pytest.approx(3.2)
    assert "200 runs: 199 finished and 1 diverged" in page and "Of 780 pairs" in page
    assert page.count("-3</th>") == 40 and len(page.encode()) < 1.5e6


@pytest.mark.long
def test_the_page_stays_under_its_limit_with_many_runs_long_logs_many_layers_and_pictures(tmp_path, fabricate):
    rng = np.random.default_rng(0)
    many = [warning(step) for step in range(1000)]
    noise = Image.fromarray(rng.integers(0, 256, (600, 600, 3), dtype=np.uint8))
    for i in range(24):
        for seed in range(6):
            config = fabricate.config("sn", seed)
            config["optimizer"]["d"]["lr"] = 1e-5 * (i + 1)
            path = fabricate.run(tmp_path / f"{i}-{seed}", config, last=3000, log_every=50, overrides=[f"lr={i}"],
                                 events=many)  # fmt: skip
            if seed == 0:
                (path / "samples").mkdir()
                noise.save(path / "samples" / "samples-00003000.png")
    page = checked(write_report([tmp_path]))
    assert 1e6 < len(page.encode()) < 1.5e6
    assert page.count("data:image/webp") == 24 and re.search(r"[1-9]\d* more charts are left out", page)


def warning(step, severity="warning"):
    text = f"not finite: gradients; {step} updates skipped; try trainer.precision=fp32 or a smaller optimizer.d.lr"
    return {"step": step, "kind": "non_finite", "severity": severity, "message": text, "value": 1.0, "threshold": 0.0}


def test_ten_thousand_events_of_a_run_leave_the_page_small(tmp_path, fabricate):
    events = [warning(step) for step in range(9_997)] + [warning(700, "collapse"), warning(30, "collapse")]
    events.append(warning(800, "collapse") | {"more": 40})
    fabricate.run(tmp_path / "a", fabricate.config("sn", 1), figures={0: 9.0, 100: 2.0}, last=100, events=events)
    fabricate.run(tmp_path / "b", fabricate.config("sn", 2), figures={0: 9.0, 100: 2.0}, last=100,
                  events=[warning(5)])  # fmt: skip
    page = checked(write_report([tmp_path]))
    assert 5e4 < len(page.encode()) < 5e5
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)[1])
    marks = [mark for recipe in data["recipes"] for mark in recipe["events"]]
    of_a = [step for step, text in marks if text.endswith("(seed 1)")]
    assert len(marks) == 49 and {30, 700, 800} < set(of_a) and (of_a[0], of_a[-1]) == (0, 9_996)
    assert sum("collapse: " in text for _, text in marks) == 3
    assert 200 < max(b - a for a, b in zip(of_a, of_a[1:], strict=False)) < 240  # 9,997 in 45
    assert "9,992 more events without a triangle" in page and "10,041 events raised while training" in page


def test_the_captions_say_what_best_and_seeds_to_settle_are(tmp_path, fabricate):
    once = {"sn": [{100: 5.0 + s} for s in range(3)], "bsn": [{100: 5.1 + 0.9 * s} for s in range(3)]}
    fabricate.figures(tmp_path / "once", once)
    several = {norm: [{50: 9.0, **at} for at in seeds] for norm, seeds in once.items()}
    fabricate.figures(tmp_path / "several", several)
    texts = {}
    for name in ("once", "several"):
        write_report([tmp_path / name])
        texts[name] = (tmp_path / name / "report.md").read_text()
        assert "after step 0 and up to step 100." in texts[name] and "the total per recipe" in texts[name]
        assert "adding seeds until p is small finds differences that are not there" in texts[name]
        assert "The number of classes" not in texts[name]
    assert "the lowest of many owes part of its value to that noise" in texts["several"]
    assert "It is optimistic" not in texts["once"]
    fabricate.run(tmp_path / "is", fabricate.config(), last=100, every=50)
    write_report([tmp_path / "is"], metric="is_shapes")
    text = (tmp_path / "is" / "report.md").read_text()
    assert "The number of classes limits is_shapes from above" in text and "the highest of many owes" in text
    assert "The number of classes limits is_shapes, modes_shapes, modes_kl_shapes from above" in text
