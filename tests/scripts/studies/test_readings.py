"""What pages written by hand say of the studies: their figures are those of the committed small files."""

import json
import re

import numpy as np
import pytest
import scipy.stats

from scripts.markdown import around_marks
from scripts.studies.__main__ import load_study
from scripts.studies.detection_study import BEGIN, END, tables
from scripts.studies.study import REPOSITORY, RESULTS

DOCS = REPOSITORY / "docs"
READING = " ".join((RESULTS / "README.md").read_text("utf-8").split())


def rows_of(study, run, name):
    return map(json.loads, (RESULTS / study / run / f"{name}.jsonl").read_text("utf-8").splitlines())


def figures(study, cell, step, key, seeds=3):
    """A figure of each seed at a step."""
    found = []
    for seed in range(seeds):
        rows = rows_of(study, f"{cell}-{seed}", "metrics")
        found += [row[key] for row in rows if row["step"] == step and row.get(key) is not None][-1:]
    assert len(found) == seeds
    return found


def summary(study, run):
    return json.loads((RESULTS / study / run / "summary.json").read_text("utf-8"))


def listed(study, cell, step, key, digits):
    return ", ".join(f"{value:.{digits}f}" for value in figures(study, cell, step, key))


def test_the_results_page_lists_the_figures_of_each_seed():
    sn, bssn = (listed("gpu", cell, 12_000, "fid768", 3) for cell in ("sn", "bssn"))
    assert f"at step 12,000 is {sn} with SN and {bssn} with BSSN (p = 0.52)" in READING
    names = {"sn": "SN", "bssn": "BSSN (scale 1.4)", "bsn": "BSN (scale 1)", "none": "no norm"}
    for cell, name in names.items():
        own = (listed("norms", cell, 10_000, key, digits) for key, digits in (("fid_cifar10", 1), ("fid768", 2)))
        assert f"| {name} | {' | '.join(own)} |" in READING
    ssn, r1r2, wn = (listed("stabilizers", cell, 6_000, "fid_cifar10", 1) for cell in ("ssn", "r1r2", "wn"))
    assert f"SSN {ssn}; R1 and R2 {r1r2}; WN {wn}." in READING
    without, paper = (listed("stylegan2_factors", cell, 6_000, "fid_shapes", 1) for cell in ("sum_unscaled", "paper"))
    assert f"the FIDs were {without}, with it {paper}:" in READING


@pytest.mark.parametrize(("cell", "name"), [("sn", "SN"), ("bssn", "BSSN"), ("none", "no norm")])
def test_the_results_page_has_the_ends_of_quarter_width_and_how_far_they_are_from_the_best(cell, name):
    steps, above, below = range(2_000, 30_001, 2_000), [], []
    for fids in zip(*(figures("quarter_width", cell, step, "fid_cifar10") for step in steps), strict=True):
        above.append(f"{100 * (fids[-1] / min(fids) - 1):.0f} %" if fids[-1] > min(fids) else "0")
    for scores in zip(*(figures("quarter_width", cell, step, "is_cifar10") for step in steps), strict=True):
        below.append(f"{max(scores) - scores[-1]:.2f}" if scores[-1] < max(scores) else "0")
    own = [listed("quarter_width", cell, 30_000, key, digits) for key, digits in (("fid_cifar10", 2), ("fid768", 3))]
    assert f"| {name} | {' | '.join(own)} | {', '.join(above)} | {', '.join(below)} |" in READING


def test_the_results_page_has_the_runs_of_quarter_width_and_those_beside_them_at_one_step():
    def of(study, cell, seeds):
        return ", ".join(f"{value:.1f}" for value in figures(study, cell, 16_000, "fid_cifar10", seeds))

    seeds = {"ssn": 2, "bsn": 1, "wn": 2, "r1r2": 1}
    kept = [path for path in (RESULTS / "quarter_width_stabilizers").iterdir() if path.is_dir()]
    assert len(kept) == sum(seeds.values())
    ssn, bsn, wn, r1r2 = (of("quarter_width_stabilizers", *cell) for cell in seeds.items())
    said = f"SSN {ssn}; BSN {bsn}; WN {wn}; R1 and R2 with the relativistic loss {r1r2};"
    sn, bssn, none = (of("quarter_width", cell, 3) for cell in ("sn", "bssn", "none"))
    assert f"{said} beside them SN {sn}; BSSN {bssn}; no norm {none}." in READING


def test_the_results_page_has_the_means_of_the_default_s_parts():
    default, classes, mapping, weights, wide, constant = (
        np.mean(figures("shapes_default", cell, 2_600, "fid_shapes"))
        for cell in ("default", "no_classes", "no_mapping", "dcgan_weights_in_d", "d_as_wide_as_g", "constant_rates")
    )
    said = f"{default:.2f} for the default, {classes:.1f} without classes, {mapping:.2f} without the mapping network, "
    assert f"{said}{weights:.2f} with DCGAN's initial weights in D, and 0.58 to 0.71 with seven other parts." in READING
    assert f"D as wide as G ({wide:.2f}) and constant rates ({constant:.2f})" in READING


@pytest.mark.parametrize(
    ("question", "study", "cells", "pairs", "step", "keys"),
    [
        ("SN against BSSN at the authors' width, step 12,000", "gpu", "sn bssn", 1, 12_000, "fid768"),
        ("SN against BSSN at a quarter of the width", "quarter_width", "sn bssn", 3, 30_000, "fid_cifar10 fid768"),
        ("SN against no norm at a quarter of the width", "quarter_width", "sn none", 3, 30_000, "fid_cifar10 fid768"),
        ("SN against BSSN at an eighth of the width", "norms", "sn bssn", 6, 10_000, "fid_cifar10 fid768"),
        ("SN against BSN there", "norms", "sn bsn", 6, 10_000, "fid_cifar10 fid768"),
        ("weight normalization against BatchNorm", "wn_gan", "wn batch", 3, 3_000, "reconstruction_error"),
        ("1/sqrt(2) or not", "stylegan2_factors", "paper sum_unscaled", 6, 6_000, "fid_shapes"),
    ],
)
def test_the_results_page_says_what_would_settle_it(question, study, cells, pairs, step, keys):
    ((said, time),) = re.findall(rf"\| {re.escape(question)}[^|]*\| ([^|]*) \| ([^|]*) \|", READING)
    walls = [summary(study, f"{cell}-{seed}")["wall_seconds"] for cell in cells.split() for seed in range(3)]
    seeds = []
    for key in keys.split():
        difference = np.subtract(*(figures(study, cell, step, key) for cell in cells.split()))
        effect = abs(difference.mean()) / difference.std(ddof=1)
        powers = (paired_power(effect, n, 0.05 / pairs) for n in range(3, 1001))
        seeds.append(next(n for n, power in enumerate(powers, 3) if power >= 0.8))
    assert said == "; ".join(map(str, seeds))
    if study != "gpu":  # its runs shared the device
        hours = re.findall(r"\d+", time.replace(",", "").replace("an hour", "1 hour"))
        assert list(map(int, hours)) == [round(n * sum(walls) / 3 / 3600) for n in seeds]


def paired_power(effect, n, alpha):
    """The power of a two-sided paired t test to find the difference with its sign; the other sign is next to never."""
    return scipy.stats.nct.sf(scipy.stats.t.ppf(1 - alpha / 2, n - 1), n - 1, effect * n**0.5)


@pytest.mark.parametrize(
    ("study", "a", "b", "step", "key", "seeds", "of_holm", "said"),
    [
        ("gpu", "sn", "bssn", 12_000, "fid768", 3, 1, "p = 0.52"),
        ("shapes_norms", "bssn", "sn", 2_600, "fid_shapes", 5, 1, "p = 0.036"),  # the largest of six: as it is
        ("shapes_norms", "default", "none", 2_600, "fid_shapes", 5, 2, "p = 0.003 against no norm"),
        ("quarter_width", "sn", "bssn", 30_000, "fid_cifar10", 3, 1, "p = 0.69 by the classifier"),
        ("quarter_width", "bssn", "none", 30_000, "fid768", 3, 3, "p is 0.098 or more"),
        ("wn_gan", "wn", "batch", 3_000, "reconstruction_error", 3, 3, "p = 0.31, corrected"),
        ("stylegan2_factors", "paper", "sum_unscaled", 6_000, "fid_shapes", 3, 1, "(paired t, p = 0.30)"),
    ],
)
def test_the_results_page_states_paired_t_tests(study, a, b, step, key, seeds, of_holm, said):
    p = scipy.stats.ttest_rel(*(figures(study, cell, step, key, seeds) for cell in (a, b))).pvalue
    (number,) = re.findall(r"0\.\d+", said)
    assert said in READING and f"{of_holm * p:.{len(number) - 2}f}" == number


def test_the_start_page_has_the_default_s_figures_of_five_seeds():
    start = (DOCS / "start.md").read_text("utf-8")
    keys = ("fid_shapes", "precision_shapes", "density_shapes", "modes_shapes")
    columns = [figures("shapes_norms", "default", 2_600, key, 5) for key in keys]
    for seed, (fid, precision, density, modes) in enumerate(zip(*columns, strict=True)):
        assert f"| {seed} | {fid:.2f} | {precision:.2f} | {density:.2f} | {modes:.0f} |" in start
    walls = [summary("shapes_norms", f"default-{seed}")["wall_seconds"] for seed in range(5)]
    least, greatest = (f"{edge(walls):.0f}" for edge in (min, max))
    readme, start = ((" ".join(text.split())) for text in ((REPOSITORY / "README.md").read_text("utf-8"), start))
    assert f"in {least} to {greatest} seconds on two cores with AVX-512" in readme
    assert f"a run took {least} to {greatest} seconds." in start
    changed = [summary("shapes_default", f"default-{seed}")["wall_seconds"] for seed in range(3)]
    assert "It takes one to three minutes on two CPU cores" in start and 60 < min(walls) < max(changed) < 180
    fresh = figures("shapes_norms", "default", 0, "fid_shapes", 5)
    assert f"An untrained G has a fid_shapes of {min(fresh):.0f} to {max(fresh):.0f}." in start
    least, greatest = (f"{edge(columns[0]):.2f}" for edge in (min, max))
    assert f"fid_shapes {least} to {greatest}," in readme


def test_the_page_on_detection_counts_the_runs_of_its_file():
    page = (DOCS / "stability.md").read_text("utf-8")
    runs = json.loads((DOCS / "stability.json").read_text("utf-8"))["runs"]
    assert around_marks(DOCS / "stability.md", BEGIN, END)[0] + f"\n{tables(runs).rstrip()}\n" in page
    learned = [run for run in runs if run["made_to"] == "learn" and run["images"] == "healthy"]
    second, third = ([r for r in learned if r["seed"] in seeds] for seeds in ((11, 12, 13), (21, 22, 23)))
    assert not any(run["collapse"] for run in learned)
    failed = [r for r in runs if r["purpose"] == "test" and r["made_to"] == "fail" and r["images"] == "failed"]
    before = [
        run["status"] == "diverged"
        or any(event["severity"] == "collapse" and event["kind"] != "not_moving" for event in run["events"])
        for run in failed
    ]
    text = " ".join(page.split())
    assert f"a second (seeds 11 to 13) had no false alarm in {len(second)} healthy runs" in text
    assert (
        f"had no false alarm in {len(third)} and {before.count(False)} of {len(failed)} missed, and `not_moving`"
        in text
    )
    assert f"With it, {sum(not run['collapse'] for run in failed)} of these {len(failed)} are missed" in text


def test_the_classifier_of_quarter_width_is_the_one_that_measured_it():
    kept = json.loads((RESULTS / "quarter_width" / "classifier.json").read_text("utf-8"))
    protocols = sorted(RESULTS.glob("quarter_width/*/protocol.json"))
    assert len(protocols) == 9
    for path in protocols:
        assert json.loads(path.read_text("utf-8"))["weights_sha256"] == kept["weights_sha256"]
    assert (kept["held_out"], kept["accuracy"]) == ("1000 images of test", 0.847)
    assert "(0.847 of 1,000 test images right)" in load_study("quarter_width").note


def logged(study, cell, key):
    """A figure of the kept rows of train.jsonl, step -> value, of each of three seeds."""
    found = []
    for seed in range(3):
        rows = rows_of(study, f"{cell}-{seed}", "train")
        found.append({row["step"]: row[key] for row in rows if row.get(key) is not None and row["step"] > 0})
    return found


def test_the_results_page_has_the_variances_and_gradients_of_figures_4_and_5():
    def variance(study, cell, step):
        return sorted(run[step] for run in logged(study, cell, "variance/convs.3"))

    def gradient(study, *cells):
        values = [v for c in cells for run in logged(study, c, "grad/effective/joint") for v in run.values()]
        return f"between {min(values):.0f} and {max(values):.0f}"

    (sn, most), bssn = variance("quarter_width", "sn", 30_000)[::2], variance("quarter_width", "bssn", 30_000)
    assert f"{sn:.4f}" == f"{most:.4f}"
    assert f"ends at {sn:.4f} with SN and at {bssn[0]:.4f} to {bssn[2]:.4f} with BSSN" in READING
    both, none = gradient("quarter_width", "sn", "bssn"), gradient("quarter_width", "none")
    assert f"normalized weights is {both} with both; without a norm it is {none}." in READING
    sn, bssn = (variance("gpu", cell, 14_000) for cell in ("sn", "bssn"))
    said = f"(at step 14,000 {bssn[0]:.5f} to {bssn[2]:.5f}, SN {sn[0]:.5f} to {sn[2]:.5f})"
    assert said in READING
    assert f"normalized weights is {gradient('gpu', 'sn', 'bssn')} in all six runs" in READING


def test_the_results_page_tests_the_default_s_parts_against_it_alone():
    cells = sorted({path.name[:-2] for path in (RESULTS / "shapes_default").iterdir() if path.is_dir()} - {"default"})
    default = figures("shapes_default", "default", 2_600, "fid_shapes")
    p = {c: scipy.stats.ttest_rel(default, figures("shapes_default", c, 2_600, "fid_shapes")).pvalue for c in cells}
    first, second, *_ = sorted(p, key=p.get)
    assert (first, second, len(cells)) == ("no_mapping", "narrower_g", 12)
    said = (
        f"the mapping network would be claimed (p = {12 * p[first]:.3f}), and G's width barely ({11 * p[second]:.3f})"
    )
    assert said in READING


def test_the_results_page_has_the_recalls_of_stylegan2_s_factors():
    def of(cell, step):
        values = figures("stylegan2_factors", cell, step, "recall_shapes")
        return ", ".join(f"{value:.1g}" if value < 0.01 else f"{value:.2f}" for value in values)

    without, factor, off, fresh = (
        of(*cell) for cell in (("length_unscaled", 6_000), ("paper", 6_000), ("no_path_length", 6_000), ("paper", 0))
    )
    assert without == "0.003, 0.0005, 0" and "Recall is 0.003, 0.0005 and 0 with the three seeds" in READING
    assert f"with the factor {factor}, without the penalty {off}; an untrained G has {fresh}" in READING
