"""The runs that the explorer shows, and their generators, loaded when they are asked for."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml

from gan_lab.config.ranges import is_number
from gan_lab.data import to_pixels
from gan_lab.diagnostics.catalogue import ROW_KEYS
from gan_lab.distributed.device import pick_device
from gan_lab.errors import GanLabError, UserError
from gan_lab.files import read_json_object
from gan_lab.nets import Generator, StyledGenerator
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import own_evaluations
from gan_lab.runs.image_grid import to_pillow
from gan_lab.runs.reading import Run, last_grid
from gan_lab.use.directions import Directions, factorize, move
from gan_lab.use.explore.curves import Followed, Losses, curve_of
from gan_lab.use.exported import CONFIG, is_exported
from gan_lab.use.generate import Latents, latents_of, own_generator
from gan_lab.use.interpolate import slerp
from gan_lab.use.load import find_checkpoint
from gan_lab.use.pictures import encoded

KEPT = 4  # generators in memory
DIRECTIONS = 5
FOLLOWED = 16  # runs whose curves are in memory


@dataclass(frozen=True)
class View:
    """What an image is asked for. towards, t: the seed to go to, and how far. steps: along the directions."""

    seed: int
    towards: int | None = None
    t: float = 0.0
    y: int | None = None
    truncation: float = 1.0
    steps: tuple[float, ...] = ()


class Library:
    """Runs and exported folders below `paths`, found anew at every look.

    Generators are kept in memory, the last few that were used.
    """

    def __init__(self, paths: Sequence[Path], device: str = "auto", extensions: Sequence[str] = ()) -> None:
        self.paths, self.device, self.extensions = tuple(paths), pick_device(device, "device"), tuple(extensions)
        self._loaded = lru_cache(KEPT)(self._load)
        self._lock = threading.Lock()  # one image at a time: torch's threads share the cores anyway
        self._logs = lru_cache(FOLLOWED)(_logs)
        self._reading = threading.Lock()  # two pages would add the same new rows twice
        if not self.runs():
            raise UserError(
                f"no runs found in {', '.join(map(str, paths))}: give run directories, exported folders, or folders "
                "that hold some"
            )

    def runs(self) -> dict[str, Path]:
        """Return name -> run directory, exported folder or checkpoint file, as they are now."""
        found = sorted({place.resolve(): place for path in self.paths for place in _places(path)}.values())
        short = [place.name for place in found]
        return {p.name if short.count(p.name) == 1 else str(p): p for p in found}

    def path(self, name: str) -> Path:
        """Return the path of a run. UserError for an unknown name."""
        runs = self.runs()
        if name not in runs:
            raise UserError(f"run={name}: no such run; there are: {', '.join(runs)}")
        return runs[name]

    def describe(self, name: str) -> dict[str, Any]:
        """Return a run's name, checkpoints (newest first) and status, from its files alone."""
        path = self.path(name)
        if path.is_file() or is_exported(path):
            status = "a checkpoint file" if path.is_file() else "exported"
            return {"name": name, "checkpoints": [], "best": None, "status": status}
        try:
            index = Checkpoints(path / "checkpoints", keep=1).index()
        except GanLabError as error:  # the other runs can be shown
            return {"name": name, "checkpoints": [], "best": None, "status": str(error)}
        steps = sorted((entry["step"] for entry in index["files"].values()), reverse=True)
        best = index["files"].get(index["best"], {}).get("step")
        status = read_json_object(path / "summary.json").get("status", "training or interrupted")
        return {"name": name, "checkpoints": steps, "best": best, "status": status}

    def generator(self, name: str, checkpoint: str) -> tuple[Generator, Directions | None]:
        """Load a run's generator with its directions, if it has any. UserError if it cannot be loaded."""
        path = self.path(name)
        file = path if path.is_file() or is_exported(path) else find_checkpoint(path, checkpoint)
        with self._lock:
            return self._loaded(file, file.stat().st_mtime_ns)

    def _load(self, file: Path, changed: int) -> tuple[Generator, Directions | None]:
        """changed: when the file was written, so that a newer one in its place is loaded anew."""
        G = own_generator(file, self.device, extensions=self.extensions)
        try:
            return G, factorize(G, DIRECTIONS)
        except UserError:  # a net of one's own that says nothing of its layers
            return G, None

    def properties(self, name: str, checkpoint: str) -> dict[str, Any]:
        """Return what the page's controls depend on."""
        G, directions = self.generator(name, checkpoint)
        return {
            "resolution": G.resolution,
            "num_classes": G.num_choices,
            "class_names": G.choice_names,
            "space": "w" if isinstance(G, StyledGenerator) else "z",
            "directions": [] if directions is None else directions.values.tolist(),
        }

    def image(self, name: str, checkpoint: str, view: View) -> bytes:
        """Draw one image as PNG. UserError for a class or direction that the generator has not."""
        G, directions = self.generator(name, checkpoint)
        drawn = latents_of(G, [view.seed], None if view.y is None else [view.y])
        if view.towards is not None:
            other = latents_of(G, [view.towards])
            drawn = Latents(slerp(drawn.z[0], other.z[0], torch.tensor([view.t])), drawn.y, drawn.noise)
        if directions is None:
            directions = Directions(torch.zeros(0, G.z_dim), torch.zeros(0), "z")
        if len(view.steps) > len(directions.values):
            raise UserError(f"this generator has {len(directions.values)} directions")
        steps = torch.zeros(1, len(directions.values))
        steps[0, : len(view.steps)] = torch.tensor(view.steps)
        with self._lock:
            images = move(G, drawn, directions, steps, view.truncation, batch_size=1)
        return encoded(to_pillow(to_pixels(images)[0]), ".png")

    def progress(self, name: str) -> dict[str, Any]:
        """Return how far a run is: step, total, status, curves {name: [[step, value], ...]}, newest grid's step."""
        path = self.path(name)
        with self._reading:
            scalars, evaluations = self._logs(path)
            train, figures = scalars.look(), _own_rows(evaluations.look())
            last, losses = train.last, train.curves()
        names = [key for row in figures[-1:] for key, value in row.items() if is_number(value)]
        curves = {key: curve_of(figures, key) for key in names if key not in ROW_KEYS and not key.endswith("_std")}
        curves |= losses
        told = (read_json_object(path / name) for name in ("summary.json", CONFIG))  # of a run, of an exported folder
        steps = [row["step"] for row in (last, *figures[-1:], *told) if is_number(row.get("step"))]
        grid = self.grid(name)
        return {
            "step": max(steps, default=0),
            "total": _total_steps(path),
            "status": self.describe(name)["status"],
            "curves": {key: curve for key, curve in curves.items() if curve},
            "grid": grid[0] if grid else None,
        }

    def grid(self, name: str) -> tuple[int, Path] | None:
        """Return step and file of a run's newest sample grid."""
        return last_grid(self.path(name))


def _places(path: Path) -> Iterable[Path]:
    """Return the run directories and exported folders at or below a path, or the path itself if it is a file."""
    if path.is_file() or is_exported(path) or (path / "config.yaml").is_file():
        return [path]
    found = {file.parent for name in ("config.yaml", CONFIG) for file in path.rglob(name)}
    return [folder for folder in sorted(found) if is_exported(folder) or _is_run(folder)]


def _is_run(folder: Path) -> bool:
    """Whether a folder with a config.yaml is a run's: Hydra and sweeps write one, too."""
    if folder.name == ".hydra" or not (folder / "config.yaml").is_file():
        return False
    return (folder / "checkpoints").is_dir() or (folder / "train.jsonl").is_file()


def _logs(path: Path) -> tuple[Followed[Losses], Followed[list[dict[str, Any]]]]:
    """Return train.jsonl and metrics.jsonl of a run."""
    return Followed(path / "train.jsonl", Losses), Followed(path / "metrics.jsonl", list)


def _own_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a run's own evaluations, or those of `gan-lab evaluate` without any, as far as they have one protocol."""
    own = own_evaluations(rows)
    return [row for row in own if row.get("protocol") == own[-1].get("protocol")]


def _total_steps(path: Path) -> int | None:
    try:
        return int(Run(path).config["trainer"]["total_steps"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None
