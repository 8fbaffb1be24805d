"""Checkpoints: written atomically, listed with their checksums in an index, loaded without executing code."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import torch

from gan_lab.errors import UserError
from gan_lab.training.files import write_atomically, write_json

log = logging.getLogger(__name__)

FORMAT_VERSION = 1


class Checkpoints:
    """The `checkpoints/` folder of a run: `step-XXXXXXXX.pt` files and `index.json`, which names latest and best.

    The last `keep` files stay, and the best one.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.index_path = folder / "index.json"

    def index(self) -> dict[str, Any]:
        """`{"latest": name, "best": name or null, "files": {name: {"step", "sha256"}}}`; empty if there is none."""
        try:
            return json.loads(self.index_path.read_text())  # type: ignore[no-any-return]
        except (FileNotFoundError, json.JSONDecodeError):
            return {"latest": None, "best": None, "files": {}}

    def save(self, content: dict[str, Any], step: int, *, best: bool = False) -> Path:
        """Write one checkpoint, then the index, then remove what the policy no longer keeps."""
        self.folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save({"format_version": FORMAT_VERSION, **content}, buffer)
        data, name = buffer.getvalue(), f"step-{step:08d}.pt"
        write_atomically(self.folder / name, data)
        index = self.index()
        index["files"][name] = {"step": step, "sha256": hashlib.sha256(data).hexdigest()}
        index["latest"] = name
        if best:
            index["best"] = name
        recent = sorted(index["files"], key=lambda n: index["files"][n]["step"])[-self.keep :]
        dropped = [n for n in index["files"] if n not in recent and n not in (index["latest"], index["best"])]
        for old in dropped:
            del index["files"][old]
        write_json(self.index_path, index)
        for old in dropped:
            (self.folder / old).unlink(missing_ok=True)
        return self.folder / name

    def latest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole; a broken one is passed over with a warning. None if there is none."""
        index = self.index()
        names = sorted(index["files"], key=lambda n: index["files"][n]["step"], reverse=True)
        for name in names:
            try:
                return load_checkpoint(self.folder / name, index["files"][name]["sha256"])
            except UserError as error:
                log.warning("%s Falling back to the checkpoint before it.", error)
        if names:
            raise UserError(f"none of the checkpoints in {self.folder} can be read; remove the folder to start over")
        return None


def load_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Read one checkpoint file onto the CPU. UserError if it is missing, damaged, or of another format version."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}.") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"the checkpoint {path} is damaged: its checksum is not the one in index.json.")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise UserError(f"{path} is not a readable checkpoint ({type(error).__name__}).") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has checkpoint format {version}, this version of gan_lab reads format {FORMAT_VERSION}."
        )
    return content  # type: ignore[no-any-return]
