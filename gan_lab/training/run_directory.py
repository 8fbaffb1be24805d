"""The run directory: what is written while training, and whether a run found there may be continued."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid, save_image

import gan_lab
from gan_lab.config import flat_keys
from gan_lab.errors import UserError
from gan_lab.training.files import append_row, keep_rows_up_to, read_rows, write_atomically, write_json

log = logging.getLogger(__name__)

# Settings that say where and how a run is computed, not what is computed.
_MAY_CHANGE = frozenset({"resume", "run_dir", "name", "data_dir", "trainer.device", "trainer.threads"})


def choose_directory(tree: dict[str, Any]) -> Path:
    """The run's folder: `run_dir` if set, else runs/<name>, else one named by the time to the microsecond."""
    if tree["run_dir"] is not None:
        return Path(tree["run_dir"])
    return Path("runs") / (tree["name"] or datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f"))


def _comparable(tree: dict[str, Any]) -> dict[str, Any]:
    """Dotted leaf settings that make a run what it is."""

    def look_up(key: str) -> Any:
        node: Any = tree
        for part in key.split("."):
            node = node[part]
        return node

    leaves = {key: look_up(key) for key in flat_keys(tree)}
    return {k: v for k, v in leaves.items() if not isinstance(v, dict) and k not in _MAY_CHANGE}


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`key: old -> new` for each setting that differs between two configurations."""
    before, after = _comparable(old), _comparable(new)
    absent = "(not set)"
    return [
        f"{key}: {before.get(key, absent)} -> {after.get(key, absent)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent)
    ]


class RunDirectory:
    """Writes everything a run leaves behind; see README for the list of files."""

    def __init__(self, path: Path, tree: dict[str, Any]) -> None:
        self.path, self.tree = path, tree
        self.train_log, self.metrics_log = path / "train.jsonl", path / "metrics.jsonl"
        self._writer: SummaryWriter | None = None

    def finished(self) -> bool:
        """Whether a run with these very settings has already come to its end here.

        UserError if the folder holds a run with other settings, unless `resume=force`, or any run at all under
        `resume=never`.
        """
        config = self.path / "config.yaml"
        if not config.is_file():
            return False
        if self.tree["resume"] == "never":
            raise UserError(f"{self.path} already holds a run and resume=never; choose another name")
        try:
            old = yaml.safe_load(config.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{config} cannot be read ({error}); remove the folder or choose another name") from error
        changes = changed_settings(old if isinstance(old, dict) else {}, self.tree)
        if changes and self.tree["resume"] != "force":
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(changes)}); "
                "choose another name, or resume=force to go on with the new ones"
            )
        if changes:
            log.warning("resuming with changed settings: %s", "; ".join(changes))
        return not changes and self.summary().get("status") == "finished"

    def open(self, step: int, protocol: dict[str, Any] | None) -> None:
        """Start writing after `step` steps; rows that a resumed run will write again are dropped first."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "samples").mkdir(exist_ok=True)
            keep = step if step > 0 else -1
            for file in (self.train_log, self.metrics_log):
                keep_rows_up_to(file, keep)
            (self.path / "summary.json").unlink(missing_ok=True)
            saved = {k: v for k, v in self.tree.items() if k not in ("run_dir", "resume")}
            write_atomically(self.path / "config.yaml", yaml.safe_dump(saved, sort_keys=False).encode())
            write_json(self.path / "environment.json", environment(self.tree))
            if protocol is not None:
                write_json(self.path / "protocol.json", protocol)
        except OSError as error:
            raise UserError(f"cannot write to the run directory {self.path}: {error.strerror}") from error
        self._writer = SummaryWriter(str(self.path), purge_step=step + 1 if step else None)
        if step == 0:
            text = yaml.safe_dump(saved, sort_keys=False)
            self._writer.add_text("config", "    " + text.replace("\n", "\n    "), 0)

    @property
    def writer(self) -> SummaryWriter:
        assert self._writer is not None, "open() comes first"
        return self._writer

    def scalars(self, step: int, images_seen: float, values: dict[str, float], wall_seconds: float) -> None:
        """One row of training scalars."""
        row = {"step": step, "images_seen": int(images_seen), "wall_seconds": round(wall_seconds, 3), **values}
        append_row(self.train_log, row)
        for name, number in values.items():
            self.writer.add_scalar(name, number, step)

    def metrics(self, row: dict[str, Any]) -> None:
        """One row of an evaluation."""
        append_row(self.metrics_log, row)
        for name, number in row.items():
            if isinstance(number, (int, float)) and name not in ("step", "images_seen", "wall_seconds"):
                self.writer.add_scalar(f"metrics/{name}", number, row["step"])

    def metric_rows(self) -> list[dict[str, Any]]:
        """The run's own evaluations so far, without those that scripts/evaluate.py appended."""
        return [row for row in read_rows(self.metrics_log) if "evaluated" not in row]

    def grid(self, step: int, images: Tensor, name: str = "samples") -> None:
        """A PNG grid of images (n c h w, in [-1, 1]) under samples/, and the same in TensorBoard."""
        picture = make_grid((images.float().cpu().clamp(-1, 1) + 1) / 2, nrow=max(int(len(images) ** 0.5), 1))
        save_image(picture, str(self.path / "samples" / f"{name}-{step:08d}.png"))
        self.writer.add_image(name, picture, step)

    def summary(self) -> dict[str, Any]:
        """summary.json of an earlier process, or nothing."""
        try:
            content = json.loads((self.path / "summary.json").read_text())
        except (OSError, json.JSONDecodeError):
            return {}
        return content if isinstance(content, dict) else {}

    def close(self, summary: dict[str, Any]) -> None:
        """Write summary.json and flush TensorBoard."""
        write_json(self.path / "summary.json", summary)
        self.writer.close()


def environment(tree: dict[str, Any]) -> dict[str, Any]:
    """Versions, device, commit and command: what one needs to run the same again."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for package in ("torch", "torchvision", "hydra-core", "omegaconf", "torchmetrics", "torch-fidelity", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    here = Path(gan_lab.__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    cuda = torch.cuda.is_available()
    return {
        "gan_lab": gan_lab.__version__,
        "git_commit": commit or None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "recipe": tree["recipe"],
    }
