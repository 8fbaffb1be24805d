"""The run directory: what is written while training, and whether a run found there may be continued."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from gan_lab.config.schema import Config
from gan_lab.config.targets import argument_defaults
from gan_lab.diagnostics.catalogue import Diagnostic, to_json
from gan_lab.errors import StorageError, UserError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.environment import environment, with_history
from gan_lab.runs.event_file import EventFile
from gan_lab.runs.files import (
    Appender,
    directory_error,
    json_bytes,
    keep_rows_up_to,
    parse_row,
    read_json,
    read_rows,
    reason,
    remove_temporaries,
    row_bytes,
    sync_directory,
    write_atomically,
)
from gan_lab.runs.image_grid import grid, save_png
from gan_lab.runs.lock import RunLock

log = logging.getLogger(__name__)

# Settings that say where and how a run is computed and kept, not what is computed.
_MAY_CHANGE = frozenset({
    "resume", "run_dir", "name", "data_dir", "trainer.device", "trainer.devices", "trainer.threads",
    "trainer.accelerate", "trainer.keep_checkpoints", "trainer.keep_every_steps", "trainer.rank_timeout_seconds",
})  # fmt: skip
_SMALL_FILES = ("config.yaml", "environment.json", "protocol.json", "diagnostics.json", "summary.json")


def choose_directory(config: Config) -> Path:
    """The run's folder: `run_dir` if set, else runs/<name>, else one named by the time to the microsecond."""
    if config.run_dir is not None:
        return Path(config.run_dir)
    return Path("runs") / (config.name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f"))


def _leaves(node: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted leaf settings."""
    leaves: dict[str, Any] = {}
    for key, child in node.items():
        leaves |= _leaves(child, f"{prefix}{key}.") if isinstance(child, dict) else {f"{prefix}{key}": child}
    return leaves


def changed_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`key: old -> new` for each setting that differs between two configurations.

    A setting or an argument that an earlier version of gan_lab did not know yet counts as having had its default.
    """
    known = _leaves(Config().tree()) | argument_defaults(new, tuple(new.get("extensions", ())))
    before, after = known | _leaves(old), known | _leaves(new)
    absent = "(not set)"
    return [
        f"{key}: {before.get(key, absent)} -> {after.get(key, absent)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent) and key not in _MAY_CHANGE
    ]


class RunDirectory:
    """Writes everything a run leaves behind; see README for the list of files.

    While the disk takes nothing, training goes on: rows, events and small files are kept and tried again at the next
    write, sample grids are left out, and each is warned about once. Checkpoints are the caller's.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config
        self._rows = {name: Appender(path / name) for name in ("train.jsonl", "metrics.jsonl")}
        self._owed: dict[str, bytes] = {}  # small files still to be written
        self._failed: set[str] = set()  # what was warned about
        self._restored: dict[str, Any] = {}
        self._lock: RunLock | None = None
        self._writer: EventFile | None = None

    def lock(self) -> None:
        """Make sure of being the only process here, before anything is read or written; makes the folder.

        UserError if another process trains here, or if nothing can be written here. Held until `unlock` or `close`.
        """
        if self._lock is None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = RunLock(self.path)
            except OSError as error:
                raise directory_error(self.path, error) from error

    def unlock(self) -> None:
        """Let others have the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def finished(self) -> bool:
        """Whether a run with these very settings has already come to its end here.

        UserError if the folder holds a run with other settings, unless `resume=force`, or any run at all under
        `resume=never`.
        """
        old = self._earlier_settings()
        if old is None:
            return False
        if self.config.resume == "never":
            raise UserError(f"{self.path} already holds a run and resume=never; choose another name")
        changes = changed_settings(old, self.config.tree())
        if changes and self.config.resume != "force":
            raise UserError(
                f"{self.path} holds a run with other settings ({'; '.join(changes)}); "
                "choose another name, or resume=force to go on with the new ones"
            )
        if changes:
            log.warning("resuming with changed settings: %s", "; ".join(changes))
        return not changes and self.summary().get("status") == "finished"

    def _earlier_settings(self) -> dict[str, Any] | None:
        """config.yaml of the run found here or, where it is lost, the settings in the newest checkpoint."""
        config = self.path / "config.yaml"
        try:
            old = yaml.safe_load(config.read_bytes())
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            old = None
        if isinstance(old, dict):
            return old
        content = Checkpoints(self.path / "checkpoints", keep=1).latest()
        if content is not None:
            log.warning("%s is missing or damaged; the settings in the newest checkpoint stand for it", config)
        return None if content is None else content["config"]

    def open(
        self,
        step: int,
        protocol: dict[str, Any] | None,
        diagnostics: Sequence[Diagnostic] = (),
        *,
        fresh: bool | None = None,
    ) -> None:
        """Start writing after `step` steps; rows that a resumed run will write again are dropped first.

        `diagnostics` are those of `monitor.extra`, for the report. `fresh`: nothing was taken over from an earlier
        process, which is meant by step 0 if it is not said.
        """
        fresh = step == 0 if fresh is None else fresh
        self.lock()
        settings = {k: v for k, v in self.config.tree().items() if k not in ("run_dir", "resume")}
        text = yaml.safe_dump(settings, sort_keys=False)
        now, past = environment(self.config.recipe), read_json(self.path / "environment.json")
        try:
            (self.path / "samples").mkdir(exist_ok=True)
            remove_temporaries(self.path / "samples")
            for name in (*self._rows, *_SMALL_FILES):
                remove_temporaries(self.path, name)
            Checkpoints(self.path / "checkpoints", keep=1).begin(step)
            for name, rows in self._rows.items():
                present = keep_rows_up_to(rows.path, -1 if fresh else step)
                rows.pending = [line for line in self._restored_lines(name) if line not in present]
            (self.path / "summary.json").unlink(missing_ok=True)
        except OSError as error:
            raise directory_error(self.path, error) from error
        self._put("config.yaml", text.encode(), must=fresh)
        self._put("environment.json", json_bytes(now if fresh else with_history(now, past)), must=fresh)
        if protocol is not None:
            self._put("protocol.json", json_bytes(protocol), must=fresh)
        if diagnostics:
            self._put("diagnostics.json", json_bytes(to_json(diagnostics)), must=fresh)
        self._writer = EventFile(self.path, 0 if fresh else step + 1)
        if fresh:
            self._writer.add_text("config", "    " + text.replace("\n", "\n    "), 0)

    def _put(self, name: str, data: bytes, *, must: bool = False) -> None:
        """Write a small file now or, unless it `must` be, as soon as the disk takes it."""
        self._owed[name] = data
        self._settle(must)

    def _settle(self, must: bool = False) -> None:
        for name, data in list(self._owed.items()):
            try:
                write_atomically(self.path / name, data)
            except OSError as error:
                if must:
                    raise directory_error(self.path, error) from error
                self._warn_once(name, error, "training goes on, it is tried again")
            else:
                del self._owed[name]
                self._works_again(name)

    def _warn_once(self, name: str, error: OSError, consequence: str) -> None:
        if name not in self._failed:
            self._failed.add(name)
            log.warning("cannot write %s (%s); %s", self.path / name, reason(error), consequence)

    def _works_again(self, name: str) -> None:
        if name in self._failed:
            self._failed.remove(name)
            log.warning("%s can be written again", self.path / name)

    @property
    def writer(self) -> EventFile:
        """A SummaryWriter; what it is given is written with the next row, or by its `flush`."""
        assert self._writer is not None, "open() comes first"
        return self._writer

    def scalars(self, step: int, images_seen: float, values: dict[str, float], wall_seconds: float) -> None:
        """One row of training scalars."""
        row = {"step": step, "images_seen": int(images_seen), "wall_seconds": round(wall_seconds, 3), **values}
        for name, number in values.items():
            self.writer.add_scalar(name, number, step)
        self._append("train.jsonl", row)

    def metrics(self, row: dict[str, Any]) -> None:
        """One row of an evaluation."""
        for name, number in row.items():
            if isinstance(number, (int, float)) and name not in ("step", "images_seen", "wall_seconds"):
                self.writer.add_scalar(f"metrics/{name}", number, row["step"])
        self._append("metrics.jsonl", row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name].add(row_bytes(row))
        self._rows[name].flush()
        self.writer.flush()
        self._settle()

    def metric_rows(self) -> list[dict[str, Any]]:
        """The run's own evaluations so far, without those that gan-lab evaluate appended."""
        rows = self._rows["metrics.jsonl"]
        kept_back = [row for line in rows.pending if (row := parse_row(line)) is not None]
        return [row for row in (*read_rows(rows.path), *kept_back) if "evaluated" not in row]

    def grid(self, step: int, images: Tensor, name: str = "samples") -> None:
        """A PNG grid of images (n c h w, in [-1, 1]) under samples/, and the same in TensorBoard."""
        picture = grid((images.clamp(-1, 1) + 1) / 2, columns=max(int(len(images) ** 0.5), 1))
        buffer = io.BytesIO()
        save_png(picture, buffer)
        try:
            write_atomically(self.path / "samples" / f"{name}-{step:08d}.png", buffer.getbuffer())
        except OSError as error:
            self._warn_once("samples", error, "grids are left out until it works again")
        else:
            self._works_again("samples")
        self.writer.add_image(name, picture, step)
        self.writer.flush()

    def sync(self) -> None:
        """Put all logs onto the disk itself, so that they reach as far as the checkpoint written next."""
        self._settle()
        for appender in (*self._rows.values(), self.writer.appender):
            appender.flush(sync=True)
        with suppress(OSError):
            sync_directory(self.path)

    def unwritten(self) -> dict[str, list[str]]:
        """Rows that the disk has not taken so far, by file: for the checkpoint, so that a crash does not lose them."""
        return {name: [line.decode() for line in rows.pending] for name, rows in self._rows.items() if rows.pending}

    def restore(self, unwritten: dict[str, Any]) -> None:
        """Before `open`: take over what `unwritten` gave to the checkpoint that is resumed from."""
        self._restored = unwritten

    def _restored_lines(self, name: str) -> list[bytes]:
        lines = self._restored.get(name) if isinstance(self._restored, dict) else None
        encoded = [str(line).encode() for line in lines] if isinstance(lines, list) else []
        return [line for line in encoded if line.endswith(b"\n") and parse_row(line) is not None]

    def summary(self) -> dict[str, Any]:
        """summary.json of an earlier process, or nothing."""
        content = read_json(self.path / "summary.json")
        return content if isinstance(content, dict) else {}

    def close(self, summary: dict[str, Any]) -> None:
        """Write summary.json and whatever is owed, and let others have the folder.

        StorageError if something could not be written and the status is "finished"; beside another end, which has
        an error of its own, it is only logged.
        """
        self._put("summary.json", json_bytes(summary))
        self.sync()
        self.writer.close()
        self.unlock()
        lost = [*self._owed, *(name for name, rows in self._rows.items() if rows.pending)]
        if lost:
            message = f"could not write all of {', '.join(lost)} in {self.path}"
            if summary.get("status") == "finished":
                raise StorageError(f"{message}; make room, then run the same command again to complete them.")
            log.error("%s", message)
