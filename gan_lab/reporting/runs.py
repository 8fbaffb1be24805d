"""Find runs and read their files, whatever state they are in."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import yaml

from gan_lab.config.ranges import is_number
from gan_lab.config.tree import check_size
from gan_lab.diagnostics.catalogue import ROW_KEYS, Diagnostic, from_json
from gan_lab.errors import UserError, useful_line
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.reporting.formatting import count
from gan_lab.runs.files import own_evaluations, read_rows

FAILED = ("collapsed", "diverged", "failed", "unreadable")
OPEN = ("interrupted", "unfinished", "refused", "not started", "empty")
STATUSES = ("finished", *FAILED, *OPEN)

_RUN_FILES = ("config.yaml", "metrics.jsonl", "train.jsonl", "summary.json", ".hydra")
_DEEPEST = 5
_NO_FIGURES = (*ROW_KEYS, "protocol", "events")
_UNREADABLE = (OSError, ValueError, RecursionError, yaml.YAMLError)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass
class Scalars:
    """Columns of numbers: `steps` (n, increasing), and key -> values (n), NaN where a row lacks the key."""

    steps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def at(self, key: str) -> dict[int, float]:
        """Return step -> value, without missing values."""
        column = self.values.get(key)
        if column is None:
            return {}
        return {int(s): float(v) for s, v in zip(self.steps, column, strict=True) if v == v}


@dataclass(eq=False)
class Run:
    """The content of a run directory. problems: sentences about what could not be read or was left out."""

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
    later: list[dict[str, Any]] = field(default_factory=list)  # rows that gan-lab evaluate added
    train: Scalars = field(default_factory=Scalars)
    diagnostics: list[Diagnostic] = field(default_factory=list)  # of monitor.extra
    events: list[dict[str, Any]] = field(default_factory=list)
    wall_seconds: float | None = None
    images_per_second: float | None = None

    @property
    def seed(self) -> int | str | None:
        """The seed of the configuration, or of the command if there is no configuration."""
        seed = (self.overrides or {}).get("seed") if self.config is None else self.config.get("seed")
        if isinstance(seed, str) and seed.isdecimal():
            return int(seed)
        return seed if isinstance(seed, (int, str)) else None

    @property
    def step(self) -> int:
        """The last step in any file."""
        last = [int(s.steps[-1]) for s in (self.figures, self.train) if len(s.steps)]
        stated = self.summary.get("step", 0)
        return max([*last, int(stated) if is_number(stated) else 0])

    @property
    def collapses(self) -> int:
        """The number of collapse events."""
        return raised([event for event in self.events if event.get("severity") == "collapse"])

    @property
    def counts(self) -> bool:
        """Whether the run enters means: it did not fail."""
        return self.status not in FAILED


def raised(events: Sequence[dict[str, Any]]) -> int:
    """Return how many events these stand for: training counts the later ones of a kind in `more`."""
    return len(events) + sum(int(event["more"]) for event in events if is_number(event.get("more")))


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Find the run directories that the paths are or contain, each once, in the order of the paths and their names."""
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
    if any((path / mark).exists() for mark in _RUN_FILES):
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
    """Read one run. Damaged files raise nothing; they are noted in `problems`."""
    run = Run(path, name)
    run.config = _content(run, "config.yaml")
    run.overrides = _overrides(run)
    run.environment = _content(run, "environment.json") or {}
    run.summary = _content(run, "summary.json") or {}
    rows = _rows(run, "metrics.jsonl")
    run.later = [row for row in rows if "evaluated" in row or "checkpoint" in row]
    own = _one_protocol(run, own_evaluations(rows))
    _read_protocol(run)
    run.figures = _scalars(own, _NO_FIGURES)
    train_rows = _rows(run, "train.jsonl")
    run.train = _scalars(train_rows, ROW_KEYS)
    run.diagnostics = _diagnostics(run)
    run.events = _events([*own, run.summary])
    speeds = run.train.values.get("images_per_second")
    walls = [(row["step"], row["wall_seconds"]) for row in [*own, *train_rows] if is_number(row.get("wall_seconds"))]
    run.wall_seconds = _number_or(run.summary.get("wall_seconds"), max(walls)[1] if walls else None)
    speed = None if speeds is None else float(np.nanmedian(speeds))
    run.images_per_second = _number_or(run.summary.get("images_per_second"), speed)
    run.status = _status(run)
    return run


def measured_afterwards(run: Run, protocol_id: str) -> Run:
    """Return the run with the figures that `gan-lab evaluate` measured under this protocol in place of its own."""
    rows = [row for row in run.later if row.get("protocol") == protocol_id]
    found = replace(run, figures=_scalars(rows, _NO_FIGURES), protocol_id=protocol_id)
    _read_protocol(found)
    return found


def _status(run: Run) -> str:
    if (run.path / "config.yaml").exists() and run.config is None:
        return "unreadable"
    stated = run.summary.get("status")
    job = _content(run, "job.json") or {}  # written by a sweep, even for a job that never started to train
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


def _content(run: Run, file: str, kind: type = dict) -> Any:
    """Read a JSON or YAML file of this kind. None if it is missing or damaged; damage is noted as a problem."""
    path = run.path / file
    if not path.is_file():
        return None
    with _noting(run, file):
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if file.endswith(".json") else _yaml(text)
        if isinstance(content, kind):
            return content
        run.problems.append(f"{file} is not a {'mapping' if kind is dict else 'list'}")
    return None


def _yaml(text: str) -> Any:
    content = yaml.load(text, Loader=_Loader)
    check_size(content, "it")
    return content


@contextmanager
def _noting(run: Run, file: str) -> Iterator[None]:
    """End the block at damage of this file, and note it as a problem."""
    try:
        yield
    except (*_UNREADABLE, UserError) as error:
        run.problems.append(f"{file} cannot be read ({useful_line(error)[:120]})")


def _overrides(run: Run) -> dict[str, str] | None:
    """Return the overrides of the command, as Hydra recorded them: key -> value."""
    words = _content(run, ".hydra/overrides.yaml", list)
    if words is None:
        return None
    pairs = (word.lstrip("+").partition("=") for word in words if isinstance(word, str))
    return {key: value for key, _, value in pairs}


def _rows(run: Run, file: str) -> list[dict[str, Any]]:
    """Read the rows that have an integer step."""
    with _noting(run, file):
        rows = read_rows(run.path / file)
        steps: list[tuple[Any, dict[str, Any]]] = [(row.get("step"), row) for row in rows]
        return [row for step, row in steps if is_number(step) and 0 <= step < 2**63 and step == int(step)]
    return []


def _one_protocol(run: Run, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the rows with the protocol of the last row, and make it the run's protocol."""
    ids = [row["protocol"] for row in rows if _is_id(row.get("protocol"))]
    stated = run.summary.get("protocol")
    run.protocol_id = ids[-1] if ids else stated if _is_id(stated) else None
    kept = [row for row in rows if row.get("protocol") in (run.protocol_id, None)]
    if len(kept) < len(rows):
        run.problems.append(f"left out: {count(len(rows) - len(kept), 'evaluation')} under an earlier protocol")
    return kept


def _is_id(value: Any) -> TypeGuard[str]:
    """Whether a value can be a protocol's hash: it becomes part of a file name, of LaTeX and of Markdown."""
    return isinstance(value, str) and re.fullmatch(r"[\w-]{1,64}", value, re.ASCII) is not None


def _read_protocol(run: Run) -> None:
    """Read the protocol with the run's hash, from protocol.json or the file that a later evaluation wrote."""
    if run.protocol_id is None:
        return
    content = _content(run, "protocol.json") or {}
    if protocol_hash(content) != run.protocol_id:
        content = _content(run, f"protocol-{run.protocol_id}.json") or content
    run.protocol = content


def _diagnostics(run: Run) -> list[Diagnostic]:
    """Read diagnostics.json. Runs without `monitor.extra` have no such file."""
    with _noting(run, "diagnostics.json"):
        return from_json(_content(run, "diagnostics.json", list) or [])
    return []


def _scalars(rows: list[dict[str, Any]], skip: tuple[str, ...]) -> Scalars:
    """Collect the rows' numbers in columns. If two rows have the same step, the later one counts."""
    by_step = {int(row["step"]): row for row in rows}
    steps = sorted(by_step)
    numbers = [{k: v for k, v in by_step[step].items() if k not in skip and is_number(v)} for step in steps]
    keys = dict.fromkeys(key for row in numbers for key in row)
    values = {key: np.array([row.get(key, np.nan) for row in numbers], float) for key in keys}
    return Scalars(np.array(steps, np.int64), values)


def _events(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Collect the events of all rows and the summary, each once, sorted by step."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for source in sources:
        listed = source.get("events")
        for event in listed if isinstance(listed, list) else []:
            if isinstance(event, dict) and is_number(event.get("step")):
                key = (event["step"], str(event.get("kind")), str(event.get("severity")), str(event.get("message")))
                found.setdefault(key, event)
    return sorted(found.values(), key=lambda event: event["step"])


def _number_or(value: Any, other: float | None) -> float | None:
    return float(value) if is_number(value) else other
