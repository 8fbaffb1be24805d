"""The reconstruction error of a run's generator (WN-GAN, arXiv:1704.03971)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gan_lab.distributed.device import pick_device
from gan_lab.errors import UserError
from gan_lab.files import write_json
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.metrics.reconstruction import reconstruction_error
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.runs.files import append_row, storage_error
from gan_lab.use.evaluate import dataset_of
from gan_lab.use.load import find_checkpoint, load_generator


def reconstruct(
    path: str | Path,
    *,
    checkpoint: str = "best",
    ema: bool = True,
    data_dir: str | Path | None = None,
    device: str = "auto",
    extensions: Sequence[str] = (),
    **search: Any,
) -> dict[str, Any]:
    """Measure a run's reconstruction error and append the row to its metrics.jsonl.

    Args:
        path: a run directory, or a checkpoint file, of which nothing is appended anywhere.
        checkpoint: of a run directory: "best", "latest" or a step.
        ema: take the moving average of the weights, not the weights as trained.
        data_dir: where packed datasets live, if elsewhere than when the run was trained.
        device: "auto", "cpu" or "cuda".
        extensions: modules of your own that the run uses; their code is run.
        search: images, steps, restarts, split, seed and batch_size of
            `gan_lab.metrics.reconstruction.reconstruction_error`.

    Returns:
        The row, with the protocol as `protocol_entries`.

    Raises:
        UserError: a path, checkpoint or dataset that cannot be used, or a conditional generator.
    """
    run, on = Path(path), pick_device(device)
    file = find_checkpoint(run, checkpoint)
    content = load_checkpoint(file)
    dataset = dataset_of(content["config"], data_dir, extensions)
    for key in ("resolution", "channels"):
        if content["dataset"][key] != getattr(dataset, key):
            raise UserError(f"{run} was trained on images of other {key} than {dataset.name} has now")
    G = load_generator(file, ema=ema, extensions=extensions).to(on)
    if G.num_classes:
        raise UserError(f"{run} trained a conditional generator, and images are reconstructed without classes so far")
    error, protocol = reconstruction_error(G, dataset, device=on, **search)
    protocol["ema"] = ema
    state, trainer = content["state"], content["config"]["trainer"]
    row = {
        "step": state["step"],
        "images_seen": state["step"] * trainer["batch_size"] * trainer["n_dis"],
        "wall_seconds": round(float(state["wall_seconds"]), 3),
        "reconstruction_error": error,
        "protocol": protocol_hash(protocol),
        "checkpoint": file.name,
        "evaluated": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    if run.is_dir():
        try:
            write_json(run / f"protocol-{row['protocol']}.json", protocol)
            append_row(run / "metrics.jsonl", row)
        except OSError as failure:
            raise storage_error(run / "metrics.jsonl", failure) from failure
    return {**row, "protocol_entries": protocol}
