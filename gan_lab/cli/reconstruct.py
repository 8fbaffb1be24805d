"""`scripts/reconstruct.py`: WN-GAN's reconstruction error of a run's generator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.distributed.device import pick_device
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.metrics.reconstruction import reconstruction_error
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.runs.files import append_row, storage_error, write_json
from gan_lab.use.evaluate import dataset_of
from gan_lab.use.load import find_checkpoint, load_generator

USAGE = """Searches for the z whose image is nearest to each test image, and reports the mean squared error.

    python scripts/reconstruct.py run=DIR [checkpoint=best] [recon_images=200] [recon_steps=50] [restarts=1]

recon_images  so many images, evenly spaced over the split (the paper's final figure: 2000)
recon_steps   RMSprop steps for each (the paper: 50 while training, more for the final figure)
restarts      starts for each: the first at z = 0, as in the paper, further ones at random
split         test or train
data_dir      where packed datasets live, if elsewhere than when the run was trained
ema           true: the averaged weights, false: the raw ones
seed, batch_size, device"""


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """The words of the command, checked."""
    defaults = {"run": None, "checkpoint": "best", "recon_images": "200", "recon_steps": "50", "restarts": "1",
                "split": "test", "seed": "0", "batch_size": "100", "ema": "true", "data_dir": None,
                "device": "auto", "extensions": ""}  # fmt: skip
    given: dict[str, Any] = parse_words(words, defaults)
    if given["run"] is None:
        raise UserError("run= is missing: name a run directory")
    for key, choices in (("split", ("test", "train")), ("ema", ("true", "false"))):
        if given[key] not in choices:
            raise UserError(f"{key}={given[key]}: must be {' or '.join(choices)}")
    for key, low in (("recon_images", 1), ("recon_steps", 0), ("restarts", 1), ("seed", 0), ("batch_size", 1)):
        given[key] = whole_number(key, given[key], low)
    given["extensions"] = given["extensions"].split(",") if given["extensions"] else []
    return {**given, "ema": given["ema"] == "true", "run": Path(given["run"]).expanduser()}


def reconstruct_run(given: dict[str, Any]) -> dict[str, Any]:
    """Measures a run's checkpoint and appends the row to its metrics.jsonl; returns the row with its protocol."""
    run, device = given["run"], pick_device(given["device"])
    file = find_checkpoint(run, given["checkpoint"])
    content = load_checkpoint(file)
    dataset = dataset_of(content["config"], given["data_dir"], given["extensions"])
    for key in ("resolution", "channels"):
        if content["dataset"][key] != getattr(dataset, key):
            raise UserError(f"{run} was trained on images of other {key} than {dataset.name} has now")
    G = load_generator(file, ema=given["ema"], extensions=given["extensions"]).to(device)
    if G.num_classes:
        raise UserError(f"{run} trained a conditional generator, and images are reconstructed without classes so far")
    error, protocol = reconstruction_error(
        G,
        dataset,
        device=device,
        images=given["recon_images"],
        steps=given["recon_steps"],
        restarts=given["restarts"],
        split=given["split"],
        seed=given["seed"],
        batch_size=given["batch_size"],
    )
    protocol["ema"] = given["ema"]
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
    if run.is_dir():  # a checkpoint file of its own has no log to append to
        try:
            write_json(run / f"protocol-{row['protocol']}.json", protocol)
            append_row(run / "metrics.jsonl", row)
        except OSError as error:
            raise storage_error(run / "metrics.jsonl", error) from error
    return {**row, "protocol_entries": protocol}


def reconstruct_command(words: Sequence[str]) -> int:
    """`scripts/reconstruct.py`: prints the figure as JSON on stdout; raises UserError for what does not fit."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    print(json.dumps(reconstruct_run(_settings(words)), indent=2))
    return 0
