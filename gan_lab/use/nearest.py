"""The training images nearest to samples, and the share of samples that copy one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.config.ranges import one_of, whole
from gan_lab.data import to_pixels
from gan_lab.distributed.device import pick_device
from gan_lab.errors import UserError
from gan_lab.linalg import float64_device
from gan_lab.metrics.functional.memorization import copies, nearest_neighbours
from gan_lab.use.checks import check
from gan_lab.use.features import Features, features_for, load_trained
from gan_lab.use.generate import Classes, class_numbers, generate, latents_of
from gan_lab.use.pictures import FORMATS, check_suffix, write_picture

BLOCK = 256


def nearest(
    path: str | Path,
    out: str | Path | None = "nearest.png",
    n: int = 1000,
    *,
    seed: int = 0,
    classes: Classes = None,
    truncation: float = 1.0,
    rows: int = 8,
    k: int = 5,
    first: str = "nearest",
    scale: int = 1,
    metrics: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    dataset_path: str | Path | None = None,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    extensions: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare samples with the training images: a picture of neighbours, and a figure of memorization.

    Args:
        path: a run directory or a checkpoint file.
        out: a picture (.png, .jpg, .webp) with a row for each of a few samples: the sample, then its k nearest training
            images, nearest first. None: no picture.
        n, seed: how many samples, from which seed on.
        classes: one for all samples, by number or name. None: drawn from the seeds.
        rows, first: how many samples the picture shows: those with the nearest training images ("nearest"), or the
            first seeds ("seeds").
        metrics: whose features: a preset of conf/metrics, or "pixels". None: the run's, or pixels if it has none.
        settings: changes to the preset, as in `evaluate`.
        truncation, scale, data_dir, dataset_path, checkpoint, ema, device, extensions: as in `sample` and `evaluate`.

    Returns:
        `copies`, the share of samples that are nearer to a training image than that image is to every other one (see
        `gan_lab.metrics.functional.memorization.copies`); `copies_heldout`, the same share of held-out images, None
        where there are none; `distance`, the median distance of a sample to its nearest training image, and
        `distance_heldout`; the numbers of images, and the `features`.

    Raises:
        UserError: a path, checkpoint, dataset or preset cannot be used.
    """
    check(n=(n, whole(1)), rows=(rows, whole(1)), k=(k, whole(1)), first=(first, one_of("nearest", "seeds")),
          scale=(scale, whole(1)))  # fmt: skip
    if out is not None:
        check_suffix(Path(out).expanduser(), FORMATS)
    on = pick_device(device, "device")
    data = {"data_dir": data_dir, "dataset_path": dataset_path}
    trained = load_trained(path, on, checkpoint=checkpoint, ema=ema, **data, extensions=extensions)
    G, dataset = trained.G, trained.dataset
    if dataset.num_train < max(2, k):
        raise UserError(f"{dataset.name} has {dataset.num_train} training images, which is too few")
    numbers = class_numbers(G, classes)
    features = features_for(trained, metrics, settings or {}, on, extensions)
    latents = latents_of(G, range(seed, seed + n), numbers)
    samples = torch.cat([to_pixels(generate(G, latents[i : i + BLOCK], truncation)) for i in range(0, n, BLOCK)])
    of_samples = _features_of(samples.split(BLOCK), features)
    train = _features_of(_blocks(dataset, "train", torch.arange(dataset.num_train, device="cpu")), features)
    distance, index = nearest_neighbours(of_samples, train, k)
    found: dict[str, Any] = {
        "copies": float(copies(of_samples, train).double().mean()),
        "copies_heldout": None,
        "distance": float(distance[:, 0].median()),
        "distance_heldout": None,
        "samples": n,
        "training_images": dataset.num_train,
        "heldout_images": min(n, dataset.num_test),
        "features": features.name,
    }
    if dataset.num_test:
        heldout = _features_of(_blocks(dataset, "test", dataset.evenly_spaced("test", n)), features)
        found["copies_heldout"] = float(copies(heldout, train).double().mean())
        found["distance_heldout"] = float(nearest_neighbours(heldout, train, 1)[0].median())
    if out is not None:
        order = distance[:, 0].argsort() if first == "nearest" else torch.arange(n)
        lines = [
            torch.cat([samples[i : i + 1], dataset.images("train", index[i].cpu())]) for i in order[:rows].tolist()
        ]
        write_picture(Path(out).expanduser(), torch.cat(lines), k + 1, scale)
    return found


def _blocks(dataset: Any, split: str, indices: Tensor) -> Iterator[Tensor]:
    return (dataset.images(split, part) for part in indices.split(BLOCK))


def _features_of(blocks: Iterable[Tensor], features: Features) -> Tensor:
    found = torch.cat([features(images) for images in blocks])
    return found.to(float64_device(found.device))  # distances are exact in float64
