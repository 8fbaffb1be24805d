"""The triangles of events in the charts: as many as a small page can hold."""

import json
from collections.abc import Sequence
from typing import Any

from gan_lab.reporting.recipes import Recipe
from gan_lab.reporting.runs import FAILED, Run, raised

BYTES = 100_000
"""The most bytes of all marks of a page. To stay below, each run gets fewer."""
MOST = 48  # of a run: more hide each other

Mark = tuple[int, str]  # step, and what happened


def choose(recipes: Sequence[Recipe], budget: int = BYTES) -> tuple[list[list[Mark]], int]:
    """Return the marks of each recipe, and how many events have none. budget: the most bytes of the marks as JSON."""
    most = MOST
    while True:
        marks = [[_mark(event, run) for run in recipe.runs for event in of_run(run, most)] for recipe in recipes]
        if most == 0 or len(json.dumps(marks, separators=(",", ":"))) <= budget:
            break
        most //= 2
    total = sum(raised(run.events) for recipe in recipes for run in recipe.runs)
    return marks, total - sum(map(len, marks))


def of_run(run: Run, most: int) -> list[dict[str, Any]]:
    """Return at most so many of a run's events: collapses and what a failed run ended with first, then others."""
    events = run.events
    grave = [i for i, event in enumerate(events) if event.get("severity") == "collapse"]
    if events and run.status in FAILED and len(events) - 1 not in grave:
        grave.append(len(events) - 1)
    others = sorted(set(range(len(events))) - set(grave))
    return [events[i] for i in sorted([*_spaced(grave, most), *_spaced(others, most - len(grave))])]


def _spaced(items: list[int], most: int) -> list[int]:
    """Return at most so many items, evenly spaced from the last to the first."""
    n = max(min(most, len(items)), 0)
    return [items[-1 - i * (len(items) - 1) // max(n - 1, 1)] for i in range(n)]


def _mark(event: dict[str, Any], run: Run) -> Mark:
    what = event.get("message", event.get("kind", ""))
    return int(event["step"]), f"{event.get('severity', '')}: {what} (seed {run.seed})"
