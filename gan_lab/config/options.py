"""The folder of YAML files, `conf/`, and the options of its groups. Nothing here imports Hydra."""

from pathlib import Path

import yaml

from gan_lab.config.tree import all_keys

GROUPS = (
    "dataset", "generator", "discriminator", "norm", "loss",
    "penalty", "augment", "optimizer", "metrics", "monitor", "tracker", "recipe", "setting", "sweep",
)  # fmt: skip


def config_dir() -> Path:
    """`conf/` inside the package, as it is installed, whatever `conf/` lies beside it; else that of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def group_options(group: str) -> list[str]:
    """Return the names of gan_lab's own options of a group, sorted."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def keys_of_options() -> dict[str, list[str]]:
    """Return, for every key of a group that an option's file sets, the options that have it: `norm=bssn`."""
    found: dict[str, list[str]] = {}
    for group in GROUPS:
        for name in group_options(group):
            text = (config_dir() / group / f"{name}.yaml").read_text("utf-8")
            prefix = "" if "@package _global_" in text else f"{group}."
            for key in all_keys(yaml.safe_load(text) or {}):
                if f"{prefix}{key}".startswith(f"{group}."):
                    found.setdefault(f"{prefix}{key}", []).append(f"{group}={name}")
    return found
