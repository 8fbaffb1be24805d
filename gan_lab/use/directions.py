"""Directions of a generator's latent space, from its weights alone (SeFa, arXiv:2007.06600)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.config.ranges import whole
from gan_lab.data import to_pixels
from gan_lab.errors import UserError
from gan_lab.nets import Generator, StyledGenerator
from gan_lab.use.checks import check
from gan_lab.use.generate import Classes, Latents, check_layers, generate, latents_of, own_generator
from gan_lab.use.interpolate import styles_of, synthesize
from gan_lab.use.pictures import FORMATS, check_suffix, write_picture


@dataclass(frozen=True)
class Directions:
    """Unit vectors (k d) in `space` ("z" or "w"), by decreasing `values` (k): |A n|^2 of each vector n.

    `layers`: of the styles that they were computed from and move; None in z.
    """

    vectors: Tensor
    values: Tensor
    space: str
    layers: tuple[int, ...] | None = None


@torch.no_grad()
def factorize(G: Generator, k: int = 5, layers: Sequence[int] | None = None) -> Directions:
    """Return the k directions to which the layers that read the latent respond most.

    With A the weights of those layers, one above the other, the directions are the eigenvectors of A^T A of the
    largest eigenvalues (arXiv:2007.06600, equations 4 to 6): the right singular vectors of A. A is the first fully
    connected layer, or for StyleGAN2 the style affines of `layers` (None: of all). Each vector's largest entry is
    positive. Deviation: the authors' code normalizes the columns of A first. UserError for a generator without such a
    layer, or layers that it lacks.
    """
    styled = isinstance(G, StyledGenerator)
    try:
        weights = G.latent_weights()
    except ValueError as error:
        raise UserError(f"no directions: {error}") from error
    if layers is not None and not styled:
        raise UserError(f"layers: {type(G).__name__} has no styles to choose from")
    chosen = tuple(range(len(weights)) if layers is None else layers)
    check_layers(chosen, len(weights))
    A = torch.cat([weights[layer].detach().double().cpu() for layer in chosen])
    values, vectors = torch.linalg.eigh(A.T @ A)  # ascending
    vectors = vectors.flip(1).T[:k]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    moved = None
    if styled:  # all layers: also the last ToRGB, which has a style of its own
        moved = tuple(range(len(weights) + 1)) if layers is None else chosen
    space = "w" if styled else "z"
    return Directions((vectors * largest.sign()).float(), values.flip(0)[:k].float(), space, moved)


def move(
    G: Generator,
    latents: Latents,
    directions: Directions,
    steps: Tensor,
    truncation: float = 1.0,
    batch_size: int | None = None,
) -> Tensor:
    """Return the images (n c h w, float32, on the CPU) of latents moved by `steps` (n k) along the directions.

    A step is a distance in z, or in w for a generator with styles, where it moves the styles of the directions' layers
    after truncation. batch_size: as in `generate`.
    """
    shift = steps @ directions.vectors  # n d
    if not isinstance(G, StyledGenerator):
        return generate(G, Latents(latents.z + shift, latents.y, latents.noise), truncation, batch_size)
    styles = styles_of(G, latents, truncation, batch_size).clone()
    styles[:, list(directions.layers or ())] += shift[:, None]
    return synthesize(G, styles, latents.noise, batch_size)


def directions(
    path: str | Path | Generator,
    out: str | Path | None = None,
    k: int = 5,
    seeds: Sequence[int] = (0,),
    classes: Classes = None,
    *,
    distance: float = 4.0,
    steps: int = 7,
    layers: Sequence[int] | None = None,
    truncation: float = 1.0,
    scale: int = 1,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    extensions: Sequence[str] = (),
) -> Directions:
    """Return the first k directions of a generator (see `factorize`), and draw what they change.

    Args:
        path: a run directory, a checkpoint file, or a generator.
        out: a picture (.png, .jpg, .webp) with a row for each direction, of the first seed; or a folder for one picture
            a direction, direction-1.png and so on, with a row for each seed. None: no picture.
        classes: one for all, or one for each seed, by number or name.
        distance: how far the ends of a row are from its middle, which is the seed's own image.
        steps: images in a row; an odd number.
        layers: of a StyleGAN2, 0 the coarsest: directions are computed from these, and move these. None: all.
        truncation: as in `sample`.
        scale: the side in pixels of each pixel.
        checkpoint, ema, device, extensions: as in `sample`.

    Raises:
        UserError: a path, class, layer or `out` cannot be used.
    """
    check(k=(k, whole(1)), steps=(steps, whole(2)), scale=(scale, whole(1)))
    place = Path(out or "").expanduser()
    suffix = None if out is None else check_suffix(place, FORMATS, folder=True)
    G = own_generator(path, device, checkpoint=checkpoint, ema=ema, extensions=extensions)
    found = factorize(G, k, layers)
    if out is None:
        return found
    latents = latents_of(G, seeds, classes)
    at = torch.linspace(-distance, distance, steps, dtype=torch.float32, device="cpu")

    def rows(index: Sequence[int], direction: int) -> Tensor:  # uint8 (len(index) steps) c h w
        moved = at.new_zeros(len(index) * steps, len(found.values))
        moved[:, direction] = at.repeat(len(index))
        repeated = latents[torch.tensor(index, device="cpu").repeat_interleave(steps)]
        return to_pixels(move(G, repeated, found, moved, truncation))

    if suffix:
        write_picture(place, torch.cat([rows([0], i) for i in range(len(found.values))]), steps, scale)
    else:
        for i in range(len(found.values)):
            write_picture(place / f"direction-{i + 1}.png", rows(range(len(seeds)), i), steps, scale)
    return found
