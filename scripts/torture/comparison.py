"""What must be equal in a run that was disturbed and one that was not."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from gan_lab.errors import UserError
from gan_lab.files import read_json
from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint
from gan_lab.runs.files import parse_row, read_rows

CLOCK = ("wall_seconds", "images_per_second")
NOT_AFTER_RESUME = ("grad_cosine/d", "grad_cosine/g")  # left out where the step before was another process's


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars after its own handling of restarts."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]  # such as "7 other/images_per_second"
    tags = [tag for tag in tags if not {tag, tag.partition("/")[2]} & {*CLOCK, *NOT_AFTER_RESUME}]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def without(keys: tuple[str, ...], content: Any) -> Any:
    if isinstance(content, dict):
        return {k: without(keys, v) for k, v in content.items() if k not in keys}
    return [without(keys, v) for v in content] if isinstance(content, (list, tuple)) else content


def without_clock(content: Any) -> Any:
    return without(CLOCK, content)


def unequal(a: Any, b: Any, where: str) -> list[str]:
    """Where two nested structures differ, to the bit."""
    if type(a) is not type(b):
        return [where]
    if isinstance(a, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        bits = [t.contiguous().view(-1).view(torch.uint8) if t.numel() else t for t in (a, b)]
        return [] if same and torch.equal(*bits) else [where]
    if isinstance(a, dict):
        wrong = [f"{where}.{k}" for k in a.keys() ^ b.keys()]
        return wrong + [w for k in a.keys() & b.keys() for w in unequal(a[k], b[k], f"{where}.{k}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{where} ({len(a)} and {len(b)} entries)"]
        return [w for i, (x, y) in enumerate(zip(a, b, strict=True)) for w in unequal(x, y, f"{where}[{i}]")]
    return [] if a == b or (a != a and b != b) else [where]


def broken_checkpoints(folder: Path) -> list[str]:
    """What index.json lists and cannot be read."""
    broken = []
    for name, entry in ((read_json(folder / "checkpoints" / "index.json") or {}).get("files", {})).items():
        try:
            load_checkpoint(folder / "checkpoints" / name, entry["sha256"])
        except UserError as error:
            broken.append(str(error))
    return broken


def differences(reference: Path, run: Path, *, spared: bool = False) -> list[str]:
    """Everything in which a run that finished differs from the undisturbed one.

    `spared`: where a disk failed, older checkpoints, grids and TensorBoard's events may have been left out, and the
    best was chosen among the evaluations that have a checkpoint; what there is must still be right.
    """
    passing = (*CLOCK, "evaluations") if spared else CLOCK
    a, b = (Checkpoints(folder / "checkpoints", keep=9).latest() or {} for folder in (reference, run))
    if spared and a and b:  # see the summaries below
        a["state"]["best"] = b["state"]["best"]
    wrong = unequal(without(passing, a["state"]), without(passing, b["state"]), "state")
    for name in ("train.jsonl", "metrics.jsonl"):
        ours, theirs = (without_clock(read_rows(folder / name)) for folder in (reference, run))
        for row, other in zip(ours, theirs, strict=False):
            for key in (k for k in NOT_AFTER_RESUME if k not in other):
                row.pop(key, None)
        wrong += unequal(ours, theirs, name)
        lines = (run / name).read_bytes().splitlines() if (run / name).is_file() else []
        torn = sum(parse_row(line) is None for line in lines)
        wrong += [f"{name} has {torn} torn lines"] if torn else []
    summaries = [without(passing, read_json(folder / "summary.json")) for folder in (reference, run)]
    if spared and (best := summaries[1].get("best")):  # any evaluation, but with the figure that was measured there
        summaries[0]["best"] = best
        rows = [row for row in read_rows(reference / "metrics.jsonl") if row["step"] == best["step"]]
        wrong += unequal([row[best["metric"]] for row in rows], [best["value"]], "summary.best")
    wrong += unequal(summaries[0], summaries[1], "summary")
    indices = [read_json(folder / "checkpoints" / "index.json") for folder in (reference, run)]
    listed = [{**i, "files": sorted(i["files"])} for i in indices]
    ours, theirs = ({"latest": i["latest"]} if spared else i for i in listed)
    wrong += unequal(ours, theirs, "index") + broken_checkpoints(run)
    there = sorted(p.name for p in (run / "checkpoints").iterdir() if p.suffix == ".pt")
    wrong += [] if spared else unequal(listed[1]["files"], there, "files beside the index")
    wrong += [f"{p} was left" for p in run.rglob(".*.tmp")]
    grids = [{p.name: p.read_bytes() for p in (folder / "samples").glob("*.png")} for folder in (reference, run)]
    if spared:
        return wrong + unequal({k: grids[0].get(k) for k in grids[1]}, grids[1], "samples")
    wrong += unequal(grids[0], grids[1], "samples")
    return wrong + unequal(scalars_of(reference), scalars_of(run), "TensorBoard")
