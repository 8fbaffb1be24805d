"""The run directory: writes what a run leaves on disk, and decides whether a run found there may be resumed."""

import io
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock
from torch import Tensor

from gan_lab.config.changes import allowed_changes, refusal
from gan_lab.config.schema import Config
from gan_lab.data import to_pixels
from gan_lab.data.moved import KNOWN, is_there
from gan_lab.diagnostics.catalogue import Diagnostic, to_json
from gan_lab.errors import StorageError, UserError
from gan_lab.files import json_bytes, read_json_object, reason, remove_temporaries, sync_directory, write_atomically
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.environment import environment, with_history
from gan_lab.runs.event_file import EventFile
from gan_lab.runs.files import Appender, directory_error, keep_rows_up_to, measurements, parse_row, row_bytes
from gan_lab.runs.image_grid import grid, save_png
from gan_lab.runs.lock import lock_run
from gan_lab.runs.tensorboard import Charts
from gan_lab.runs.trackers import Trackers

log = logging.getLogger(__name__)

_SMALL_FILES = ("config.yaml", "environment.json", "protocol.json", "diagnostics.json", "summary.json")


def choose_directory(config: Config) -> Path:
    """Return the run's folder: `run_dir` if set, else runs/<name>, else runs/<time to the microsecond>."""
    if config.run_dir is not None:
        return Path(config.run_dir)
    return Path("runs") / (config.name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f"))


class RunDirectory:
    """Writes all files of a run except checkpoints; docs/reference/files.md lists them.

    If the disk fails, training continues. Rows, events and small files stay in memory until the next write.
    Sample grids are dropped. Each file is warned about once.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path, self.config = path, config
        self._rows = {name: Appender(path / name) for name in ("train.jsonl", "metrics.jsonl")}
        self._pending: dict[str, bytes] = {}  # small files still to be written
        self._failed: set[str] = set()  # files that were warned about
        self._restored: dict[str, Any] = {}
        self._lock: FileLock | None = None
        self.made = False  # whether `lock` made the folder
        self._trackers = Trackers({})

    def lock(self) -> None:
        """Make the folder and lock it, before anything is read or written. Held until `unlock` or `close`.

        Raises UserError if another process trains here, UserError or StorageError if nothing can be written here.
        """
        if self._lock is None:
            try:
                self.made = not self.path.exists()
                self.path.mkdir(parents=True, exist_ok=True)
                self._lock = lock_run(self.path)
            except OSError as error:
                raise directory_error(self.path, error) from error

    def unlock(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def finished(self) -> bool:
        """Whether a run with the same settings has already finished here, all of its steps.

        Raises UserError if the folder holds a run with other settings (`gan_lab.config.changes` says which may
        differ), unless `resume=force`, or any run if `resume=never`.
        """
        old = self._earlier_settings()
        if old is None:
            return False
        if self.config.resume == "never":
            raise UserError(f"{self.path} already holds a run and resume=never; choose another name")
        refused = refusal(old, new := self.config.tree())
        if refused and self.config.resume != "force":
            raise UserError(
                f"{self.path} holds a run with {refused}; choose another name, resume=force to continue with the new "
                f"ones, or {shlex.quote(f'run={self.path}')} to continue with its own"
            )
        changes = [*allowed_changes(old, new), *([refused] if refused else [])]
        if changes:
            log.warning("resuming with changed settings: %s", "; ".join(changes))
        summary, total = self.summary(), self.config.trainer.total_steps
        return not refused and summary.get("status") == "finished" and summary.get("step", total) == total

    def earlier_data(self) -> dict[str, Any]:
        """Return what is known of the images of the run found here, {} if they lie where they lay or there is none.

        Reads the newest checkpoint, which may be large: only where the images were moved.
        """
        old, node = self._earlier_settings(), self.config.dataset
        if old is None:
            return {}
        stays = old.get("dataset", {}).get("path") == node.get("path")
        if stays and is_there(node, Path(self.config.data_dir)):
            return {}
        content = Checkpoints(self.path / "checkpoints", keep=1).latest()
        return {key: content["dataset"].get(key) for key in KNOWN} if content else {}

    def _earlier_settings(self) -> dict[str, Any] | None:
        """Read the settings of the run found here from config.yaml or, if that is damaged, the newest checkpoint."""
        config = self.path / "config.yaml"
        with suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
            if isinstance(old := yaml.safe_load(config.read_bytes()), dict):
                return old
        content = Checkpoints(self.path / "checkpoints", keep=1).latest()
        if content is not None:
            log.warning("%s is missing or damaged; using the settings in the newest checkpoint", config)
        return None if content is None else content["config"]

    def open(
        self,
        step: int,
        protocol: dict[str, Any] | None,
        diagnostics: Sequence[Diagnostic] = (),
        *,
        fresh: bool | None = None,
    ) -> None:
        """Start writing after `step` steps. First drops the rows that a resumed run will write again.

        `diagnostics` are those of `monitor.extra`, for the report. `fresh` says that the run is not resumed (None: it
        is fresh if `step` is 0).
        """
        fresh = step == 0 if fresh is None else fresh
        self.lock()
        settings = {**self.config.tree(), "run_dir": None, "resume": "auto"}  # those of one command
        text = yaml.safe_dump(settings, sort_keys=False)
        now, old = environment(self.config.recipe), read_json_object(self.path / "environment.json")
        written: dict[str, set[str]] = {name: set() for name in self._rows}  # the measurements that the logs have
        try:
            (self.path / "samples").mkdir(exist_ok=True)
            remove_temporaries(self.path / "samples")
            for name in (*self._rows, *_SMALL_FILES):
                remove_temporaries(self.path, name)
            Checkpoints(self.path / "checkpoints", keep=1).begin(step)
            for name, rows in self._rows.items():
                restored = self._restored_lines(name)
                present = keep_rows_up_to(rows.path, -1 if fresh else step, set(restored), written[name])
                for line in (line for line in restored if line not in present):
                    rows.add(line)
            (self.path / "summary.json").unlink(missing_ok=True)
        except OSError as error:
            raise directory_error(self.path, error) from error
        self._write_small_file("config.yaml", text.encode(), required=fresh)
        self._write_small_file("environment.json", json_bytes(now if fresh else with_history(now, old)), required=fresh)
        if protocol is not None:
            self._keep_protocol(protocol)
            self._write_small_file("protocol.json", json_bytes(protocol), required=fresh)
        if diagnostics:
            self._write_small_file("diagnostics.json", json_bytes(to_json(diagnostics)), required=fresh)
        self._trackers = Trackers.of(self.config)
        self._trackers.open(self.path, settings, 0 if fresh else step + 1)
        if (board := self._trackers.tensorboard) is not None:
            board.charts = Charts(board.writer, diagnostics, written["train.jsonl"], written["metrics.jsonl"])
            if fresh:
                board.writer.add_text("config", "    " + text.replace("\n", "\n    "), 0)

    def _keep_protocol(self, new: dict[str, Any]) -> None:
        """Keep an earlier protocol.json under its hash, which rows of metrics.jsonl name, where the new one differs."""
        old = read_json_object(self.path / "protocol.json")
        if old and protocol_hash(old) != protocol_hash(new):
            self._write_small_file(f"protocol-{protocol_hash(old)}.json", json_bytes(old))

    def _write_small_file(self, name: str, data: bytes, *, required: bool = False) -> None:
        """Write a file now. If that fails, raise if it is `required`, else retry at later writes."""
        self._pending[name] = data
        self._write_pending(required)

    def _write_pending(self, required: bool = False) -> None:
        for name, data in list(self._pending.items()):
            try:
                write_atomically(self.path / name, data)
            except OSError as error:
                if required:
                    raise directory_error(self.path, error) from error
                self._warn_once(name, error, "training continues and retries the write")
            else:
                del self._pending[name]
                self._warn_recovered(name)

    def _warn_once(self, name: str, error: OSError, consequence: str) -> None:
        if name not in self._failed:
            self._failed.add(name)
            log.warning("cannot write %s (%s); %s", self.path / name, reason(error), consequence)

    def _warn_recovered(self, name: str) -> None:
        if name in self._failed:
            self._failed.remove(name)
            log.warning("%s can be written again", self.path / name)

    @property
    def writer(self) -> EventFile | None:
        """TensorBoard's writer, None without that tracker. Its events are written with the next row, or by `flush`."""
        return None if self._trackers.tensorboard is None else self._trackers.tensorboard.writer

    def scalars(self, step: int, images_seen: float, values: dict[str, float], wall_seconds: float) -> None:
        """Write one row of training scalars."""
        row = {"step": step, "images_seen": int(images_seen), "wall_seconds": round(wall_seconds, 3), **values}
        self._trackers.call("scalars", step, values)
        self._append("train.jsonl", row)

    def metrics(self, row: dict[str, Any]) -> None:
        """Write one row of an evaluation."""
        self._trackers.call("metrics", row["step"], measurements(row))
        self._append("metrics.jsonl", row)

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name].add(row_bytes(row))
        self._rows[name].flush()
        self._trackers.call("flush")
        self._write_pending()

    def metric_rows(self) -> list[dict[str, Any]]:
        """Return the run's own evaluations so far, without those that `gan-lab evaluate` appended."""
        return [row for row in self._rows["metrics.jsonl"].rows() if "evaluated" not in row]

    def train_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of training scalars so far, of which a long run has too many to hold."""
        return self._rows["train.jsonl"].rows()

    def was_evaluated(self, step: int) -> bool:
        """Whether the run has an evaluation of its own at this step."""
        return any(row["step"] == step for row in self.metric_rows())

    def grid(self, step: int, images: Tensor, name: str = "samples") -> None:
        """Write a grid of images (n c h w, in [-1, 1]) as PNG under samples/, and to the trackers.

        It has eight columns, or is a square if there are fewer than 64 images.
        """
        picture = grid(to_pixels(images), columns=max(min(int(len(images) ** 0.5), 8), 1))
        buffer = io.BytesIO()
        save_png(picture, buffer)
        try:
            write_atomically(self.path / "samples" / f"{name}-{step:08d}.png", buffer.getbuffer())
        except OSError as error:
            self._warn_once("samples", error, "grids are dropped until writing works again")
        else:
            self._warn_recovered("samples")
        self._trackers.call("image", step, name, picture.permute(1, 2, 0).contiguous().numpy())
        self._trackers.call("flush")

    def sync(self) -> None:
        """Flush all logs to the disk (fsync), so that they are complete up to the checkpoint written next."""
        self._write_pending()
        for appender in (*self._rows.values(), *([] if self.writer is None else [self.writer.appender])):
            appender.flush(sync=True)
        with suppress(OSError):
            sync_directory(self.path)

    def unwritten(self) -> dict[str, list[str]]:
        """Return the rows not written yet, by file. The checkpoint stores them, so that a crash does not lose them."""
        return {name: [line.decode() for line in rows.pending] for name, rows in self._rows.items() if rows.pending}

    def restore(self, unwritten: dict[str, Any]) -> None:
        """Restore the result of `unwritten` from a checkpoint. Call this before `open`."""
        self._restored = unwritten

    def _restored_lines(self, name: str) -> list[bytes]:
        lines = self._restored.get(name) if isinstance(self._restored, dict) else None
        encoded = [str(line).encode() for line in lines] if isinstance(lines, list) else []
        return [line for line in encoded if line.endswith(b"\n") and parse_row(line) is not None]

    def summary(self) -> dict[str, Any]:
        """Read summary.json of an earlier process; {} if it is missing or damaged."""
        return read_json_object(self.path / "summary.json")

    def close(self, summary: dict[str, Any]) -> None:
        """Write summary.json and everything pending, and unlock the folder.

        If something cannot be written, raises StorageError for status "finished". Other statuses come with an error of
        their own, so it is only logged.
        """
        self._write_small_file("summary.json", json_bytes(summary))
        self.sync()
        self._trackers.call("close", str(summary.get("status")))
        self.unlock()
        lost = [*self._pending, *(name for name, rows in self._rows.items() if rows.pending)]
        if lost:
            message = f"could not write all of {', '.join(lost)} in {self.path}"
            if summary.get("status") == "finished":
                raise StorageError(f"{message}; make room, then run the same command again to complete them.")
            log.error("%s", message)
