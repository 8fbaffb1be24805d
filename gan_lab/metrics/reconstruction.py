"""WN-GAN's reconstruction error: how near a generator can come to images it has not seen (arXiv:1704.03971)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import UserError
from gan_lab.metrics.protocol import protocol_hash

LR, ALPHA, EPS = 0.01, 0.9, 1e-6

USAGE = """Searches for the z whose image is nearest to each test image, and reports the mean squared error.

    python scripts/reconstruct.py run=DIR [checkpoint=best] [recon_images=200] [recon_steps=50] [restarts=1]

recon_images  so many images, evenly spaced over the split (the paper's final figure: 2000)
recon_steps   RMSprop steps for each (the paper: 50 while training, more for the final figure)
restarts      starts for each: the first at z = 0, as in the paper, further ones at random
split         test or train
data_dir      where packed datasets live, if elsewhere than when the run was trained
ema           true: the averaged weights, false: the raw ones
seed, batch_size, device"""


@contextmanager
def _at_rest(G: nn.Module) -> Iterator[None]:
    """G in evaluation mode, without gradients for its weights and with fixed noise; afterwards as it was."""
    modes = [(m, m.training) for m in G.modules()]
    trainable = [p for p in G.parameters() if p.requires_grad]
    noise = getattr(G, "noise", None)
    try:
        G.eval().requires_grad_(False)
        if noise == "random":  # the minimum of a random function is not defined
            G.noise = "constant"  # type: ignore[assignment]
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p in trainable:
            p.requires_grad_(True)
        if noise == "random":
            G.noise = noise


def _errors(G: nn.Module, z: Tensor, images: Tensor) -> Tensor:
    """Squared error of each image in [0, 1], averaged over channels and pixels: b."""
    return ((G(z).float() + 1) / 2 - images).square().flatten(1).mean(1)


def _search(G: nn.Module, z: Tensor, images: Tensor, steps: int) -> Tensor:
    """The smallest error each image met on its way from its z: b. Each z follows the gradient of its own error."""
    z = z.detach().clone().requires_grad_()
    optimizer = torch.optim.RMSprop([z], lr=LR, alpha=ALPHA, eps=EPS)
    best = torch.full((len(z),), float("inf"), device=z.device)
    for step in range(steps + 1):
        with torch.enable_grad():
            errors = _errors(G, z, images)
            if step < steps:
                (z.grad,) = torch.autograd.grad(errors.sum(), z)
        best = torch.minimum(best, errors.detach())
        if step < steps:
            optimizer.step()
    return best


def reconstruction_errors(
    G: nn.Module, images: Tensor, *, steps: int = 50, restarts: int = 1, seed: int = 0, batch_size: int = 100
) -> Tensor:
    """min over z of the mean of (G(z) - x)^2 for each x: uint8 n c h w -> float n, both on G's device.

    arXiv:1704.03971, section 4.2, numbers as in stormraiser/GAN-weight-norm: images in [0, 1], the mean over
    channels and pixels, `steps` steps of RMSprop (lr 0.01, alpha 0.9, eps 1e-6) from z = 0. Ours: the best
    error on the way counts, not the last; `restarts` - 1 further searches start at z ~ N(0, 1), drawn from
    `seed` alone. (image, restart) pairs are searched `batch_size` at a time, each by itself, so that the
    batch does not change the result. G (images in [-1, 1]) and the global generators are left as they were.
    ValueError for a setting below its minimum.
    """
    if steps < 0 or restarts < 1 or batch_size < 1 or len(images) < 1:
        raise ValueError("reconstruction needs images, steps from 0, and restarts and a batch size from 1")
    z_dim, n = int(G.z_dim), len(images)  # type: ignore[arg-type]
    drawn = torch.randn(restarts - 1, n, z_dim, generator=torch.Generator().manual_seed(mix(seed, "reconstruction")))
    starts = torch.cat([torch.zeros(1, n, z_dim), drawn]).flatten(0, 1)  # (restart image) z_dim
    found = []
    with _at_rest(G), own_randomness(mix(seed, "images"), images.device), parametrize.cached():
        for pairs in torch.arange(restarts * n).split(batch_size):
            target = images[pairs.to(images.device) % n].float() / 255
            found.append(_search(G, starts[pairs].to(images.device), target, steps))
    return torch.cat(found).view(restarts, n).amin(0)


def reconstruction_error(
    G: nn.Module,
    dataset: Any,
    *,
    device: torch.device,
    images: int = 200,
    steps: int = 50,
    restarts: int = 1,
    split: str = "test",
    seed: int = 0,
    batch_size: int = 100,
) -> tuple[float, dict[str, Any]]:
    """The mean error over images evenly spaced over a split, at most all of it, and the protocol it belongs to.

    UserError where the split is empty; otherwise as `reconstruction_errors`.
    """
    there = dataset.num_test if split == "test" else dataset.num_train
    if there == 0:
        raise UserError(f"{dataset.name} has no {split} images; choose split=train")
    n = min(images, there)
    chosen = dataset.images(split, torch.arange(n) * there // n).to(device)
    errors = reconstruction_errors(G, chosen, steps=steps, restarts=restarts, seed=seed, batch_size=batch_size)
    protocol = {
        "figure": "mean over images of the least squared error found, averaged over channels and pixels",
        "range": [0, 1],
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "resolution": dataset.resolution,
        "split": split,
        "images": n,
        "chosen": "evenly spaced",
        "optimizer": {"name": "RMSprop", "lr": LR, "alpha": ALPHA, "eps": EPS},
        "steps": steps,
        "restarts": restarts,
        "start": "z = 0, further restarts N(0, 1)",
        "counts": "the best over steps and restarts",
        "seed": seed,
    }
    return float(errors.double().mean()), protocol


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
    from gan_lab.cli.evaluate import dataset_of
    from gan_lab.distributed.device import pick_device
    from gan_lab.runs.checkpoint import load_checkpoint
    from gan_lab.runs.files import append_row, storage_error, write_json
    from gan_lab.use.load import find_checkpoint, load_generator

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
