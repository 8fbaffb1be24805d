"""Paths of a configuration: absolute in config.yaml, but for what may be a name."""

from pathlib import Path

import pytest

import gan_lab
from gan_lab.config import options
from gan_lab.config.paths import expanded_paths, make_absolute


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


def test_a_run_directory_of_hydras_is_not_expanded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "elsewhere")
    tree = {"run_dir": "/x/$PLACE/runs/a", "data_dir": "/x/$PLACE"}
    found = {name: path for _, name, path in expanded_paths(tree)}
    assert found == {"data_dir": "/x/elsewhere"}
    assert [path for _, _, path in expanded_paths({"run_dir": "$PLACE/a"})] == ["elsewhere/a"]


def test_the_configuration_inside_an_installed_package_comes_before_another_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "__file__", str(tmp_path / "gan_lab" / "config" / "options.py"))
    (tmp_path / "conf").mkdir()
    assert options.config_dir() == tmp_path / "conf"  # of a clone
    (tmp_path / "gan_lab" / "conf").mkdir(parents=True)
    assert options.config_dir() == tmp_path / "gan_lab" / "conf"
