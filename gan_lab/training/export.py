"""A trained generator out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gan_lab.builder import build_generator
from gan_lab.errors import UserError
from gan_lab.nets import Generator
from gan_lab.training.checkpoint import Checkpoints, load_checkpoint


def find_checkpoint(path: Path, which: str = "best") -> Path:
    """The checkpoint file that `path` means: itself, or of a run directory the `best`, `latest` or a step's one."""
    if path.is_file():
        return path
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    index = Checkpoints(folder, keep=1).index()
    if not index["files"]:
        raise UserError(f"no checkpoints found in {path}")
    if which.isdigit():
        name = f"step-{int(which):08d}.pt"
    elif which in ("best", "latest"):
        name = str(index.get(which) or index["latest"])
    else:
        raise UserError(f"checkpoint={which}: must be best, latest or a step")
    if name not in index["files"]:
        raise UserError(f"{path} has no checkpoint {name}; there are: {', '.join(sorted(index['files'])) or 'none'}")
    return folder / name


def load_generator(path: str | Path, which: str = "best", *, ema: bool = True) -> Generator:
    """The generator of a run directory or checkpoint file, in evaluation mode on the CPU.

    `which` is "best" (latest where no metric chose one), "latest" or a step; `ema=False` takes the raw weights
    instead of their average. `G(G.sample_z(n, device))` gives images, n c h w in [-1, 1].
    """
    content: dict[str, Any] = load_checkpoint(find_checkpoint(Path(path), which))
    facts = {k: content["dataset"][k] for k in ("resolution", "channels", "num_classes")}
    G = build_generator(content["config"], facts)
    G.load_state_dict(content["state"]["G_ema" if ema else "G"])
    return G.eval().requires_grad_(False)
