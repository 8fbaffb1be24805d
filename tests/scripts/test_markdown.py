"""Tables, and pages of which a part is written."""

import pytest

from gan_lab.errors import UserError
from scripts.markdown import around_marks, table, write_between_marks


def test_a_table_has_a_line_under_its_head():
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n"


def test_only_what_stands_between_the_marks_changes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- b -->\nold\n<!-- e -->\nafter\n")
    for text in ("new", "new\n"):
        write_between_marks(page, "<!-- b -->", "<!-- e -->", text)
        assert page.read_text() == "before\n<!-- b -->\nnew\n<!-- e -->\nafter\n"


@pytest.mark.parametrize("text", [None, "none", "B alone", "E before B", "B B E", "B E E", "E B E"])
def test_a_page_without_its_place_is_refused_and_kept(text, tmp_path):
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text)
    with pytest.raises(UserError, match=r"page\.md is no document with one mark B and one E"):
        write_between_marks(page, "B", "E", "new")
    with pytest.raises(UserError, match=r"page\.md is no document with one mark B and one E"):
        around_marks(page, "B", "E")
    assert page.exists() is (text is not None) and (text is None or page.read_text() == text)
