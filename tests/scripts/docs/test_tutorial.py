"""The tutorial's commands run, at tiny sizes; the page shows what commands of these forms print."""

import re

import pytest

from gan_lab.errors import UserError
from scripts.docs import tutorial

TINY = ("width=0.0625", "trainer.total_steps=4", "trainer.eval_every_steps=2", "trainer.batch_size=4",
        "trainer.log_every_steps=2", "trainer.threads=1", "metrics.num_samples=20", "metrics.num_real=20",
        "metrics.kid=false", "metrics.precision_recall=false")  # fmt: skip


@pytest.mark.slow
def test_the_tutorial_runs_from_nothing_to_a_report(tmp_path, tiny_data, monkeypatch):
    monkeypatch.setenv("GAN_LAB_DATA", str(tiny_data))
    page = tutorial.PAGE.read_text().replace("00001500", "00000004")
    page = page.replace("seed=0,1,2", "seed=0,1").replace("num_samples=2000", "num_samples=20")
    made = tutorial.executed(page, tmp_path, TINY)
    assert re.search(r"step 4 .*fid_shapes", made) and "sweep of 4 jobs in runs/compare: 4 finished" in made
    assert (tmp_path / "mine.png").is_file() and (tmp_path / "report" / "report.md").is_file()
    commands = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    assert commands == re.findall(r"```bash\n(.*?)```", made, re.DOTALL)
    shown = re.findall(r"```text\n(.*?)```", made, re.DOTALL)
    assert len(shown) == 5 and all(text.strip() for text in shown)
    assert str(tmp_path) not in made


def test_output_and_pictures_are_replaced_and_prose_is_kept(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    command, output = "```bash\necho one\n```\n\n", "<!-- output -->\n```text\nold\n```\n\n"
    page = f"Say:\n\n{command}{output}<!-- picture: a.png -->\n![A](b/a.png)\nEnd.\n"
    made = tutorial.executed(page, tmp_path, pictures=tmp_path)
    assert made == page.replace("old", "one") and (tmp_path / "b" / "a.png").read_bytes() == b"picture"


def test_a_command_that_fails_and_a_picture_that_is_missing_stop_it(tmp_path):
    with pytest.raises(UserError, match="exit status 1"):
        tutorial.executed("```bash\nfalse\n```", tmp_path)
    with pytest.raises(UserError, match="a.png was not written"):
        tutorial.executed("<!-- picture: a.png -->\n![A](a.png)", tmp_path)


def test_long_output_loses_its_middle_and_its_times():
    text = "".join(f"[2025-01-31 12:00:0{i % 10}] line {i}\n" for i in range(30))
    shown = tutorial._shown(text).splitlines()
    assert shown[0] == "line 0" and "..." in shown and shown[-1] == "line 29" and len(shown) == 15
