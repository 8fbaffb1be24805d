"""Which events the charts mark where there are many."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from gan_lab.reporting.event_marks import MOST, choose, of_run
from gan_lab.reporting.runs import Run


def run_with(severities, status="finished"):
    """A run with an event at each step; severities: c for a collapse, else a warning."""
    names = {"c": "collapse"}
    events = [{"step": i, "severity": names.get(s, "warning"), "message": "x" * 80} for i, s in enumerate(severities)]
    return Run(Path("r"), "r", status, events=events)


@pytest.mark.parametrize(
    ("severities", "status", "most", "expected"),
    [
        ("wwww", "finished", 4, [0, 1, 2, 3]),
        ("w" * 9, "finished", 3, [0, 4, 8]),
        ("wcwwwwwcw", "finished", 4, [0, 1, 7, 8]),
        ("wcwwwwwcw", "finished", 2, [1, 7]),
        ("ccccccc", "collapsed", 3, [0, 3, 6]),
        ("wcwcw", "diverged", 1, [4]),  # what it ended with
        ("wcwcw", "finished", 1, [3]),
        ("wcwcw", "diverged", 3, [1, 3, 4]),
        ("wc", "finished", 0, []),
        ("", "failed", 3, []),
    ],
)
def test_collapses_and_ends_come_first_and_then_evenly_spaced_events(severities, status, most, expected):
    assert [event["step"] for event in of_run(run_with(severities, status), most)] == expected


@pytest.mark.parametrize(("budget", "most"), [(10**6, MOST), (4_000, MOST // 4), (300, 1), (100, 0)])
def test_all_marks_together_stay_within_the_budget(budget, most):
    recipes = [SimpleNamespace(runs=[run_with("w" * 60)]), SimpleNamespace(runs=[run_with("c" * 70)])]
    marks, left_out = choose(recipes, budget)
    assert [len(group) for group in marks] == [most, most] and left_out == 130 - 2 * most
    assert sum(len(text) + 8 for group in marks for _, text in group) <= budget
