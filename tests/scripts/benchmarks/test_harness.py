"""Interleaving, spreads, goals, memory and the report, on work whose cost is known."""

import itertools
import json
import subprocess
import sys

import pytest
import torch

from scripts.benchmarks import harness, report, scaling
from scripts.benchmarks.harness import Bench, Row, Spread, compare


class Clock(Bench):
    """A clock that tells what the work says it took."""

    def seconds(self, work):
        work()
        return elapsed.pop()


elapsed = []


def test_variants_take_turns_and_ratios_are_within_rounds(monkeypatch):
    order, drift = [], itertools.count(1)

    def variant(name, cost):
        def work():
            order.append(name)
            elapsed[:] = [cost * next(drift)]  # a machine that gets slower and slower

        return work

    rows = compare(Clock(threads=2), "case", {"A": variant("A", 2.0), "B": variant("B", 1.0)}, rounds=3, warm=0)
    assert order == ["A", "B", "B", "A"] * 3
    assert [row.variant for row in rows] == ["A", "B"]
    assert rows[0].faster == Spread(1.0, 1.0, 1.0, 3)
    # In a round A costs 2 (n + n + 3), B n + 1 + n + 2: the drift cancels.
    assert rows[1].faster == Spread(2.0, 2.0, 2.0, 3)
    assert rows[1].seconds.median == pytest.approx(6.5)


def test_a_variant_in_parts_takes_the_sum_of_its_parts():
    calls = []

    def part(name, cost):
        def work():
            calls.append(name)
            elapsed[:] = [cost]

        return work

    works = {"A": part("A", 14.0), "B": [(5, part("D", 1.0)), (1, part("G", 2.0))]}
    rows = compare(Clock(threads=2), "case", works, rounds=2, warm=1)
    assert calls == ["A", "D", "G"] + ["A", "D", "G", "D", "G", "A"] * 2
    assert rows[1].seconds.median == 7.0
    assert rows[1].faster.median == 2.0


def test_on_one_thread_every_variant_has_a_process_of_its_own():
    seen = []

    def work(name, cost):
        def run():
            seen.append(name)
            elapsed[:] = [cost * len(seen)]  # counts the calls in its own process: 2 after the warm-up, then 3

        return run

    rows = compare(Clock(), "case", {"A": work("A", 2.0), "B": work("B", 1.0)}, rounds=1, warm=1)
    assert seen == []
    assert rows[0].seconds.median == 2.0 * (2 + 3) / 2 and rows[1].faster.median == 2.0


def test_processes_build_their_variants_and_are_renewed():
    """Counts of calls start again with each process; `Built` runs in it."""
    built, seen = [], []

    def make():
        built.append(1)

        def run():
            seen.append(1)
            elapsed[:] = [float(len(seen))]

        return [(1, run)]

    works = {"A": harness.Built(make), "B": harness.Built(make)}
    rows = compare(Clock(), "case", works, rounds=5, warm=1, renewed=2)
    assert built == seen == []
    once = [(2 + 3) / 2, (4 + 5) / 2, (6 + 7) / 2]  # a process of three rounds, then one of two
    assert rows[0].seconds == Spread.of(once + once[:2])
    rows = compare(Clock(), "case", works, rounds=2, warm=0, apart=False, renewed=2)
    assert len(built) == 2
    assert rows[0].seconds.n == 2


def test_a_work_may_time_itself():
    works = {"A": harness.SelfTimed(lambda: 6.0), "B": [(5, harness.SelfTimed(lambda: 0.5)), (1, lambda: None)]}
    elapsed[:] = [1.5, 1.5]
    rows = compare(Clock(), "case", works, rounds=1, warm=0, apart=False)
    assert rows[0].seconds.median == 6.0 and rows[1].faster.median == 1.5


@pytest.mark.parametrize("threads", [1, 2])
def test_processes_have_the_threads_of_the_bench(threads):
    works = {"A": harness.SelfTimed(lambda: float(torch.get_num_threads()))}
    rows = compare(Bench(threads=threads), "case", works, rounds=1, warm=0, apart=True)
    assert rows[0].seconds.median == threads
    assert torch.get_num_threads() == 1  # here: else nothing could be forked


def test_what_fails_in_a_process_is_raised_here():
    def fails():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        compare(Clock(), "case", {"A": lambda: elapsed.append(1.0), "B": fails}, rounds=1, warm=0)


def test_spread():
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0, 1)
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (("faster", "at least", 1.9), True),
        (("faster", "at least", 2.1), False),
        (("cost", "at most", 0.51), True),
        (("cost", "at most", 0.49), False),
        (("kernels", "at most", 7), True),
        (("kernels", "at least", 8), False),
        (None, None),
    ],
)
def test_goals(goal, met):
    row = Row("case", "B", Spread.of([1.0]), Spread.of([2.0]), facts={"kernels": 7}, goal=goal)
    assert row.met() is met
    again = Row.from_dict(json.loads(json.dumps(row.as_dict())))
    assert again == row
    text = report.as_text([row])
    assert ("met" in text) is (met is True)
    assert ("MISSED" in text) is (met is False)


GROWTH = """
import torch
from scripts.benchmarks import memory
print(memory.growth_of_peak(lambda: torch.ones(2**24).sum().item()))
"""


@pytest.mark.slow
def test_growth_of_peak_sees_what_is_freed_again():
    """In a process of its own: training in this one may have told the allocator to keep what is freed."""
    done = subprocess.run([sys.executable, "-c", GROWTH], cwd=harness.ROOT, capture_output=True, text=True, check=True)
    assert 0.9 * 2**26 < int(done.stdout) < 1.5 * 2**26


def test_exponent_of_a_power_law():
    assert scaling.exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2.0)
    assert scaling.exponent([1, 2, 4], [5, 5, 5]) == pytest.approx(0.0)


def test_report_shows_every_figure_with_its_spread():
    rows = [
        Row("case one", "A", Spread(2.0, 1.5, 2.5, 4), Spread(1.0, 1.0, 1.0, 4), 3 * 2**20, {"kernels": 1234}),
        Row("case one", "B", Spread(0.0021, 0.002, 0.0022, 4), Spread(952.0, 900.0, 1000.0, 4)),
    ]
    machine = {"processor": "P", "gpu": None, "torch": "T"}
    text = report.render({"suites": {"norm": {"machine": machine, "rows": [row.as_dict() for row in rows]}}})
    assert "| case one | A | 2 s (1.5 s to 2.5 s), n=4 | 1 (1 to 1), n=4 | 3 MiB | kernels 1,234 |" in text
    assert "|  | B | 2.1 ms (2 ms to 2.2 ms), n=4 | 952 (900 to 1e+03), n=4 |" in text
    assert "processor P; torch T" in text
    assert "No GPU" in text
