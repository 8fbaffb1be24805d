"""The reconstruction error of WN-GAN: how closely a generator can reproduce unseen images (arXiv:1704.03971)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.distributed.device import exact_fp32
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import UserError
from gan_lab.linalg import as_float64
from gan_lab.nets.base import frozen

LR, ALPHA, EPS = 0.01, 0.9, 1e-6


@contextmanager
def _evaluation_mode(G: nn.Module) -> Iterator[None]:
    """Put G in evaluation mode, with frozen weights and constant noise; restore it after the block."""
    modes, noise = [(m, m.training) for m in G.modules()], getattr(G, "noise", None)
    try:
        if noise == "random":  # a random error has no minimum to search for
            G.noise = "constant"  # type: ignore[assignment]
        with frozen(G.eval()):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        if noise == "random":
            G.noise = noise


def _search(G: nn.Module, z: Tensor, y: Tensor | None, images: Tensor, steps: int) -> Tensor:
    """Minimize each image's mean squared error, in [0, 1], over its own z. Returns the smallest of all steps: b."""
    z = z.detach().clone().requires_grad_()
    optimizer = torch.optim.RMSprop([z], lr=LR, alpha=ALPHA, eps=EPS)
    best = torch.full((len(z),), float("inf"), device=z.device)
    for step in range(steps + 1):
        with torch.enable_grad():
            made = G(z) if y is None else G(z, y)
            errors = ((made.float() + 1) / 2 - images).square().flatten(1).mean(1)
            if step < steps:
                (z.grad,) = torch.autograd.grad(errors.sum(), z)
        best = torch.minimum(best, errors.detach())
        if step < steps:
            optimizer.step()
    return best


def reconstruction_errors(
    G: nn.Module,
    images: Tensor,
    y: Tensor | None = None,
    *,
    steps: int = 50,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 100,
) -> Tensor:
    """Minimize the mean of (G(z) - x)^2 over z for each image x: uint8 n c h w -> float n, both on G's device.

    A conditional G is given the images' classes `y` (n), which stay as they are.

    Source: arXiv:1704.03971, section 4.2, with the numbers of stormraiser/GAN-weight-norm: images in [0, 1], mean over
    channels and pixels, `steps` steps of RMSprop (lr 0.01, alpha 0.9, eps 1e-6) from z = 0. Differences: the smallest
    error of all steps counts, not the last; `restarts` - 1 more searches start at z ~ N(0, 1), drawn from `seed`.

    `batch_size` searches run at once; they are independent, so the batch size does not change the result. G (images in
    [-1, 1]) and the global random generators are restored. ValueError for a setting below its minimum.
    """
    if steps < 0 or restarts < 1 or batch_size < 1 or len(images) < 1:
        raise ValueError("reconstruction needs images, steps from 0, and restarts and a batch size from 1")
    z_dim, n = int(G.z_dim), len(images)  # type: ignore[arg-type]
    drawn = torch.randn(restarts - 1, n, z_dim, generator=torch.Generator().manual_seed(mix(seed, "reconstruction")))
    starts = torch.cat([torch.zeros(1, n, z_dim), drawn]).flatten(0, 1)  # (restart image) z_dim
    found = []
    randomness = own_randomness(mix(seed, "images"), images.device)
    with _evaluation_mode(G), randomness, parametrize.cached(), exact_fp32(images.device):
        for pairs in torch.arange(restarts * n).split(batch_size):
            which = pairs.to(images.device) % n
            classes = None if y is None else y[which]
            found.append(_search(G, starts[pairs].to(images.device), classes, images[which].float() / 255, steps))
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
    """Return the mean of `reconstruction_errors` over images evenly spaced over a split, and its protocol.

    A conditional G is given the images' own classes. UserError if the split is empty.
    """
    places = dataset.evenly_spaced(split, images)
    if not len(places):
        raise UserError(f"{dataset.name} has no {split} images; choose split=train")
    chosen = dataset.images(split, places).to(device)
    y = dataset.labels(split)[places].to(device) if getattr(G, "num_classes", 0) else None
    errors = reconstruction_errors(G, chosen, y, steps=steps, restarts=restarts, seed=seed, batch_size=batch_size)
    protocol = {
        "figure": "mean over images of the least squared error found, averaged over channels and pixels",
        "range": [0, 1],
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "resolution": dataset.resolution,
        "split": split,
        "images": len(places),
        "chosen": "evenly spaced",
        "optimizer": {"name": "RMSprop", "lr": LR, "alpha": ALPHA, "eps": EPS},
        "steps": steps,
        "restarts": restarts,
        "start": "z = 0, further restarts N(0, 1)",
        "counts": "the best over steps and restarts",
        "seed": seed,
    }
    if y is not None:
        protocol["classes"] = "of the images"
    return float(as_float64(errors).mean()), protocol
