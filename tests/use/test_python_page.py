"""docs/python.md: its code runs, and gives what its comments say."""

import ast
from pathlib import Path

import pytest

import gan_lab

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()


def statements(code):
    """(statement, the value in the comment that ends it, or None) of a page's code."""
    lines = code.splitlines()
    for node in ast.parse(code).body:
        _, found, comment = lines[node.end_lineno - 1].partition("  # ")
        yield node, ast.literal_eval(comment) if found else None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_example_gives_what_it_says(tmp_path, monkeypatch, tiny_data):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_LAB_DATA", str(tiny_data))
    code, told = PAGE.split("```python\n")[1].split("```")[0], 0
    names = {}
    for node, expected in statements(code):
        if isinstance(node, ast.Expr):
            value = eval(compile(ast.Expression(node.value), "python.md", "eval"), names)
            assert value == expected, ast.unparse(node)
            told += 1
        else:
            exec(compile(ast.Module([node], []), "python.md", "exec"), names)
    assert told >= 6 and (tmp_path / "runs" / "first" / "summary.json").is_file()


def test_the_page_names_every_function():
    assert [name for name in gan_lab.__all__ if f"`{name}" not in PAGE and name != "build"] == []
