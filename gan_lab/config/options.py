"""The folder of YAML files, `conf/`, and the options of its groups. Nothing here imports Hydra."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """`conf/` of the repository if this package lies in one, else the copy inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if (beside / "config.yaml").is_file() else package / "conf"


def group_options(group: str) -> list[str]:
    """Return the names of gan_lab's own options of a group, sorted."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))
