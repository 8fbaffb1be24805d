"""Paths between seeds or classes, as a film or a strip, and grids of mixed styles."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.config.ranges import one_of, whole
from gan_lab.data import to_pixels
from gan_lab.distributed.memory import ran_out
from gan_lab.errors import UserError, useful_line
from gan_lab.nets import Generator, StyledGenerator
from gan_lab.nets.labels import one_hot
from gan_lab.use.checks import check, whole_numbers
from gan_lab.use.film import FILMS, check_film, write_film
from gan_lab.use.generate import (
    Classes,
    Latents,
    check_layers,
    class_numbers,
    generate,
    in_batches,
    latents_of,
    own_generator,
)
from gan_lab.use.pictures import FORMATS, check_suffix, magnified, write_picture

CHUNK = 64  # frames held at a time while a film is written
FILM_SIDE = 256  # pixels, at least, of a film's frames


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return (1 - t) a + t b: a, b of one shape, t (n) -> n of that shape."""
    t = t.view(-1, *[1] * a.ndim)
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Interpolate on the great circle: a, b (d), t (n) -> n d.

    sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, with w the angle between a and b (arXiv:1609.04468, section 2.1).
    Linear where the vectors are (anti)parallel, as no circle is defined there.
    """
    a, b = a.double(), b.double()
    cosine = torch.dot(a, b) / (a.norm() * b.norm()).clamp_min(1e-30)
    if 1 - cosine.abs() < 1e-9:
        return lerp(a, b, t.double()).float()
    angle, t = torch.arccos(cosine), t.double()[:, None]
    return ((torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)).float()


def interpolate(
    path: str | Path | Generator,
    out: str | Path = "interpolation.mp4",
    seeds: Sequence[int] = (0, 1, 2, 3),
    classes: Classes = None,
    *,
    frames: int | None = None,
    mode: str = "slerp",
    space: str = "z",
    loop: bool = True,
    truncation: float = 1.0,
    fps: int = 30,
    scale: int | None = None,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    extensions: Sequence[str] = (),
) -> Path:
    """Write the images between one seed (or class) and the next, as a film or as a strip.

    Args:
        path: a run directory, a checkpoint file, or a generator.
        out: a film (.mp4, .gif, .webp), or a strip with a row for each step from a seed to the next (.png, .jpg).
        seeds, classes: the stations, as many of each; a single seed or class stays throughout. Between two classes, a
            conditional net is given shares of both.
        frames: images from one station to the next. None: 30 in a film, 8 in a strip.
        mode: "slerp", on great circles, or "lerp".
        space: "z", or "w" for a generator with styles, where paths are straight whatever `mode`.
        loop: return from the last station to the first.
        truncation: as in `sample`.
        fps: images a second of a film.
        scale: the side in pixels of each pixel. None: what makes a film at least 256 px wide; 1 in a strip.
        checkpoint, ema, device, extensions: as in `sample`.

    Returns:
        `out`. The noise of a StyleGAN2 is that of the first seed throughout.

    Raises:
        UserError: a path, class or `out` cannot be used, or PyAV is missing, which writes MP4.
    """
    check(frames=(frames, whole(1)), mode=(mode, one_of("slerp", "lerp")), space=(space, one_of("z", "w")),
          fps=(fps, whole(1)), scale=(scale, whole(1)))  # fmt: skip
    out = Path(out).expanduser()
    suffix = check_suffix(out, dict.fromkeys([*FILMS, *FORMATS]))
    film = suffix in FILMS
    if film:
        check_film(suffix)
    G = own_generator(path, device, checkpoint=checkpoint, ema=ema, extensions=extensions)
    stations = _stations(G, seeds, classes)
    pairs = [(i, i + 1) for i in range(len(stations) - 1)] + ([(len(stations) - 1, 0)] if loop else [])
    count = frames or (30 if film else 8)
    path_of = _path(G, stations, mode, space, truncation)
    if not film:
        t = torch.linspace(0, 1, count, dtype=torch.float32, device="cpu")
        write_picture(out, torch.cat([path_of(i, j, t) for i, j in pairs]), count, scale or 1)
        return out
    scale = scale or max(1, -(-FILM_SIDE // G.resolution))

    def drawn() -> Iterator[Tensor]:
        for i, j in pairs:
            for t in (torch.arange(count, dtype=torch.float32, device="cpu") / count).split(CHUNK):
                yield path_of(i, j, t)
        if not loop:
            yield path_of(*pairs[-1], torch.ones(1, dtype=torch.float32, device="cpu"))

    write_film(out, (magnified(to_pixels(part), scale) for part in drawn()), fps)
    return out


def _stations(G: Generator, seeds: Sequence[int], classes: Classes) -> Latents:
    numbers = class_numbers(G, classes)
    count = max(len(seeds), len(numbers))
    if count < 2 or any(len(given) not in (1, count) for given in (seeds, *([numbers] if numbers else []))):
        raise UserError("an interpolation needs at least two seeds or classes, and as many of each, or one of either")
    return latents_of(G, [*seeds] * (count if len(seeds) == 1 else 1), numbers)


def _path(
    G: Generator, stations: Latents, mode: str, space: str, truncation: float
) -> Callable[[int, int, Tensor], Tensor]:
    """Return what draws images (n c h w, float32, on the CPU) between two of the stations, at t (n) from 0 to 1."""
    way = lerp if mode == "lerp" else slerp
    styles = styles_of(G, stations, truncation) if space == "w" else None  # n l w_dim

    def draw(i: int, j: int, t: Tensor) -> Tensor:
        y, noise = None, tuple(maps[:1].expand(len(t), -1, -1, -1) for maps in stations.noise)
        if styles is not None:
            return synthesize(G, lerp(styles[i], styles[j], t), noise)
        if stations.y is not None:
            pair = stations.y[[i, j]]
            y = pair[:1].expand(len(t), *pair.shape[1:])
            if not torch.equal(*pair):
                a, b = one_hot(pair, G.num_classes, torch.float32)
                y = lerp(a, b, t)
        try:
            return generate(G, Latents(way(stations.z[i], stations.z[j], t), y, noise), truncation)
        except (RuntimeError, IndexError, TypeError) as error:
            if y is None or y.dtype == torch.int64 or ran_out(error):
                raise
            raise UserError(f"{type(G).__name__} cannot draw between two classes ({useful_line(error)}): it takes "
                            "whole classes (int64 b) only; name one class") from error  # fmt: skip

    return draw


def styles_of(G: Generator, latents: Latents, truncation: float = 1.0, batch_size: int | None = None) -> Tensor:
    """Return the styles (n l w_dim, on the CPU) of latents. UserError for a generator without styles."""
    if not isinstance(G, StyledGenerator):
        raise UserError(f"{type(G).__name__} has no styles: its only latent space is z")
    return in_batches(G, lambda G, part: G.truncated(G.styles(part.z, part.y), truncation), latents, batch_size)


def synthesize(G: Generator, styles: Tensor, noise: tuple[Tensor, ...] = (), batch_size: int | None = None) -> Tensor:
    """Return images (n c h w, float32, on the CPU) of styles (n l w_dim) and noise maps (n 1 side side)."""
    assert isinstance(G, StyledGenerator)
    given = Latents(styles, None, noise)
    return in_batches(G, lambda G, part: G.synthesis(part.z, part.noise or None), given, batch_size)


def mix_styles(
    path: str | Path | Generator,
    out: str | Path = "styles.png",
    rows: Sequence[int] = (0, 1, 2, 3),
    columns: Sequence[int] = (4, 5, 6, 7),
    layers: Sequence[int] | None = None,
    *,
    truncation: float = 1.0,
    scale: int = 1,
    checkpoint: str | int | None = None,
    ema: bool = True,
    device: str = "auto",
    extensions: Sequence[str] = (),
) -> Path:
    """Write a grid of mixed styles (arXiv:1812.04948, figure 3), for a generator with styles.

    The seeds of the `columns` are on top, those of the `rows` on the left. The image where they meet has the styles of
    its column in `layers` (0 is the coarsest; None: the first half) and those of its row in the others, with the noise
    of its row. Other arguments as in `sample`. UserError for a generator without styles, or layers that it lacks.
    """
    check(scale=(scale, whole(1)))
    rows, columns = whole_numbers("rows", rows), whole_numbers("columns", columns)
    out = Path(out).expanduser()
    check_suffix(out, FORMATS)
    G = own_generator(path, device, checkpoint=checkpoint, ema=ema, extensions=extensions)
    seeds = latents_of(G, [*rows, *columns])
    styles = styles_of(G, seeds, truncation)
    count = styles.shape[1]
    taken = list(range(count // 2) if layers is None else layers)
    check_layers(taken, count)
    own = synthesize(G, styles, seeds.noise)
    below, above = (torch.arange(len(seeds), device="cpu") for seeds in (rows, columns))
    meeting = torch.cartesian_prod(below, above)  # (row column) 2
    mixed = styles[meeting[:, 0]].clone()
    mixed[:, taken] = styles[len(rows) + meeting[:, 1]][:, taken]
    crossed = synthesize(G, mixed, seeds[meeting[:, 0]].noise).unflatten(0, (len(rows), len(columns)))
    corner = torch.full_like(own[:1], -1.0)
    lines = [torch.cat([corner, own[len(rows) :]])]
    lines += [torch.cat([own[i : i + 1], crossed[i]]) for i in range(len(rows))]
    write_picture(out, torch.cat(lines), len(columns) + 1, scale)
    return out
