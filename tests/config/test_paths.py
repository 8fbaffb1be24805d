"""Paths of a configuration: absolute in config.yaml, but for what may be a name."""

from pathlib import Path

import pytest

import gan_lab
from gan_lab.config.paths import make_absolute


@pytest.mark.parametrize(("there", "found"), [("nothing", "shapes"), ("folder", "shapes"), ("file", "absolute")])
def test_a_folder_of_the_name_of_shipped_weights_is_not_taken_for_them(tmp_path: Path, there: str, found: str) -> None:
    """data_dir=. has a folder `shapes`, the packed images."""
    if there != "nothing":
        (tmp_path / "shapes").touch() if there == "file" else (tmp_path / "shapes").mkdir()
    tree = {"data_dir": ".", "metrics": {"weights": "shapes"}}
    make_absolute(tree, str(tmp_path))
    assert tree["data_dir"] == str(tmp_path)
    assert tree["metrics"]["weights"] == {"absolute": str(tmp_path / "shapes")}.get(found, found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_default_trains_where_its_data_lies(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_data)
    words = ("data_dir=.", "trainer.total_steps=1", "trainer.batch_size=4", "width=0.0625", "metrics.num_samples=40",
             "metrics.num_real=40", f"hydra.run.dir={tmp_path / 'run'}")  # fmt: skip
    run = gan_lab.train(gan_lab.compose(*words))
    assert "weights: shapes" in (run / "config.yaml").read_text()
