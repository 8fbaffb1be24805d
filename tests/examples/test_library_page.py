"""The code of docs/library.md runs as it stands."""

from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"


@pytest.mark.filterwarnings("error")
def test_the_code_of_the_page_runs(capsys):
    (code,) = [part.removeprefix("python") for part in PAGE.read_text().split("```")[1::2]]
    exec(compile(code, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.startswith("{'0': (")
