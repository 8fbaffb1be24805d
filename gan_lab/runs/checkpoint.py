"""Checkpoints: written atomically, listed with checksums in an index, loaded without executing code."""

import hashlib
import io
import logging
import re
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from gan_lab.errors import UserError
from gan_lab.files import check_regular, read_json, reason, remove_temporaries, write_atomically, write_json
from gan_lab.runs.files import storage_error
from gan_lab.runs.migrations import FORMAT_VERSION, FORMATS, migrate

log = logging.getLogger(__name__)

_NAME = re.compile(r"step-(\d{8,})\.pt")


class FormatError(UserError):
    """The checkpoint's format is unknown to this version. It is not damaged, so no older one is loaded instead."""


class Checkpoints:
    """The `checkpoints/` folder of a run: `step-XXXXXXXX.pt` files and `index.json`, which names latest and best.

    Keeps the last `keep` files, the best one, and those at multiples of `keep_every_steps` (0: none). The index is
    `{"latest": name, "best": name or null, "files": {name: {"step": int, "sha256": hex}}}`.
    """

    def __init__(self, folder: Path, keep: int, keep_every_steps: int = 0) -> None:
        self.folder, self.keep, self.keep_every_steps = folder, keep, keep_every_steps
        self.index_path = folder / "index.json"
        self._not_removed: set[str] = set()  # removing failed; tried again by the next `save`

    def index(self) -> dict[str, Any]:
        """Load the index, adding valid checkpoints it does not list. Rebuilds it from the files if it is missing.

        A process killed between its two writes leaves a valid checkpoint that is not listed. Writes nothing.
        """
        index, complete = self._read_index()
        if not complete:
            log.warning("%s is missing or damaged; what it lacks is taken from the files beside it", self.index_path)
        files = index["files"]
        for name in self._names():
            if name in files and complete:
                continue
            try:
                content, sha256 = _read(self.folder / name, files.pop(name, None))
            except FormatError:
                raise
            except UserError as error:
                log.warning("%s It is skipped.", error)
                continue
            step = _step_of(name)
            files[name] = {"step": step, "sha256": sha256}
            best = content["state"].get("best")
            was_best = isinstance(best, dict) and best.get("step") == step
            if was_best and (index["best"] is None or step > _step_of(index["best"])):
                index["best"] = name
        index["latest"] = max(files, key=_step_of, default=None)
        return index

    def _read_index(self) -> tuple[dict[str, Any], bool]:
        """Read and validate `index.json`. Returns (index, complete): `complete` is False if an entry was dropped."""
        raw = read_json(self.index_path)
        listed = raw.get("files") if isinstance(raw, dict) else None
        if not isinstance(listed, dict):
            return {"latest": None, "best": None, "files": {}}, not self._names()
        files = {n: e for n, e in listed.items() if _is_name(n) and _is_entry(e, _step_of(n))}
        named = {key: raw.get(key) for key in ("latest", "best")}
        valid = {k: v if _is_name(v) and v in files else None for k, v in named.items()}
        return {**valid, "files": files}, len(files) == len(listed) and valid == named

    def entry(self, name: str) -> dict[str, Any] | None:
        """Return the entry of a checkpoint file in `index.json`, or None."""
        return self._read_index()[0]["files"].get(name)  # type: ignore[no-any-return]

    def _names(self) -> list[str]:
        """List the checkpoint files in the folder, oldest first."""
        return sorted((p.name for p in self.folder.glob("step-*.pt") if _is_name(p.name)), key=_step_of)

    def steps(self) -> set[int]:
        """Return the steps of the checkpoint files in the folder."""
        return {_step_of(name) for name in self._names()}

    def mark_best(self, step: int | None) -> None:
        """Name another checkpoint, or none, as the best. Only the process that writes here may call this."""
        index = self.index()
        name = None if step is None else f"step-{step:08d}.pt"
        if index["best"] != name and index["files"]:
            try:
                write_json(self.index_path, {**index, "best": name if name in index["files"] else None})
            except OSError as error:
                log.warning("cannot write %s (%s)", self.index_path, reason(error))

    def save(self, content: dict[str, Any], step: int, *, best: bool = False) -> Path:
        """Write one checkpoint, then the index, then remove the files that are no longer kept.

        Raises StorageError if writing fails; the index and the older files are then unchanged.
        """
        name = f"step-{step:08d}.pt"
        path, buffer = self.folder / name, io.BytesIO()
        torch.save({"format_version": FORMAT_VERSION, **content}, buffer)
        data = buffer.getbuffer()
        entry = {"step": step, "sha256": hashlib.sha256(data).hexdigest()}
        writing, existed = path, True
        try:
            existed = path.exists()
            self.folder.mkdir(exist_ok=True)  # without parents: a run directory that has gone is not made anew
            index, complete = self._read_index()
            if not complete:
                index = self.index()
            replaced = index["files"].get(name)
            if replaced is not None:  # list both checksums, in case the process is killed between the two writes
                replacing = {**index["files"], name: {**entry, "replaces": replaced["sha256"]}}
                write_json(self.index_path, {**index, "files": replacing})
            write_atomically(path, data)
            writing = self.index_path
            index["files"][name], index["latest"] = entry, name
            if best:
                index["best"] = name
            removed = self._names_to_remove(index)
            for old in removed:
                del index["files"][old]
            write_json(self.index_path, index)
        except OSError as error:
            # The index lists the file if only the index's last fsync failed.
            if not existed and name not in self._read_index()[0]["files"]:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise storage_error(writing, error, self._missing_space(len(data))) from error
        for old in {*removed, *self._not_removed}:
            try:
                (self.folder / old).unlink(missing_ok=True)
                self._not_removed.discard(old)
            except OSError:
                self._not_removed.add(old)
        return path

    def _names_to_remove(self, index: dict[str, Any]) -> list[str]:
        files = index["files"]
        recent = sorted(files, key=_step_of)[-self.keep :] if self.keep > 0 else []
        kept = {*recent, index["latest"], index["best"]}
        if self.keep_every_steps > 0:
            kept |= {n for n in files if _step_of(n) % self.keep_every_steps == 0}
        return [n for n in files if n not in kept]

    def _missing_space(self, need: int) -> str:
        """Words for an error message if the disk has little space left, else ""."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return ""
        return f"; it needs {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free" if free < 2 * need else ""

    def latest(self) -> dict[str, Any] | None:
        """Load the newest valid checkpoint, skipping damaged ones with a warning. Returns None if there is none.

        Raises UserError if there are checkpoints but none can be read.
        """
        index = self.index()
        files = index["files"]
        for name in sorted(files, key=_step_of, reverse=True):
            try:
                return _read(self.folder / name, files[name])[0]
            except FormatError:
                raise
            except UserError as error:
                log.warning("%s Using the checkpoint before it.", error)
        if files or self._names():
            raise UserError(f"none of the checkpoints in {self.folder} can be read; remove the folder to start over")
        return None

    def begin(self, step: int) -> None:
        """Clean up the folder for a run that continues after `step`. Only the process that writes here may call this.

        Removes temporary files. Renames the checkpoints that `latest` skipped to *.damaged: if one became readable
        again, the run would resume at a step whose log rows are gone.
        """
        if not self.folder.is_dir():
            return
        remove_temporaries(self.folder)
        try:
            index = self.index()
            files = index["files"]
            present = self._names()
            for name in present:
                if _step_of(name) > step or name not in files:
                    log.warning("%s is renamed to %s.damaged", self.folder / name, name)
                    (self.folder / name).rename(self.folder / f"{name}.damaged")
            index["files"] = {n: e for n, e in files.items() if n in present and e["step"] <= step}
            for key, fallback in (("latest", max(index["files"], key=_step_of, default=None)), ("best", None)):
                index[key] = index[key] if index[key] in index["files"] else fallback
            if index != read_json(self.index_path) and (present or self.index_path.exists()):
                write_json(self.index_path, index)
        except OSError as error:
            log.warning("cannot put %s in order (%s)", self.folder, reason(error))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _step_of(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1])


def _is_entry(entry: Any, step: int) -> bool:
    return isinstance(entry, dict) and entry.get("step") == step and isinstance(entry.get("sha256"), str)


def load_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Load a checkpoint file onto the CPU. Raises UserError if it is missing, damaged or of an unknown format.

    sha256: that of the file. None: the one in the index beside it, if it is listed there.
    """
    listed = Checkpoints(path.parent, keep=1).entry(path.name) if sha256 is None else {"sha256": sha256}
    return _read(path, listed)[0]


def _check_sizes(data: bytes) -> None:
    """Raise ValueError for a compressed archive, which could fill the memory: `torch.save` never compresses."""
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > len(data):
            raise ValueError("it is compressed")


def _read(path: Path, entry: dict[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    """Read a checkpoint and check it against its entry of the index. Returns (content in today's format, sha256)."""
    try:
        check_regular(path)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise UserError(f"cannot read the checkpoint {path}: {why}.") from error
    found = hashlib.sha256(data).hexdigest()
    if entry is not None and found not in (entry["sha256"], entry.get("replaces")):
        raise UserError(f"the checkpoint {path} is damaged: its checksum is not the one in index.json.")
    try:
        _check_sizes(data)
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file that is no checkpoint
        raise UserError(f"{path} is not a readable checkpoint ({type(error).__name__}).") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if type(version) is not int or version not in FORMATS:
        raise FormatError(
            f"{path} has checkpoint format {version}; this version of gan_lab reads formats {FORMATS[0]} to "
            f"{FORMATS[-1]}. Use the version of gan_lab that wrote it."
        )
    missing = [k for k in ("state", "config", "dataset") if not isinstance(content.get(k), dict)]
    if missing:
        raise UserError(f"{path} is not a checkpoint of a run: it has no '{missing[0]}'.")
    try:
        return migrate(content), found
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint of format {version}: {error}.") from error
