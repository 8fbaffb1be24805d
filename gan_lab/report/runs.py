"""Finding runs and reading what they left behind, whatever state they are in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gan_lab.errors import UserError
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.report.numbers import count
from gan_lab.runs.files import read_rows

FAILED = ("collapsed", "diverged", "failed", "unreadable")
OPEN = ("interrupted", "unfinished", "refused", "not started", "empty")
STATUSES = ("finished", *FAILED, *OPEN)

_MARKS = ("config.yaml", "metrics.jsonl", "train.jsonl", "summary.json", ".hydra")
_NOT_FIGURES = ("step", "images_seen", "wall_seconds")
_DEEPEST = 5
_UNREADABLE = (OSError, ValueError, RecursionError, yaml.YAMLError)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Scalars:
    """Columns of numbers over steps: `steps` (n, growing), and per key n values with NaN where a row lacks it."""

    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def at(self, key: str) -> dict[int, float]:
        """step -> value, where there is one."""
        column = self.values.get(key)
        if column is None:
            return {}
        return {int(s): float(v) for s, v in zip(self.steps, column, strict=True) if v == v}


@dataclass(eq=False)
class Run:
    """A run directory as it was found. `problems` are sentences on what could not be read or was left out."""

    path: Path
    name: str
    status: str = "empty"
    problems: list[str] = field(default_factory=list)
    config: dict[str, Any] | None = None
    overrides: dict[str, str] | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    protocol_id: str | None = None
    protocol: dict[str, Any] = field(default_factory=dict)
    figures: Scalars = field(default_factory=Scalars)
    train: Scalars = field(default_factory=Scalars)
    images_seen: dict[int, int] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    wall_seconds: float | None = None
    images_per_second: float | None = None

    @property
    def seed(self) -> int | str | None:
        """The seed of the configuration, or of the command where no configuration was written."""
        if self.config is not None:
            return self.config.get("seed")
        return (self.overrides or {}).get("seed")

    @property
    def step(self) -> int:
        """The last step that left a trace."""
        last = [int(s.steps[-1]) for s in (self.figures, self.train) if len(s.steps)]
        stated = self.summary.get("step")
        return max([*last, int(stated) if is_number(stated) and stated is not None else 0])

    @property
    def counts(self) -> bool:
        """Whether its figures enter a mean: not where the run failed."""
        return self.status not in FAILED


def is_number(value: Any) -> bool:
    """A finite number; booleans are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run directories that the paths are or contain, each once, in the order of the paths and their names."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such directory; give run directories or the directory of a sweep")
        here = list(_descend(path, 0))
        if not here:
            raise UserError(f"{path}: holds no run (no folder in it has a config.yaml); give the directory of a sweep")
        for run in here:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _descend(path: Path, depth: int) -> Iterator[Path]:
    if any((path / mark).exists() for mark in _MARKS):
        yield path
        return
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return
    if not entries and depth == 1:
        yield path  # a job's folder in which nothing was written
    for entry in entries:
        if depth < _DEEPEST and entry.is_dir() and not entry.name.startswith("."):
            yield from _descend(entry, depth + 1)


def read_run(path: Path, name: str) -> Run:
    """Everything the report needs of one run. Never raises for what the files hold."""
    run = Run(path, name)
    run.config = _mapping(run, "config.yaml")
    run.overrides = _overrides(run)
    run.environment = _mapping(run, "environment.json") or {}
    run.summary = _mapping(run, "summary.json") or {}
    rows = _rows(run, "metrics.jsonl")
    own = [row for row in rows if "evaluated" not in row and "checkpoint" not in row]
    own = _one_protocol(run, own)
    _read_protocol(run)
    skip = (*_NOT_FIGURES, "protocol", "events")
    run.figures = _scalars(own, skip)
    run.images_seen = {int(r["step"]): int(r["images_seen"]) for r in own if is_number(r.get("images_seen"))}
    train_rows = _rows(run, "train.jsonl")
    run.train = _scalars(train_rows, _NOT_FIGURES)
    run.events = _events([*own, run.summary])
    timed = [row for row in [*own, *train_rows] if is_number(row.get("wall_seconds"))]
    last = max(timed, key=lambda row: row["step"], default={})
    run.wall_seconds = _first_number(run.summary.get("wall_seconds"), last.get("wall_seconds"))
    run.images_per_second = _first_number(run.summary.get("images_per_second"), _median_speed(run.train))
    run.status = _status(run)
    return run


def _status(run: Run) -> str:
    if (run.path / "config.yaml").exists() and run.config is None:
        return "unreadable"
    stated = run.summary.get("status")
    job = _mapping(run, "job.json") or {}  # what a sweep tells of a job, also of one that never came to train
    if job.get("message") and job.get("status") == (stated or job.get("status")):
        run.problems.append(str(job["message"]))
    if stated is None and job.get("status") in ("refused", "failed", "interrupted"):
        return str(job["status"])
    if stated in STATUSES:
        return str(stated)
    if stated is not None:
        run.problems.append(f"summary.json names an unknown status, {stated!r}; taken as failed")
        return "failed"
    if run.config is not None or len(run.train.steps) or len(run.figures.steps):
        return "unfinished"
    return "not started" if any(run.path.iterdir()) else "empty"


def _mapping(run: Run, file: str) -> dict[str, Any] | None:
    path = run.path / file
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if file.endswith(".json") else yaml.load(text, Loader=_Loader)
    except _UNREADABLE as error:
        run.problems.append(f"{file} cannot be read ({_first_line(error)})")
        return None
    if isinstance(content, dict):
        return content
    run.problems.append(f"{file} is not a mapping")
    return None


def _overrides(run: Run) -> dict[str, str] | None:
    """The command's overrides as Hydra recorded them, key -> value."""
    path = run.path / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return None
    try:
        words = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except _UNREADABLE:
        return None
    words = [w for w in words if isinstance(w, str)] if isinstance(words, list) else []
    pairs = (word.lstrip("+").partition("=") for word in words)
    return {key: value for key, _, value in pairs}


def _rows(run: Run, file: str) -> list[dict[str, Any]]:
    """Rows with a whole step."""
    try:
        rows = read_rows(run.path / file)
    except _UNREADABLE as error:
        run.problems.append(f"{file} cannot be read ({_first_line(error)})")
        return []
    return [row for row in rows if is_number(row.get("step")) and row["step"] == int(row["step"])]


def _one_protocol(run: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows under the protocol of the last one, which becomes the run's."""
    ids = [row["protocol"] for row in rows if isinstance(row.get("protocol"), str)]
    stated = run.summary.get("protocol")
    run.protocol_id = ids[-1] if ids else stated if isinstance(stated, str) else None
    kept = [row for row in rows if row.get("protocol") in (run.protocol_id, None)]
    if len(kept) < len(rows):
        run.problems.append(f"left out: {count(len(rows) - len(kept), 'evaluation')} under an earlier protocol")
    return kept


def _read_protocol(run: Run) -> None:
    """The entries behind the protocol's hash: from protocol.json, or the file that an evaluation left beside it."""
    if run.protocol_id is None:
        return
    content = _mapping(run, "protocol.json")
    if content is None or protocol_hash(content) != run.protocol_id:
        beside = _mapping(run, f"protocol-{run.protocol_id}.json")
        content = content if beside is None else beside
    run.protocol = content or {}


def _scalars(rows: list[dict[str, Any]], skip: tuple[str, ...]) -> Scalars:
    """Columns of the rows' numbers; of rows with one step, the later counts."""
    by_step = {int(row["step"]): row for row in rows}
    steps = sorted(by_step)
    values: dict[str, np.ndarray] = {}
    for i, step in enumerate(steps):
        for key, value in by_step[step].items():
            if key in skip or not is_number(value):
                continue
            column = values.get(key)
            if column is None:
                column = values[key] = np.full(len(steps), np.nan)
            column[i] = value
    return Scalars(np.array(steps, np.int64), values)


def _events(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of all rows and the summary, each once, by step."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for source in sources:
        listed = source.get("events")
        for event in listed if isinstance(listed, list) else []:
            if isinstance(event, dict) and is_number(event.get("step")):
                found.setdefault((event["step"], str(event.get("kind")), str(event.get("severity"))), event)
    return sorted(found.values(), key=lambda event: event["step"])


def _median_speed(train: Scalars) -> float | None:
    column = train.values.get("images_per_second")
    return None if column is None else float(np.nanmedian(column))


def _first_number(*values: Any) -> float | None:
    return next((float(v) for v in values if is_number(v)), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
