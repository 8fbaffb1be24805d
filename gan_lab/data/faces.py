"""Cartoon faces, rendered when first used: a second dataset that needs no download, with attributes as labels.

Each image is 64x64 RGB: a head with hair, eyes, nose and mouth above shoulders. The label says three things: whether
the mouth smiles or is open, whether there are glasses, and whether there is a hat, 8 classes. Colours of skin, hair,
clothes and background, the length of the hair, the form and place of the head, its tilt and the gaze vary freely.

A face is a stack of layers. Each is a region, given by its signed distance in pixels (negative inside), with a colour
over what lies below. Edges are anti-aliased as in `gan_lab.data.shapes`: a pixel is covered by
`clip(1/2 - signed distance, 0, 1)`. Lengths are in units of the head's half height. Images are rendered in blocks, each
with its own generator, so the first n images are the same for any n.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 64
NUM_TRAIN, NUM_TEST = 10_000, 1_000
TRAIN_SEED, TEST_SEED = 20_090, 2_773
MOUTHS, WORN = ("smile", "open mouth"), ("", " + glasses", " + hat", " + glasses + hat")
CLASS_NAMES = tuple(mouth + worn for mouth in MOUTHS for worn in WORN)

SKINS = ("f6d3b3", "eab98c", "d09a6a", "a86f44", "7c4a2c", "5a3421")
HAIRS = ("1f1a17", "4a2c17", "7b4a22", "b5762f", "e0b95a", "b8412a", "9a9a9a")
CLOTHES = ("d1495b", "2e86ab", "3c8d53", "edae49", "6b4fa0", "30343f", "f4f1ea")
BACKGROUNDS = ("bfe3f0", "fbe3b5", "d7ecc8", "f5cfd3", "d9d2ee", "e8e8e4")
HATS = ("c8352e", "1d5fa8", "2f7d4f", "2b2b33", "e5a823")

_BLOCK = 128  # images rendered at once
Field = NDArray[Any]  # float32
Layer = tuple[Field, Field | tuple[int, int, int], float]  # signed distance, n h w; colour, n 3; opacity


def _ellipse(x: Field, y: Field, rx: Field | float, ry: Field | float) -> Field:
    """Distance to an ellipse, to first order near its edge: f / |grad f| of f = |(x / rx, y / ry)| - 1."""
    k = np.hypot(x / rx, y / ry)
    return k * (k - 1) / np.maximum(np.hypot(x / rx**2, y / ry**2), 1e-6)


def _segment(x: Field, y: Field, half_length: Field | float, radius: float) -> Field:
    """Distance to a level segment with round ends."""
    return np.hypot(np.maximum(np.abs(x) - half_length, 0), y) - radius


def _box(x: Field, y: Field, half_width: float, half_height: float, radius: float) -> Field:
    """Distance to a rectangle with round corners."""
    dx, dy = np.abs(x) - half_width + radius, np.abs(y) - half_height + radius
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius


def _palette(rng: np.random.Generator, colours: tuple[str, ...], spread: float = 8) -> Field:
    """Choose a colour for each image of a block, n 3 in 0 to 255, and vary it by up to `spread` a channel."""
    table = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in colours], np.float32)
    chosen = table[rng.integers(len(table), size=_BLOCK)] + rng.uniform(-spread, spread, (_BLOCK, 3))
    return np.clip(chosen, 0, 255).astype(np.float32)


def _layers(rng: np.random.Generator, labels: NDArray[np.int64]) -> Iterator[Layer]:
    """Yield the layers of a block of faces, from the background up. Distances are in units of the head."""

    def vary(low: float, high: float) -> Field:
        return rng.uniform(low, high, (_BLOCK, 1, 1)).astype(np.float32)

    def only(chosen: NDArray[np.bool_], distance: Field) -> Field:
        return np.where(chosen[:, None, None], distance, np.float32(9))

    skin, hair, clothes, hat = (_palette(rng, c) for c in (SKINS, HAIRS, CLOTHES, HATS))
    open_mouth, glasses, has_hat = labels >= 4, labels % 2 == 1, labels % 4 >= 2
    long_hair = rng.random(_BLOCK) < 0.4
    grid = (np.arange(RESOLUTION, dtype=np.float32) - (RESOLUTION - 1) / 2) / (RESOLUTION * 0.32)
    px, py = grid[None, None, :] - vary(-0.12, 0.12), grid[None, :, None] - vary(0.0, 0.14)
    angle = vary(-0.12, 0.12)
    x, y = np.cos(angle) * px + np.sin(angle) * py, np.cos(angle) * py - np.sin(angle) * px
    width = vary(0.78, 0.92)
    head = _ellipse(x, y, width, 1.0)
    shade, blush = skin * 0.82, skin * np.array([1.0, 0.72, 0.68], np.float32)
    side = np.abs(x)

    yield only(long_hair, _box(x, y - 0.35, 1.02, 1.1, 0.6)), hair, 1
    yield _box(px, py - 1.1, 0.3, 0.5, 0.1), shade, 1
    yield _ellipse(px, py - 2.0, 1.35, 0.8), clothes, 1
    yield _ellipse(side - width, y - 0.1, 0.17, 0.24), shade, 1
    yield head, skin, 1
    yield _ellipse(side - 0.5, y - 0.36, 0.17, 0.12), blush, 0.6
    fringe = vary(-0.12, 0.12)
    cap = np.maximum(_ellipse(x, y + 0.06, width + 0.1, 1.08), -_ellipse(x - fringe, y - 0.6, 0.98, 1.08))
    yield np.maximum(cap, y - 0.25), hair, 1
    gaze_x, gaze_y, lift = vary(-0.06, 0.06), vary(-0.04, 0.05), vary(0.0, 0.08)
    apart = 0.36
    yield _ellipse(side - apart, y + 0.05, 0.18, 0.2), (255, 255, 255), 1
    pupil = np.minimum(_ellipse(x - apart - gaze_x, y + 0.03 - gaze_y, 0.1, 0.12),
                       _ellipse(x + apart - gaze_x, y + 0.03 - gaze_y, 0.1, 0.12))  # fmt: skip
    yield pupil, (30, 24, 28), 1
    yield _segment(side - apart, y + 0.36 + lift - 0.12 * (side - apart), 0.14, 0.045), hair * 0.75, 1
    yield _segment(x, y - 0.27, 0.06, 0.055), shade, 1
    wide = vary(0.3, 0.42)
    smile = np.maximum(_ellipse(x, y - 0.42, wide, 0.32), -(y - 0.47))
    yield np.where(open_mouth[:, None, None], _ellipse(x, y - 0.6, 0.17, vary(0.14, 0.22)), smile), (120, 28, 38), 1
    yield only(~open_mouth, np.maximum(_segment(x, y - 0.5, wide - 0.12, 0.04), -(y - 0.47))), (255, 255, 255), 1
    lens = _ellipse(side - apart, y + 0.03, 0.28, 0.27)
    yield only(glasses, lens), (210, 235, 255), 0.25
    rims = np.minimum(np.abs(lens) - 0.05, _segment(x, y + 0.03, 0.08, 0.045))
    yield only(glasses, rims), (25, 25, 30), 1
    dome = np.maximum(_ellipse(x, y + 0.52, width + 0.12, 0.78), y + 0.5)
    yield only(has_hat, dome), hat, 1
    yield only(has_hat, _box(x, y + 0.52, 1.12, 0.09, 0.08)), hat * 0.72, 1


def _block(seed: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng([seed, block])
    labels = rng.integers(len(CLASS_NAMES), size=_BLOCK)
    images = np.broadcast_to(_palette(rng, BACKGROUNDS)[:, None, None], (_BLOCK, RESOLUTION, RESOLUTION, 3)).copy()
    for distance, colour, opacity in _layers(rng, labels):
        cover = np.float32(opacity) * np.clip(np.float32(0.5) - distance * np.float32(RESOLUTION * 0.32), 0, 1)
        paint = np.broadcast_to(np.asarray(colour, np.float32), (_BLOCK, 3))[:, None, None]  # n 1 1 3
        images += cover[..., None] * (paint - images)  # n h w 3
    return np.rint(images).astype(np.uint8), labels.astype(np.int64)


def render(n: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield the first n images of a seed, uint8 n h w 3, and labels, int64, indices of `CLASS_NAMES`, in blocks."""
    if n < 1:
        raise ValueError(f"The number of faces to render must be at least 1, not {n}.")
    for block, start in enumerate(range(0, n, _BLOCK)):
        images, labels = _block(seed, block)
        yield images[: n - start], labels[: n - start]
