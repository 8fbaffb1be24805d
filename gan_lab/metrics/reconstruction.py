"""WN-GAN's reconstruction error: how near a generator can come to images it has not seen (arXiv:1704.03971)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import UserError

LR, ALPHA, EPS = 0.01, 0.9, 1e-6


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
