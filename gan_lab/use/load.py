"""Load a trained generator: of a run, of a checkpoint, or exported. Nothing here imports Hydra."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gan_lab.config.schema import Config
from gan_lab.config.tree import check_size, walk
from gan_lab.errors import GanLabError, UserError
from gan_lab.nets import Generator
from gan_lab.nets.build import build_generator
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint
from gan_lab.use.exported import PROGRAM, exported_folder, known_names, read_folder, read_program

log = logging.getLogger(__name__)

MAX_NUMBER = 2**16  # the largest setting (width, depth, side in pixels) of a generator


def find_checkpoint(path: Path, which: str | int | None = None) -> Path:
    """Find a checkpoint file: `path` itself, or the "best", "latest" or a step's file of a run directory.

    None: the best, else the latest. UserError if "best" is asked for and there is none, or one in a file.
    """
    if os.path.isfile(path):
        if which is not None:
            raise UserError(f"checkpoint={which}: {path} is one checkpoint; leave it out, or give the run directory")
        return path
    which = None if which is None else str(which)
    folder = path / "checkpoints" if os.path.isdir(path / "checkpoints") else path
    index = Checkpoints(folder, keep=1).index() if os.path.isdir(folder) else {"files": {}}
    files = sorted(name for name in index["files"] if os.path.isfile(folder / name))
    if not files:
        raise UserError(f"no checkpoints found in {path}: give a run directory or a checkpoint file")
    best = index["best"] if index["best"] in files else None
    latest = max(files, key=lambda n: index["files"][n]["step"])
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
    path: str | Path,
    which: str | int | None = None,
    *,
    ema: bool = True,
    extensions: Sequence[str] = (),
    trusted: bool = False,
) -> Generator:
    """Load a generator, in evaluation mode on the CPU. Torch's random state and default dtype and device do not matter.

    Args:
        path: a run directory, a checkpoint file, what `gan_lab.export` wrote in the format hub or torch, or a model of
            the Hugging Face hub (`owner/name` or `owner/name@revision`, needs the extra `hub`).
        which: "best", "latest" or a step of a run directory. None: the best, or the latest if no metric chose one.
        ema: of a run or checkpoint: the moving average of the weights, not the raw weights.
        extensions: your own modules that define the generator; their code is executed.
        trusted: load a program of torch.export (.pt2), which can run code that its author put there.

    Returns:
        G. `G(G.sample_z(n, device), G.sample_y(n, device))` returns images, n c h w. They are in [-1, 1], but those of
        StyleGAN2 and R3GAN may exceed it.

    Raises:
        UserError: the path cannot be used, or names a generator that is neither of this package nor of `extensions`.
            Untrusted files are safe to load, with `trusted` left at False.
    """
    place = Path(path).expanduser()
    if place.suffix.lower() == PROGRAM and place.is_file():
        check_is_one(path, which, ema)
        with _usual_defaults():
            return read_program(place, trusted)
    folder = exported_folder(path)
    if folder is not None:
        check_is_one(path, which, ema)
        return exported_generator(folder, extensions)[0]
    file = find_checkpoint(place, which)
    return generator_of(load_checkpoint(file), file, ema=ema, extensions=extensions)


def check_is_one(path: str | Path, which: str | int | None, ema: bool) -> None:
    """Raise UserError if another checkpoint, or the raw weights, are asked of an exported generator, which is one."""
    if which is not None or not ema:
        asked = "the raw weights" if which is None else f"checkpoint={which}"
        raise UserError(f"{path} is one exported generator, without {asked}; leave that out, or give the run directory")


def generator_of(content: dict[str, Any], file: Path, *, ema: bool = True, extensions: Sequence[str] = ()) -> Generator:
    """Build the generator of a checkpoint's content as `load_generator` does. `file` is named in errors."""
    with _told_of(file):
        check_size(content["config"], "its configuration")
        config, weights = Config.from_tree(content["config"]), content["state"]["G_ema" if ema else "G"]
        return _assemble(config, content["dataset"], weights, tuple(extensions))


def exported_generator(folder: Path, extensions: Sequence[str] = ()) -> tuple[Generator, dict[str, Any]]:
    """Build the generator in a folder of the Hugging Face layout. Returns it and its description."""
    description, weights = read_folder(folder)
    tree = {"generator": description["generator"], "extensions": description["extensions"]}
    with _told_of(folder):
        check_size(tree, "its configuration")
        return _assemble(Config.from_tree(tree), description, weights, tuple(extensions)), description


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Name `path` in errors of a block. A damaged or hostile file can raise anything."""
    try:
        yield
    except GanLabError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        raise UserError(f"{path} holds no generator that can be built ({type(error).__name__}: {error})") from error


def _assemble(config: Config, data: Mapping[str, Any], weights: Any, extensions: tuple[str, ...]) -> Generator:
    """Build the net that `config` describes for these properties of the data, and give it its weights."""
    properties = {k: data[k] for k in ("resolution", "channels", "num_classes")}
    with _usual_defaults():
        _check_sizes(config, properties, weights, extensions)
        G = build_generator(config, properties, extensions)
        if G.num_classes and isinstance(rows := weights.get("label_rows"), Tensor):
            G.use_label_rows(len(rows))
    G.load_state_dict(weights)
    G.class_names = known_names(data, G.num_classes)
    return G.eval().requires_grad_(False)


@contextmanager
def _usual_defaults() -> Iterator[None]:
    """Build on the CPU in float32 whatever the caller's defaults, and leave the random state of the CPU alone."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPUs, too
            yield
    finally:
        torch.set_default_dtype(dtype)


def _check_sizes(config: Config, properties: dict[str, Any], weights: Any, extensions: tuple[str, ...]) -> None:
    """Raise UserError if the net would be far larger than the weights in the file. It is built on the meta device."""
    values = [*properties.values(), *(value for _, value in walk(config.generator))]
    if any(isinstance(v, (int, float)) and not abs(v) <= MAX_NUMBER for v in values):
        raise UserError(f"its configuration holds a number above {MAX_NUMBER:,}")
    tensors = [t for t in weights.values() if isinstance(t, Tensor)]
    if any(t.numel() * t.element_size() > t.untyped_storage().nbytes() for t in tensors):
        raise UserError("its weights repeat stored numbers, and would grow when they are loaded")
    held = sum(t.untyped_storage().nbytes() for t in tensors)
    with torch.device("meta"), _Undrawn():
        G = build_generator(replace(config, norm={}), properties, extensions)
    needed = sum(p.numel() * p.element_size() for p in (*G.parameters(), *G.buffers()))
    if needed > 2 * held + 2**20:
        raise UserError(f"its configuration describes a net of {needed:,} bytes, its weights are {held:,} bytes")


class _Undrawn(TorchFunctionMode):
    """Leave out the drawing of initial weights: on the meta device, it would import torch._dynamo, seconds of work."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, Tensor.normal_, Tensor.uniform_):
            return args[0] if args else kwargs["tensor"]
        if func is torch.randn:
            func = torch.empty
        return func(*args, **(kwargs or {}))
