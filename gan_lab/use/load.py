"""Load a trained generator from a run."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.config.schema import Config
from gan_lab.config.tree import walk
from gan_lab.errors import GanLabError, UserError
from gan_lab.nets import Generator
from gan_lab.nets.build import build_generator
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint

log = logging.getLogger(__name__)

MAX_NUMBER = 2**16  # the largest setting (width, depth, side in pixels) of a generator


def find_checkpoint(path: Path, which: str | None = None) -> Path:
    """Find a checkpoint file: `path` itself, or the "best", "latest" or a step's file of a run directory.

    None: the best, else the latest. UserError if "best" is asked for and there is none.
    """
    if os.path.isfile(path):
        return path
    folder = path / "checkpoints" if os.path.isdir(path / "checkpoints") else path
    index = Checkpoints(folder, keep=1).index() if os.path.isdir(folder) else {"files": {}}
    files = sorted(name for name in index["files"] if os.path.isfile(folder / name))
    if not files:
        raise UserError(f"no checkpoints found in {path}: give a run directory or a checkpoint file")
    best, latest = (
        (index["best"] if index["best"] in files else None),
        max(files, key=lambda n: index["files"][n]["step"]),
    )
    if which is None and best is None:
        log.info("%s has no best checkpoint; taking the latest, %s", path, latest)
    if which == "best" and best is None:
        why = "its file is gone" if index["best"] else "no evaluation after step 0 chose one"
        raise UserError(f"checkpoint=best: {path} has no best checkpoint ({why}); give checkpoint=latest or a step")
    if which is not None and re.fullmatch(r"[0-9]{1,15}", which):
        name = f"step-{int(which):08d}.pt"
    elif which in (None, "best", "latest"):
        name = latest if which == "latest" else best or latest
    else:
        raise UserError(f"checkpoint={which}: must be best, latest or a step")
    if name not in files:
        raise UserError(f"{path} has no checkpoint {name}; there are: {', '.join(files)}")
    return folder / name


def load_generator(
    path: str | Path, which: str | None = None, *, ema: bool = True, extensions: Sequence[str] = ()
) -> Generator:
    """Load the generator of a run directory or checkpoint file, in evaluation mode on the CPU.

    `which` is "best", "latest" or a step; None: the best, or the latest if no metric chose one. `ema=False` loads the
    raw weights instead of their moving average. `G(G.sample_z(n, device), G.sample_y(n, device))` returns images,
    n c h w in [-1, 1].

    Untrusted files are safe to load: only generators of this package, or of the modules in `extensions`, are built.
    """
    file = find_checkpoint(Path(path), which)
    return generator_of(load_checkpoint(file), file, ema=ema, extensions=extensions)


def generator_of(content: dict[str, Any], file: Path, *, ema: bool = True, extensions: Sequence[str] = ()) -> Generator:
    """Build the generator of a checkpoint's content as `load_generator` does. `file` is named in errors."""
    try:
        properties = {k: content["dataset"][k] for k in ("resolution", "channels", "num_classes")}
        config, weights = Config.from_tree(content["config"]), content["state"]["G_ema" if ema else "G"]
        _check_sizes(config, properties, weights, tuple(extensions))
        G = build_generator(config, properties, tuple(extensions))
        G.load_state_dict(weights)
    except GanLabError as error:
        raise UserError(f"{file}: {error}") from error
    except Exception as error:  # a damaged or hostile file can raise anything
        raise UserError(f"{file} holds no generator that can be built ({type(error).__name__}: {error})") from error
    return G.eval().requires_grad_(False)


def _check_sizes(config: Config, properties: dict[str, Any], weights: Any, extensions: tuple[str, ...]) -> None:
    """Raise UserError if the net would be far larger than the weights in the file. It is built on the meta device."""
    values = [*properties.values(), *(value for _, value in walk(config.generator))]
    if any(isinstance(v, (int, float)) and not abs(v) <= MAX_NUMBER for v in values):
        raise UserError(f"its configuration holds a number above {MAX_NUMBER:,}")
    held = sum(t.untyped_storage().nbytes() for t in weights.values() if isinstance(t, Tensor))
    with torch.device("meta"):
        G = build_generator(replace(config, norm={}), properties, extensions)
    needed = sum(p.numel() * p.element_size() for p in G.parameters())
    if needed > 2 * held + 2**20:
        raise UserError(f"its configuration describes a net of {needed:,} bytes, its weights are {held:,} bytes")
