"""What the command `train` says at the end of a run: what was reached, where the pictures are, and what to do next."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from gan_lab.files import read_json_object
from gan_lab.metrics.protocol import higher_is_better
from gan_lab.runs.progress_gif import NAME as GIF
from gan_lab.runs.reading import Run

_OWN = ("run=", "config=", "hydra.", "hydra/", "-")  # words of which `changed_run` repeats none; nor a lone name=


def closing_lines(path: Path, typed: Sequence[str]) -> list[str]:
    """Return the lines for the run in `path`, which the command `typed` (the program and its words) has ended."""
    run = Run(path)
    tool, folder = program("gan-lab"), shlex.quote(str(run.path))
    out = shlex.quote(f"{run.path.name}.png")
    commands = {
        f"{tool} sample run={folder} out={out} n=64": "64 new images",
        f"{tool} dashboard runs={folder}": "all curves",
        changed_run(run, typed): "the same with a change",
    }
    return [*reached(run), *pictures(run), "next:", *(f"  {c}  # {what}" for c, what in commands.items())]


def reached(run: Run) -> list[str]:
    """Return a line with the chosen figure at the end and at its best; [] for a run that was not evaluated."""
    best, final = run.summary.get("best"), run.summary.get("final")
    if not best or not final or final.get(best["metric"]) is None:
        return []
    name = best["metric"]
    higher = higher_is_better(read_json_object(run.path / "protocol.json"), name)
    modes = [f", {k} {v:.0f}" for k, v in final.items() if k.startswith("modes_") and not k.startswith("modes_kl")]
    direction = "higher" if higher else "lower"
    at_the_end = f"reached {name} {final[name]:.4g} ({direction} is better){''.join(modes)}"
    return [f"{at_the_end}; the best checkpoint is of step {best['step']}: {best['value']:.4g}"]


def pictures(run: Run) -> list[str]:
    """Return a line with the last grid of samples and progress.gif, as far as they are there."""
    grids, film = run.samples(), run.path / GIF
    parts = [
        *([f"samples: {grids[-1]}"] if grids else []),
        *([f"how they came about: {film}"] if film.is_file() else []),
    ]
    return ["; ".join(parts)] if parts else []


def changed_run(run: Run, typed: Sequence[str]) -> str:
    """Return a command that trains the same with another norm, or another seed where the norm was chosen, elsewhere."""
    config, words = run.config, list(typed[1:])
    name, free = config.get("name"), not any(w.startswith(("norm=", "recipe=")) for w in words)
    alone = len(words) == 1 and words[0].startswith("name=")  # which goes on with what config.yaml says
    if alone or any(w.startswith(_OWN) for w in words):
        words, free = [f"config={run.path / 'config.yaml'}"], False
        words += [f"extensions=[{','.join(own)}]"] if (own := config.get("extensions")) else []  # or it is refused
    change = ("norm", "bssn") if free else ("seed", str(config.get("seed", 0) + 1))
    words = [w for w in words if not w.startswith(("name=", f"{change[0]}="))] + ["=".join(change)]
    words += [f"name={name}-{''.join(change)}"] if name else []
    start = Path(typed[0])
    command = f"{program('python')} {start}" if start.name == "train.py" else f"{program('gan-lab')} train"
    return " ".join([command, *map(shlex.quote, words)])


def program(name: str) -> str:
    """Return `name` if a shell finds this environment's program of that name, else the path from here to it."""
    own = Path(sys.executable) if name == "python" else Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found is not None and (not own.exists() or os.path.samefile(found, own)):
        return name
    return str(from_here(own)) if own.exists() else f"{program('python')} -m gan_lab"


def from_here(path: Path) -> Path:
    """Return a path as one types it here; on Windows another drive has no relative path."""
    try:
        return Path(os.path.relpath(path))
    except ValueError:
        return path
