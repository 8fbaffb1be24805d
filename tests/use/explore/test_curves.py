"""The explorer reads what is new in a run's files, and nothing twice."""

import json

import pytest

from gan_lab.runs.files import keep_rows_up_to, parse_row
from gan_lab.use.explore import curves
from gan_lab.use.explore.library import Library


@pytest.fixture
def parsed(monkeypatch):
    """The lines that were parsed since this list was last emptied."""
    lines = []
    monkeypatch.setattr(curves, "parse_row", lambda line: lines.append(line) or parse_row(line))
    return lines


@pytest.fixture
def run(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("trainer: {total_steps: 90}")
    return tmp_path / "a"


def add(file, *steps, **values):
    with file.open("a") as opened:
        opened.writelines(json.dumps({"step": step} | values) + "\n" for step in steps)


def test_only_new_lines_are_read(run, parsed):
    train, metrics = run / "train.jsonl", run / "metrics.jsonl"
    add(train, 1, 2, 3, **{"loss/d": 0.5, "loss/g": 1.5})
    library = Library([run], "cpu")
    assert library.progress("a")["curves"]["loss/d"] == [[1, 0.5], [2, 0.5], [3, 0.5]] and len(parsed) == 3
    before = library.progress("a")
    assert before["step"] == 3 and len(parsed) == 3
    add(train, 4, **{"loss/d": 0.75})
    add(metrics, 5, fid=9.0, protocol="p")
    found = library.progress("a")
    assert (found["step"], found["curves"]["fid"], len(parsed)) == (5, [[5, 9.0]], 5)
    assert found["curves"]["loss/d"][-1] == [4, 0.75] and found["curves"]["loss/g"][-1] == [3, 1.5]
    with train.open("a") as file:
        file.write('{"step": 6, "loss/d"')
    assert library.progress("a") == found and len(parsed) == 5
    with train.open("a") as file:
        file.write(": 2.0}\n")
    found = library.progress("a")
    assert (found["step"], found["curves"]["loss/d"][-1], len(parsed)) == (6, [6, 2.0], 6)


@pytest.mark.parametrize("again", [(), (3,), (3, 4, 5, 6, 7, 8)])  # shorter than before, and longer
def test_what_a_resumed_run_has_cut_off_is_forgotten(run, parsed, again):
    train = run / "train.jsonl"
    add(train, 1, 2, 3, 4, 5, **{"loss/d": 0.5})
    library = Library([run], "cpu")
    assert len(library.progress("a")["curves"]["loss/d"]) == 5
    parsed.clear()
    keep_rows_up_to(train, 2)
    add(train, *again, **{"loss/d": 0.7})
    expected = [[1, 0.5], [2, 0.5], *([step, 0.7] for step in again)]
    assert library.progress("a")["curves"]["loss/d"] == expected and len(parsed) == len(expected)
    train.unlink()
    assert library.progress("a")["curves"] == {}


def test_a_curve_that_grows_keeps_few_points_and_its_ends():
    curve, sizes = curves.Curve("a"), set()
    for i in range(5_000):
        curve.append({"step": i, "a": float(i)})
        points = curve.points()
        sizes.add(len(points))
        assert points[0] == [0, 0.0] and points[-1] == [i, float(i)]
    assert max(sizes) in (curves.POINTS, curves.POINTS + 1) and len(points) > curves.POINTS / 2
    gaps = {b[0] - a[0] for a, b in zip(points[:-1], points[1:-1], strict=False)}
    assert gaps == {16}
