"""Images of seeds: what a generator is given for a seed depends on that seed only."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from gan_lab.config.messages import nearest
from gan_lab.config.ranges import SEED, TRUNCATION, whole
from gan_lab.distributed.device import exact_fp32, pick_device
from gan_lab.distributed.memory import ran_out
from gan_lab.errors import OutOfMemoryError, UserError
from gan_lab.nets import Generator
from gan_lab.norms import bake
from gan_lab.use.checks import check, whole_numbers
from gan_lab.use.load import load_generator

log = logging.getLogger(__name__)
BATCH_CPU, BATCH_GPU = 8, 64

Classes = Sequence[int | str] | None
"""Classes by number or by name (`Generator.choice_names`). None: those that the seeds draw."""


@dataclass(frozen=True)
class Latents:
    """The input of n images: z (n z_dim), y (n, or n num_classes), noise maps (n 1 side side)."""

    z: Tensor
    y: Tensor | None = None
    noise: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.z)

    def map(self, change: Callable[[Tensor], Tensor]) -> Latents:
        """Apply a function to every tensor."""
        return Latents(change(self.z), None if self.y is None else change(self.y), tuple(map(change, self.noise)))

    def __getitem__(self, index: Tensor | slice | list[int]) -> Latents:
        return self.map(lambda tensor: tensor[index])


def latents_of(G: Generator, seeds: Sequence[int], classes: Classes = None) -> Latents:
    """Draw the latents of each seed, on the CPU, in the order z, class, noise from a generator seeded with it.

    Seed s therefore gives the same image whatever the other seeds, the batch and the device. classes: one for all, or
    one for each seed, by number or name, instead of the drawn ones. UserError for classes that G does not have.
    """
    seeds = whole_numbers("seeds", seeds)
    for seed in (min(seeds), max(seeds)):
        check(seeds=(seed, SEED))
    chosen = chosen_classes(G, classes, len(seeds))
    z, shares, noise = [], [], []
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the caller's defaults are
    for seed in seeds:
        generator = torch.Generator("cpu").manual_seed(seed)
        z.append(G.from_normal(torch.randn(G.z_dim, generator=generator, **plain)))
        if G.num_classes:
            shares.append(torch.rand((), generator=generator, **plain))
        if G.draws_noise:
            noise.append([torch.randn(1, side, side, generator=generator, **plain) for side in G.noise_sides])
    y = None
    if G.num_classes:
        y = G.classes_at(torch.stack(shares).to(G.class_weights.device)).cpu() if chosen is None else chosen
    return Latents(torch.stack(z), y, tuple(torch.stack(maps) for maps in zip(*noise, strict=True)))


def class_numbers(G: Generator, classes: Classes) -> list[int]:
    """Return the numbers of classes given by number or name. UserError for those that G does not have."""
    given = [classes] if isinstance(classes, str) else [] if classes is None else classes
    if len(given) and not G.num_classes:
        raise UserError("classes: this generator is unconditional and takes none")
    names = G.choice_names if any(isinstance(c, str) for c in given) else []
    found = [names.index(c) if isinstance(c, str) and c in names else c for c in given]
    wrong = [c for c in found if isinstance(c, str) or not 0 <= c < G.num_choices or c != int(c)]
    if wrong:
        kind = "sets of labels" if G.multi_label else "classes"
        named = nearest(str(wrong[0]), names) if isinstance(wrong[0], str) else ""
        raise UserError(f"classes={wrong[0]}: this generator's {kind} are 0 to {G.num_choices - 1}{named}")
    return [int(c) for c in found]


def chosen_classes(G: Generator, classes: Classes, n: int, of: str = "seeds") -> Tensor | None:
    """Return the class of each of n seeds or images: one for all, or one for each. None if none are chosen.

    Of a generator with several labels a sample, c is the c-th set of labels that its training data had (`label_rows`).

    UserError for classes that G does not have, or another number of them.
    """
    numbers = class_numbers(G, classes)
    if not numbers:
        return None
    if len(numbers) not in (1, n):
        raise UserError(f"{len(numbers)} classes for {n} {of}: give one class for all {of}, or one for each")
    y = G.labels_of(torch.tensor(numbers, device="cpu"))
    return y.expand(n, *y.shape[1:])


def check_layers(layers: Sequence[int], count: int) -> None:
    """Raise UserError for layers that a generator with `count` of them does not have."""
    if any(not 0 <= layer < count for layer in layers):
        raise UserError(f"layers={max(layers)}: this generator's layers are 0 to {count - 1}")


def open_generator(
    source: str | Path | Generator,
    device: str | torch.device,
    *,
    checkpoint: str | int | None = None,
    ema: bool = True,
    extensions: Sequence[str] = (),
) -> Generator:
    """Load a generator as `load_generator` does, to a device.

    A `Generator` is returned as it is, in evaluation mode. UserError for a device that is not there.
    """
    place = pick_device(str(device), "device")
    if isinstance(source, Generator):
        return source.eval().to(place)
    return load_generator(source, checkpoint, ema=ema, extensions=extensions).to(place)


def own_generator(source: str | Path | Generator, device: str | torch.device, **how: Any) -> Generator:
    """Return the generator of `open_generator` as a plain net, its norms baked in; of a `Generator`, a copy."""
    return bake(open_generator(copy.deepcopy(source) if isinstance(source, Generator) else source, device, **how))


def forward(G: Generator, latents: Latents, truncation: float = 1.0) -> Tensor:
    """Return G's images (n c h w, nominally in [-1, 1]) of latents on its device.

    `truncation` multiplies the distance to the mean latent: in w for a G that supports it (arXiv:1812.04948, appendix
    B), else in z, whose mean is 0. 1 changes nothing.
    """
    z, settings = latents.z, {}
    if G.supports_truncation:
        settings["truncation"] = truncation
    else:
        z = z * truncation
    if latents.noise:
        settings["noise"] = latents.noise  # type: ignore[assignment]
    return G(z, latents.y, **settings)  # type: ignore[no-any-return]


@torch.no_grad()
def generate(G: Generator, latents: Latents, truncation: float = 1.0, batch_size: int | None = None) -> Tensor:
    """Return the images (n c h w, float32, on the CPU) of latents, computed on G's device.

    The last batch is filled up with copies of an image, as kernels of another batch size round differently. The batch
    is halved where the memory does not hold it. batch_size: None is 8 on a CPU, 64 on a GPU. OutOfMemoryError if one
    image does not fit, UserError if images hold NaN or infinite values.
    """
    check(truncation=(truncation, TRUNCATION))
    return in_batches(G, lambda G, part: forward(G, part, truncation), latents, batch_size)


@torch.no_grad()
def in_batches(
    G: Generator, function: Callable[[Any, Latents], Tensor], latents: Latents, batch_size: int | None = None
) -> Tensor:
    """Return `function` of G and all latents, on G's device, batch by batch as `generate` says.

    Parametrized weights are computed once, in a copy of G: torch's cache of them is one for all threads, also for one
    that trains.
    """
    check(batch_size=(batch_size, whole(1)))
    if any(map(parametrize.is_parametrized, G.modules())):
        G = bake(copy.deepcopy(G))
    device = next(G.parameters()).device
    size, start, found = batch_size or (BATCH_CPU if device.type == "cpu" else BATCH_GPU), 0, []
    with exact_fp32(device):
        while start < len(latents):
            index = torch.arange(start, start + size, device="cpu").clamp_max(len(latents) - 1)
            try:
                images = function(G, latents[index].map(lambda tensor: tensor.to(device))).float().cpu()
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                if size == 1:
                    raise OutOfMemoryError(f"{device} has too little memory for one image of this generator") from error
                size //= 2
                log.info("%s has too little memory for a batch of %d; trying %d", device, 2 * size, size)
                continue
            found.append(images[: len(latents) - start])
            start += size
    images = torch.cat(found)
    if not bool(torch.isfinite(images).all()):
        raise UserError("this generator's images hold NaN or infinite values: its training diverged; choose an earlier "
                        "checkpoint")  # fmt: skip
    return images
