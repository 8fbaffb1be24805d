"""Pages of docs/results: rebuilt from the committed small files, bit for bit; and what they say."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from gan_lab.errors import UserError
from gan_lab.reporting.formatting import duration
from scripts.studies.__main__ import NAMES, load_study, main
from scripts.studies.page import curves_svg, write_page
from scripts.studies.runner import begun
from scripts.studies.study import RESULTS

WRITTEN = [name for name in NAMES if (RESULTS / f"{name}.md").exists()]


def compared(name):
    """The studies whose runs stand on the page of one."""
    study = load_study(name)
    return [study, *(other for other in study.beside if begun(RESULTS / other.name))]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_is_what_its_small_files_say(name, tmp_path):
    for study in compared(name):
        shutil.copytree(RESULTS / study.name, tmp_path / study.name)
    for curve in (tmp_path / name).glob("*.svg"):
        curve.unlink()
    write_page(load_study(name), tmp_path)
    made = [tmp_path / f"{name}.md", *(tmp_path / name).glob("*.svg")]
    assert len(made) > 1
    for path in made:
        assert path.read_bytes() == (RESULTS / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_names_recipes_by_their_cells(name):
    studies, text = compared(name), (RESULTS / f"{name}.md").read_text()
    folders = [path for study in studies for path in (RESULTS / study.name).iterdir()]
    of_runs = {path.name.rpartition("-")[0] for path in folders if path.is_dir()}
    rows = set(re.findall(r"^\| ([^|]+?) \|", text[text.index("### Results") :].split("\n### ")[0], re.MULTILINE))
    assert rows - {"Recipe", "---"} == of_runs & {cell for study in studies for cell in study.cells} != set()


def test_every_page_is_of_a_study():
    assert {path.stem for path in RESULTS.glob("*.md")} - {"README", "initialization", "smoke"} == set(WRITTEN)


def test_small_files_hold_no_path_of_a_machine():
    for path in RESULTS.rglob("*.json*"):
        assert not re.search(r'"(/|~|[A-Z]:\\)', path.read_text()), path
    for path in RESULTS.rglob("config.yaml"):
        assert not re.search(r": ['\"]?(/|~/)", path.read_text()), path


def test_the_mean_over_seeds_of_a_page_is_that_of_its_files(tmp_path):
    values = []
    for seed in (0, 1):
        rows = (RESULTS / "h200_first" / f"bssn_cnn-{seed}" / "metrics.jsonl").read_text().splitlines()
        values += [row["fid768"] for row in map(json.loads, rows) if row["step"] == 8000]
    mean, sd = np.mean(values), np.std(values, ddof=1)
    assert f"| {mean:.4f} ± {sd:.4f} |" in (RESULTS / "h200_first.md").read_text()


def test_a_study_may_ask_for_curves_of_what_training_logged(tmp_path):
    shutil.copytree(RESULTS / "h200_first", tmp_path / "h200_first")
    shown = {"grad/effective/joint": "gradient of D", "not/logged": "nothing"}
    page = write_page(replace(load_study("h200_first"), curves=shown), tmp_path).read_text()
    assert "](h200_first/grad-effective-joint.svg)\n\ngrad/effective/joint against steps: gradient of D. " in page
    root = ElementTree.parse(tmp_path / "h200_first" / "grad-effective-joint.svg")
    keys = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"sngan_cnn (2)", "bssn_cnn (2)"} < set(keys) and "not/logged" not in page


def test_a_curve_has_each_seed_their_mean_and_the_band_between():
    svg = curves_svg({"a": [([10, 20], [4.0, 2.0]), ([10, 20], [2.0, 1.0])], "b": [([10], [3.0])]}, "fid")
    root = ElementTree.fromstring(svg)
    paths = [p.get("d") for p in root.iter("{http://www.w3.org/2000/svg}path")]
    scale = {4.0: 36.0, 1.0: 350.0}  # top and bottom of the axis
    for value in (3.0, 2.0, 1.5):
        scale[value] = 350 - 314 * (value - 1) / 3
    line = "M320.0 {:.1f}L570.0 {:.1f}".format
    assert line(scale[4.0], scale[2.0]) in paths and line(scale[2.0], scale[1.0]) in paths  # seeds
    assert line(scale[3.0], scale[1.5]) in paths  # their mean
    assert f"{line(scale[4.0], scale[2.0])}L570.0 350.0L320.0 {scale[2.0]:.1f}Z" in paths


def test_a_wide_range_is_drawn_on_a_log_scale():
    svg = curves_svg({"a": [([10, 20, 30], [100.0, 10.0, 1.0])]}, "fid")
    assert "(log scale)" in svg and "L403.3 193.0L570.0 350.0" in svg  # 10 is half-way between 100 and 1


def test_beyond_the_number_of_colours_lines_are_dashed_and_long_names_have_room():
    svg = curves_svg({f"{'c' * 30}{i}": [([10, 20], [1.0, i + 2.0])] for i in range(9)}, "fid")
    drawn = [p for p in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path") if p.get("stroke-width")]
    dashed = [(p.get("stroke"), p.get("stroke-dasharray")) for p in drawn[::2]]
    assert len({color for color, _ in dashed[:7]}) == 7 and {dash for _, dash in dashed[:7]} == {None}
    assert dashed[7:] == [(dashed[0][0], "8 4"), (dashed[1][0], "8 4")]
    names = [t for t in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text") if t.text.startswith("cc")]
    assert len(names) == 9 and all(float(t.get("x")) + 6 * len(t.text) < 720 for t in names)


def test_a_single_step_is_drawn_as_dots():
    svg = curves_svg({"a": [([10], [1.0]), ([10], [3.0])], "b": [([10, 20], [2.0, 1.0])]}, "fid")
    dots = [(d.get("cy"), d.get("r")) for d in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")]
    assert dots == [("193.0", "5"), ("350.0", "3"), ("36.0", "3")]  # the mean of a, and its seeds; b has lines


def test_a_page_compares_with_the_named_runs_of_other_studies_and_counts_only_its_own(tmp_path):
    norms = load_study("norms")
    kept = (("mine", "sn", 2), ("norms", "none", 2), ("norms", "bsn", 1), ("stabilizers", "wn", 3))
    for study, cell, seeds in kept:
        for seed in range(seeds):
            source = "stabilizers" if cell == "wn" else "norms"
            shutil.copytree(RESULTS / source / f"{cell}-{seed}", tmp_path / study / f"{cell}-{seed}")
    others = (norms.only("none", seeds=3), load_study("stabilizers").only("wn", seeds=2))
    mine = replace(norms.only("sn", seeds=2), name="mine", beside=others)
    text = write_page(mine, tmp_path).read_text()
    assert "**Done.** 2 of 2 runs came to their end." in text
    assert "Beside them stand runs of [norms](norms.md) and [stabilizers](stabilizers.md)." in text
    assert re.search(r"^\| sn \| none \| −[0-9.]+ \|", text, re.MULTILINE)
    walls = [json.loads((tmp_path / "mine" / f"sn-{i}" / "summary.json").read_text())["wall_seconds"] for i in range(2)]
    assert (
        f"The runs took {duration(min(walls))} to {duration(max(walls))} each, {duration(sum(walls))} in all." in text
    )
    drawn = (tmp_path / "mine" / "fid_cifar10.svg").read_text()
    assert re.findall(r">(\w+ \(\d\))<", drawn) == ["sn (2)", "none (2)", "wn (2)"]  # not bsn, nor wn's third seed
    shutil.rmtree(tmp_path / "stabilizers")
    assert "Beside them stand runs of [norms](norms.md).\n" in write_page(mine, tmp_path).read_text()


def test_a_page_says_which_measurements_are_missing_and_counts_no_run_that_failed(tmp_path):
    shutil.copytree(RESULTS / "wn_gan", tmp_path / "wn_gan")
    study = load_study("wn_gan")
    assert "not yet measured" not in write_page(study, tmp_path).read_text()
    metrics = tmp_path / "wn_gan" / "wn-0" / "metrics.jsonl"
    metrics.write_text("".join(row for row in metrics.open() if '"checkpoint"' not in row))
    summary = tmp_path / "wn_gan" / "none-2" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"status": "diverged"}))
    text = write_page(study, tmp_path).read_text()
    assert "none-2 diverged. 1 of them are not yet measured by `gan-lab reconstruct" in text
    left = [
        json.loads(row) for path in sorted(metrics.parents[1].glob("none-[01]/metrics.jsonl")) for row in path.open()
    ]
    errors = [row["reconstruction_error"] for row in left if "checkpoint" in row and row["step"] == 3000]
    assert len(errors) == 2 and f"| none | reconstruction_error | {np.mean(errors):.5f} ±" in text
    assert text.count("(2)") == 4  # wn and none, at the end and at best


def rewrite(folder, *, steps=None, **summary):
    """Change what a run's summary states, and cut its rows to those up to step `steps`."""
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | summary))
    for name in ("train.jsonl", "metrics.jsonl") if steps else ():
        rows = [row for row in (folder / name).open() if json.loads(row)["step"] <= steps]
        (folder / name).write_text("".join(rows))


@pytest.mark.parametrize("status", ["diverged", "collapsed", "interrupted", "finished"])
def test_curves_are_of_the_runs_in_the_tables(status, tmp_path):
    """A run that failed neither enters a mean nor cuts it short; one that was interrupted does, as in the tables."""
    study = replace(load_study("norms"), cells={"sn": ("norm=sn",)})
    for where in ("all", "two"):
        for run in ("sn-0", "sn-1", "sn-2"):
            shutil.copytree(RESULTS / "norms" / run, tmp_path / where / "norms" / run)
    counts = status in ("interrupted", "finished")
    rewrite(tmp_path / "all" / "norms" / "sn-2", status=status, steps=None if status == "finished" else 4000)
    shutil.rmtree(tmp_path / "two" / "norms" / "sn-2")
    text, two = (write_page(study, tmp_path / where).read_text() for where in ("all", "two"))
    for name in ("fid_cifar10", "is_cifar10", "grad-effective-joint"):
        svg, of_two = ((tmp_path / where / "norms" / f"{name}.svg").read_text() for where in ("all", "two"))
        assert "sn (2)" in of_two and (svg == of_two) is not counts
        assert ("sn (3)" in svg) is counts
    assert ("1 of the runs are not drawn" in text) is not counts
    assert "not drawn" not in two


def test_a_run_that_was_not_measured_at_its_best_leaves_a_dash(tmp_path):
    text = (RESULTS / "norms.md").read_text()
    best = {}
    for path in (RESULTS / "norms").glob("*/summary.json"):
        summary = json.loads(path.read_text())
        rows = [json.loads(row) for row in path.with_name("metrics.jsonl").open()]
        measured = {row["step"] for row in rows if "checkpoint" in row}
        assert measured == {summary["step"]}
        best[path.parent.name] = summary["best"]["step"] in measured
    assert (
        f"12 runs in all. {sum(not there for there in best.values())} of them were not measured at their best" in text
    )
    for cell in ("sn", "bsn", "none", "bssn"):
        last = re.search(rf"^\| {cell} \| fid768 \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
        assert last[1].endswith("(3)") and last[2] == (last[1] if all(best[f"{cell}-{s}"] for s in range(3)) else "–")


def test_a_page_tests_what_was_measured_again():
    """The p values of two pages against scipy, corrected by hand."""
    for name, key, step in (("norms", "fid768", 10_000), ("wn_gan", "reconstruction_error", 3000)):
        values, cells = {}, list(load_study(name).cells)
        for cell in cells:
            paths = [RESULTS / name / f"{cell}-{seed}" / "metrics.jsonl" for seed in range(3)]
            rows = [[json.loads(row) for row in path.open()] for path in paths]
            values[cell] = [next(r[key] for r in of if "checkpoint" in r and r["step"] == step) for of in rows]
        pairs = [(a, b) for i, a in enumerate(cells) for b in cells[i + 1 :]]
        p = [scipy.stats.ttest_rel(values[a], values[b]).pvalue for a, b in pairs]
        order, adjusted = np.argsort(p), np.zeros(len(p))
        adjusted[order] = np.minimum(np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1)), 1)
        text = (RESULTS / f"{name}.md").read_text().split(f"### Tests of {key} at the end")[1].split("\n## ")[0]
        assert f"{key} at step {step:,}, difference of means" in text and f"Holm over {len(p)} comparisons" in text
        for (a, b), plain, holm in zip(pairs, p, adjusted, strict=True):
            row = re.search(rf"^\| {a} \| {b} \| (\S+) \| .* \| paired t \| (\S+) \| (\S+) \| no d", text, re.MULTILINE)
            assert float(row[2]) == pytest.approx(plain, rel=0.06) and float(row[3]) == pytest.approx(holm, rel=0.06)
            difference = np.mean(values[a]) - np.mean(values[b])
            assert float(row[1].replace("−", "-")) == pytest.approx(difference, rel=0.06)


def rows_of(run, name):
    return {row["step"]: row for row in map(json.loads, (RESULTS / run / f"{name}.jsonl").open())}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("scale, cell", [("1.0", "bsn"), ("1.4", "bssn")])
def test_runs_of_bssn_scale_are_the_beginning_of_runs_of_norms(scale, cell, seed):
    """What both pages say: seeds that chose the scale are among those that are compared with SN."""
    chose, run = f"scale-{scale}-{seed}", f"{cell}-{seed}"
    a, b = (rows_of(f"bssn_scale/{chose}", "train")[1000], rows_of(f"norms/{run}", "train")[1000])
    clocks = {"wall_seconds", "images_per_second"}
    assert len(a) > 100 and {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)} == clocks
    assert rows_of(f"norms/{cell}-2", "train")[1000]["loss/d"] != a["loss/d"]
    assert f"`{chose}`" in load_study("norms").note and f"`{run}`" in load_study("norms").note
    assert f"`{run}`" in load_study("bssn_scale").note


def test_readings_state_what_the_temperature_did_to_2c_and_d2dce():
    def last(cell):
        return rows_of(f"shapes_conditions/{cell}-0", "metrics")[1200]["label_accuracy_shapes"]

    d2dce, c2 = ([f"{last(cell + end):.2f}" for end in ("", "_t0.1")] for cell in ("d2dce_code", "2c"))
    assert d2dce == ["0.53", "0.72"] and c2 == ["0.21", "0.16"]
    row = next(line for line in (RESULTS / "README.md").open() if line.startswith("| [shapes_conditions]"))
    for text in (load_study("shapes_conditions").note, row):
        assert f"raised D2D-CE from {d2dce[0]} to {d2dce[1]}" in text and f"lowered 2C from {c2[0]} to {c2[1]}" in text
        assert "possible reason why 2C and D2D-CE are slow" in text and "Why 2C" not in text


def test_an_unknown_study_is_named(capsys):
    with pytest.raises(UserError, match="norm: no such study; did you mean 'norms'"):
        load_study("norm")
    assert main(["norm"]) == 2
    assert "there are: norms" in capsys.readouterr().err


def test_a_study_without_results_says_so(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        write_page(load_study("norms"), Path(tmp_path))
