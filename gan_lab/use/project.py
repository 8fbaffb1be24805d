"""Find the latents of given images: how well a generator can show them, and where they lie in its latent space."""

import zipfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lab.config.ranges import one_of, whole
from gan_lab.data import to_float
from gan_lab.data.decode import Unreadable, decode
from gan_lab.data.folder import MAX_FILE_BYTES, ImageSource
from gan_lab.data.sources import resolve_path
from gan_lab.distributed.device import pick_device
from gan_lab.errors import UserError
from gan_lab.files import check_regular
from gan_lab.nets import Generator, StyledGenerator
from gan_lab.use.checks import check
from gan_lab.use.features import PIXELS, Trained, features_for, load_trained
from gan_lab.use.generate import Classes, chosen_classes
from gan_lab.use.inversion import Inversion, invert
from gan_lab.use.pictures import FORMATS, check_suffix, write_arrays, write_picture


@dataclass(frozen=True)
class Projection:
    """What was found, and per image: error (mean squared, in [0, 1]), PSNR in dB, and distance in the features."""

    found: Inversion
    error: list[float]
    start_error: list[float]
    psnr: list[float]
    feature_distance: list[float]
    features: str


def project(
    path: str | Path,
    images: str | Path | None = None,
    out: str | Path | None = "projected.png",
    n: int = 8,
    *,
    split: str = "test",
    space: str | None = None,
    steps: int = 300,
    feature_weight: float = 0.1,
    classes: Classes = None,
    seed: int = 0,
    latents: str | Path | None = None,
    scale: int = 1,
    metrics: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    dataset_path: str | Path | None = None,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    extensions: Sequence[str] = (),
) -> Projection:
    """Search for the latents whose images are nearest to given ones, in pixels and in features.

    Args:
        path: a run directory or a checkpoint file.
        images: a file, a folder or a ZIP, read, cropped and resized as for training. None: images of the run's dataset,
            evenly spaced over its `split`.
        out: a picture (.png, .jpg, .webp) with a row for each image: the image, the start, the result. None: none.
        n: how many images at most.
        space: "z"; for a generator with styles also "w", or "w+", a w of its own for each layer, both with a search for
            the noise maps. None: w+ where there are styles, else z.
        feature_weight: of the distance in features beside that in pixels; 0: pixels alone.
        classes: of the images, for a conditional generator, by number or name: one for all or one each. None: the
            dataset's labels.
        latents: a file (.npz) for what was found: latents, and noise_0, noise_1, ...
        metrics, settings: whose features, as in `nearest`.
        seed: of the starts and of the noise.
        scale, data_dir, dataset_path, checkpoint, ema, device, extensions: as in `sample` and `evaluate`.

    Raises:
        UserError: a path, checkpoint, dataset, space or class cannot be used.
    """
    check(n=(n, whole(1)), split=(split, one_of("test", "train")), space=(space, one_of("z", "w", "w+")),
          steps=(steps, whole(1)), scale=(scale, whole(1)))  # fmt: skip
    for file, allowed in ((out, FORMATS), (latents, (".npz",))):
        if file is not None:
            check_suffix(Path(file), allowed)
    on = pick_device(device, "device")
    data = {"data_dir": data_dir, "dataset_path": dataset_path}
    trained = load_trained(path, on, checkpoint=checkpoint, ema=ema, **data, extensions=extensions)
    G = trained.G
    space = space or ("w+" if isinstance(G, StyledGenerator) else "z")
    if space != "z" and not isinstance(G, StyledGenerator):
        raise UserError(f"space={space}: {type(G).__name__} has no styles; leave it at z")
    pixels, labels = _of_dataset(trained, split, n) if images is None else (_from_files(images, G, n), None)
    y = chosen_classes(G, classes, len(pixels), "images")
    if G.num_classes and y is None:
        if labels is None:
            raise UserError("this generator is conditional: say the classes of the images with classes=")
        y = labels
    features = features_for(trained, metrics, settings or {}, on, extensions)
    targets = to_float(pixels).to(on)
    found = invert(
        G, targets, None if y is None else y.to(on), space=space, steps=steps, seed=seed,
        features=None if features.name == PIXELS else features.differentiable, feature_weight=feature_weight,
    )  # fmt: skip
    if out is not None:
        rows = torch.stack([targets, found.start, found.images], dim=1).flatten(0, 1)
        write_picture(Path(out).expanduser(), rows, 3, scale)
    if latents is not None:
        maps = {f"noise_{i}": one for i, one in enumerate(found.noise)}
        write_arrays(Path(latents).expanduser(), {"latents": found.latents, **maps})
    with torch.no_grad():
        apart = (features.differentiable(found.images) - features.differentiable(targets)).norm(dim=1)
    psnr = -10 * found.error.clamp_min(1e-12).log10()
    return Projection(found, found.error.tolist(), found.start_error.tolist(), psnr.tolist(), apart.tolist(),
                      features.name)  # fmt: skip


def _of_dataset(trained: Trained, split: str, n: int) -> tuple[Tensor, Tensor | None]:
    dataset = trained.dataset
    chosen = dataset.evenly_spaced(split, n)
    if not len(chosen):
        raise UserError(f"{dataset.name} has no {split} images; choose split=train, or name a folder with images=")
    return dataset.images(split, chosen), dataset.labels(split)[chosen]


def _from_files(images: str | Path, G: Generator, n: int) -> Tensor:
    """Read an image, or the first n of a folder or ZIP, at G's resolution, in gray for a gray G (uint8 n c h w)."""
    path = resolve_path("images", images)
    if path.is_file() and not zipfile.is_zipfile(path):
        try:
            check_regular(path, MAX_FILE_BYTES)
            read = [decode(path.read_bytes(), G.resolution)]
        except (Unreadable, OSError) as error:
            raise UserError(f"images={path}: {error}; give an image, a folder of images or a ZIP of images") from None
    else:
        with closing(ImageSource(path, G.resolution, 0, "images", labels=False)) as source:
            read = [image for part in source.read(source.entries[:n], n) for _, image in part]
    if G.channels == 1:
        read = [np.asarray(Image.fromarray(image).convert("L"))[:, :, None] for image in read]
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).contiguous()
