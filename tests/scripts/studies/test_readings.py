"""What pages written by hand say of the studies: their figures are those of the committed small files."""

import json

import pytest
import scipy.stats

from scripts.studies.study import REPOSITORY, RESULTS

READING = " ".join((RESULTS / "README.md").read_text("utf-8").split())


def figures(study, cell, step, key, seeds=3):
    """A figure of each seed at a step."""
    found = []
    for seed in range(seeds):
        rows = map(json.loads, (RESULTS / study / f"{cell}-{seed}" / "metrics.jsonl").read_text("utf-8").splitlines())
        found += [row[key] for row in rows if row["step"] == step and row.get(key) is not None][-1:]
    assert len(found) == seeds
    return found


@pytest.mark.parametrize(
    ("study", "cells", "step", "key", "digits"),
    [
        ("gpu", ("sn", "bssn"), 12_000, "fid768", 3),
        ("quarter_width", ("sn", "bssn", "none"), 30_000, "fid_cifar10", 2),
        ("quarter_width", ("sn", "bssn", "none"), 30_000, "fid768", 3),
        ("norms", ("sn", "bssn", "bsn", "none"), 10_000, "fid_cifar10", 1),
        ("norms", ("sn", "bssn", "bsn", "none"), 10_000, "fid768", 2),
        ("stabilizers", ("ssn", "r1r2", "wn"), 6_000, "fid_cifar10", 1),
        ("stylegan2_factors", ("paper",), 6_000, "fid_shapes", 1),
    ],
)
def test_the_results_page_lists_the_figures_of_each_seed(study, cells, step, key, digits):
    for cell in cells:
        assert ", ".join(f"{value:.{digits}f}" for value in figures(study, cell, step, key)) in READING


@pytest.mark.parametrize(
    ("study", "a", "b", "step", "key", "seeds", "of_holm", "said"),
    [
        ("gpu", "sn", "bssn", 12_000, "fid768", 3, 1, "p = 0.52"),
        ("shapes_norms", "bssn", "sn", 2_600, "fid_shapes", 5, 1, "p = 0.036"),  # the largest of six: as it is
        ("shapes_norms", "default", "none", 2_600, "fid_shapes", 5, 2, "p = 0.003 against no norm"),
        ("wn_gan", "wn", "batch", 3_000, "reconstruction_error", 3, 3, "p = 0.31, corrected"),
        ("stylegan2_factors", "paper", "sum_unscaled", 6_000, "fid_shapes", 3, 1, "p = 0.30"),
    ],
)
def test_the_results_page_states_paired_t_tests(study, a, b, step, key, seeds, of_holm, said):
    p = scipy.stats.ttest_rel(*(figures(study, cell, step, key, seeds) for cell in (a, b))).pvalue
    digits = len(said.split("0.")[1].split()[0].strip(","))
    assert said in READING and f"{of_holm * p:.{digits}f}" == said.removeprefix("p = ").split()[0].strip(",")


def test_the_start_page_has_the_default_s_figures_of_five_seeds():
    start = (REPOSITORY / "docs" / "start.md").read_text("utf-8")
    keys = ("fid_shapes", "precision_shapes", "density_shapes", "modes_shapes")
    columns = [figures("shapes_norms", "default", 2_600, key, 5) for key in keys]
    for seed, (fid, precision, density, modes) in enumerate(zip(*columns, strict=True)):
        assert f"| {seed} | {fid:.2f} | {precision:.2f} | {density:.2f} | {modes:.0f} |" in start
    least, greatest = (f"{edge(columns[0]):.2f}" for edge in (min, max))
    assert f"fid_shapes {least} to {greatest}," in (REPOSITORY / "README.md").read_text("utf-8")
