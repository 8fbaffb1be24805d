"""Files that survive a crash: atomic writes, and logs of one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash at any moment, finds the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself
    finally:
        os.close(directory)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; non-finite numbers become null, since JSON has none."""
    write_atomically(path, (json.dumps(finite(content), indent=2, allow_nan=False) + "\n").encode())


def finite(content: Any) -> Any:
    """The same structure with NaN and infinities replaced by None."""
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, dict):
        return {k: finite(v) for k, v in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(v) for v in content]
    return content


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a JSON-lines file; a last line cut off by a crash is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append one object as one line, flushed to the system."""
    with open(path, "a") as file:
        file.write(json.dumps(finite(row), allow_nan=False) + "\n")


def keep_rows_up_to(path: Path, step: int) -> None:
    """Drop the rows after `step`, which a run resumed from there will write again."""
    if path.is_file():
        rows: Iterable[dict[str, Any]] = (r for r in read_rows(path) if r.get("step", 0) <= step)
        text = "".join(json.dumps(finite(r), allow_nan=False) + "\n" for r in rows)
        write_atomically(path, text.encode())
