"""rank_differences.py: what it refuses before it measures, and where the table goes."""

import pytest

from gan_lab.cli.main import run_command
from gan_lab.errors import UserError
from scripts.studies import rank_differences
from scripts.studies.rank_differences import BEGIN, END


def main(words):
    return run_command("rank_differences", rank_differences.Options, rank_differences.run, words)


@pytest.fixture
def measured(monkeypatch):
    found = []
    monkeypatch.setattr(rank_differences, "measure", lambda recipe, *rest: found.append(recipe) or (0.25, 1e-7))
    return found


@pytest.mark.parametrize("text", [None, "no marks", f"{BEGIN} only", f"{END} before {BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_document_without_its_place_is_refused_unmeasured(text, tmp_path, measured):
    path = tmp_path / "document.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"document\.md is no document with one mark"):
        main([f"out={path}"])
    assert not measured
    assert path.exists() is (text is not None) and (text is None or path.read_text() == text)


def test_an_unknown_recipe_is_refused_unmeasured(tmp_path, measured):
    with pytest.raises(UserError, match="recipes=bsm: no such recipe; did you mean 'bsn'"):
        main(["recipes=sngan_cnn,bsm"])
    assert not measured


def test_the_table_takes_the_place_of_the_old_one(tmp_path, measured, capsys):
    path = tmp_path / "document.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main([f"out={path}", "recipes=bsn,sngan_cnn", "steps=3"]) == 0
    assert measured == ["bsn", "sngan_cnn"]
    lines = path.read_text().splitlines()
    assert lines[:2] == ["before", BEGIN] and lines[-2:] == [END, "after"]
    assert lines[4:6] == ["| `bsn` | 2.5e-01 | 1.0e-07 |", "| `sngan_cnn` | 2.5e-01 | 1.0e-07 |"]
