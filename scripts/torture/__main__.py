"""`python -m scripts.torture`: shows that a run survives kill -9 and failing disks, again and again."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import option, positional
from gan_lab.config.ranges import one_of, whole
from gan_lab.errors import UserError


def is_setting(word: str) -> bool:
    """Whether a word is for the run: not one of this command's options."""
    return word.partition("=")[0] not in {f.name for f in fields(Options) if f.name != "settings"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show that a run survives kill -9 (mode=kill) and failing disks (mode=disk), resumed each time.

    Half of the kills come at a uniformly random time of a process's life, half at a random system call that writes
    (before, in the middle of, or after it), and of the first kind every fifth hits the whole program, `train.py`, from
    its start. A disk is full, for a while or for good, or fails with errors of several kinds now and then; as root a
    real small file system is full.

    Every run that comes to its end is compared with an undisturbed one: all of the state bit by bit, the rows of the
    logs but for the clock, TensorBoard's scalars, the grids, index and checksums. Exit status 1 if anything differs.
    """

    examples: ClassVar[tuple[str, ...]] = ("kills=20", "mode=disk trials=10 recipe=stylegan2 seed=3")
    mode: str = option("kill -9 at random moments, or writes that fail at random", "kill", one_of("kill", "disk"))
    kills: int = option("of mode=kill: how many, over as many runs as it takes", 100, whole(1))
    trials: int = option("of mode=disk: how many runs", 50, whole(1))
    steps: int = option("length of the run, of small nets on a few hundred images", 24, whole(1))
    draw: int = option("seed of the moments", 0, whole(0))
    folder: Path | None = option("where to work", None, shown="a temporary folder, removed if all went well")
    settings: tuple[str, ...] = positional("SETTINGS...", "any other word is a setting of the run", is_setting, ())


def run(options: Options) -> int:
    """Torture, and print what happened."""
    base = (options.folder or Path(tempfile.mkdtemp(prefix="gan_lab-torture-"))).resolve()
    if base.is_dir() and any(base.iterdir()):
        raise UserError(f"folder={base}: is not empty")
    base.mkdir(parents=True, exist_ok=True)
    import torch

    from scripts.torture.torture import Torture

    torch.set_num_threads(1)
    began = time.monotonic()
    torture = Torture(base, options.steps, options.settings, options.draw)
    counts, wrong = torture.kill(options.kills) if options.mode == "kill" else torture.disk(options.trials)
    counts["seconds"] = round(time.monotonic() - began)
    for name, number in sorted(counts.items()):
        print(f"{number:6d}  {name}")
    for line in wrong:
        print(f"WRONG   {line}")
    if not wrong and options.folder is None:
        shutil.rmtree(base)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(script("python -m scripts.torture", Options, run))
