"""Read a run directory from Python: its rows, settings and summary, while it is being written or later."""

import re
from pathlib import Path
from typing import Any

import yaml

from gan_lab.errors import UserError
from gan_lab.files import read_json_object
from gan_lab.runs.files import read_rows


class Run:
    """A run directory. Everything is read when it is asked for. A `Run` can stand wherever a path can."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.summary.get('status', 'not finished')})"

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, as nested dictionaries."""
        return yaml.safe_load((self.path / "config.yaml").read_text("utf-8"))  # type: ignore[no-any-return]

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json: status, final and best figures, speed. Empty while the run is under way."""
        return read_json_object(self.path / "summary.json")

    def metrics(self) -> list[dict[str, Any]]:
        """Return a dictionary for each evaluation, oldest first: step, images_seen, wall_seconds, figures, protocol.

        Values are numbers and texts only, so that `pandas.DataFrame(run.metrics())` is a table.
        """
        return _flat(self.path / "metrics.jsonl")

    def scalars(self) -> list[dict[str, Any]]:
        """Return a dictionary for each row of train.jsonl: step, losses, learning rates, diagnostics."""
        return _flat(self.path / "train.jsonl")

    def samples(self) -> list[Path]:
        """Return the grids of samples of the averaged G, oldest first."""
        return sorted((self.path / "samples").glob("samples-*.png"))


def open_run(path: str | Path) -> Run:
    """Open a run directory. Needs no torch.

    `pandas.DataFrame(gan_lab.open_run("runs/mine").metrics())` is a table of its evaluations. UserError for a folder
    that is no run directory.
    """
    folder = Path(path).expanduser()
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is no run directory: it has no config.yaml")
    return Run(folder)


def last_grid(run: Path, name: str = "samples") -> tuple[int, Path] | None:
    """Return step and file of the last samples/<name>-XXXXXXXX.png of a run directory."""
    paths = (run / "samples").glob(f"{name}-*.png")
    found = [(int(m[1]), path) for path in paths if (m := re.fullmatch(rf"{name}-(\d+)\.png", path.name))]
    return max(found, default=None)


def _flat(file: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not isinstance(v, (dict, list))} for row in read_rows(file)]
