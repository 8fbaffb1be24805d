"""The embedded dataset: coloured shapes, rendered when first used, so that a first run needs no download.

Each image is 32x32 RGB. It shows one filled shape (circle, square, triangle, cross) in one colour (red, green, blue,
yellow) on a gray background. Position, size, tilt, brightness and gray level vary within bounds that let a narrow net
learn the shapes in minutes. The label is shape x colour, one of 16 modes, so dropped modes can be counted. Edges are
anti-aliased: the coverage of a pixel is `clip(1/2 - signed distance, 0, 1)`, exact for a half plane whose edge is
parallel to a pixel side.

Images are rendered in blocks, each with its own generator, so the first n images are the same for any n.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

RESOLUTION = 32
NUM_TRAIN, NUM_TEST = 50_000, 5_000
TRAIN_SEED, TEST_SEED = 20_090, 2_773

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (0.92, 0.13, 0.13),
    "green": (0.10, 0.72, 0.20),
    "blue": (0.13, 0.27, 0.95),
    "yellow": (0.97, 0.86, 0.08),
}
CLASS_NAMES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)

_BLOCK = 1_024  # images rendered at once; 4 MiB for each float32 field of one channel
_RADIUS = (8.0, 11.0)  # pixels from the centre to the rim of a circle with the size of the shape
_TILT = 0.2  # radians to either side
_SHIFT = 0.5  # how far the centre moves, as a fraction of what keeps the whole shape inside the image
_GRAY = (0.15, 0.85)
_BRIGHTNESS = (0.85, 1.0)

Field = NDArray[np.float32]


def _circle(x: Field, y: Field, r: Field) -> Field:
    return np.hypot(x, y) - r


def _box(x: Field, y: Field, half_width: Field, half_height: Field) -> Field:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _square(x: Field, y: Field, r: Field) -> Field:
    side = np.float32(0.85) * r
    return _box(x, y, side, side)


def _triangle(x: Field, y: Field, r: Field) -> Field:
    """Equilateral, corners 1.2 r and so sides 0.6 r from the centre."""
    slope = np.float32(np.sqrt(3) / 2)
    return np.maximum(-y, slope * np.abs(x) + np.float32(0.5) * y) - np.float32(0.6) * r


def _cross(x: Field, y: Field, r: Field) -> Field:
    arm, half_width = np.float32(1.1) * r, np.float32(0.33) * r
    return np.minimum(_box(x, y, arm, half_width), _box(x, y, half_width, arm))


_DISTANCES = (_circle, _square, _triangle, _cross)
_REACH = np.array([1.0, 0.85 * np.sqrt(2), 1.2, np.hypot(1.1, 0.33)])  # farthest point of each shape, in r


def _block(seed: int, block: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rng = np.random.default_rng([seed, block])
    labels = rng.integers(len(CLASS_NAMES), size=_BLOCK)
    shape, colour = labels // len(COLOURS), labels % len(COLOURS)
    r = rng.uniform(*_RADIUS, size=_BLOCK)
    room = (RESOLUTION - 1) / 2 - _REACH[shape] * r  # how far the centre may move with the whole shape inside
    centre = (RESOLUTION - 1) / 2 + rng.uniform(-1, 1, size=(2, _BLOCK)) * _SHIFT * room  # 2 n, in pixels
    angle = rng.uniform(-_TILT, _TILT, size=_BLOCK)
    gray = rng.uniform(*_GRAY, size=_BLOCK).astype(np.float32)
    brightness = rng.uniform(*_BRIGHTNESS, size=_BLOCK)
    paint = (np.array(list(COLOURS.values()))[colour] * brightness[:, None]).astype(np.float32)  # n c

    grid = np.arange(RESOLUTION, dtype=np.float32)
    images = np.empty((_BLOCK, RESOLUTION, RESOLUTION, 3), np.uint8)
    for kind, distance in enumerate(_DISTANCES):
        of_kind = np.flatnonzero(shape == kind)
        cx, cy, cos, sin, size = (
            a[of_kind].astype(np.float32)[:, None, None]
            for a in (centre[0], centre[1], np.cos(angle), np.sin(angle), r)
        )
        dx, dy = grid[None, None, :] - cx, grid[None, :, None] - cy
        d = distance(cos * dx + sin * dy, cos * dy - sin * dx, size)
        cover = np.clip(np.float32(0.5) - d, 0, 1)[..., None]  # n h w 1
        back = gray[of_kind, None, None, None]
        image = back + cover * (paint[of_kind, None, None, :] - back)  # n h w c, in [0, 1]
        images[of_kind] = np.rint(image * 255)
    return images, labels.astype(np.int64)


def render(n: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Render the first n images of a seed: uint8 n h w c, and int64 n, indices of `CLASS_NAMES`."""
    if n < 1:
        raise ValueError(f"The number of shapes to render must be at least 1, not {n}.")
    images = np.empty((n, RESOLUTION, RESOLUTION, 3), np.uint8)
    labels = np.empty(n, np.int64)

    def fill(block: int) -> None:
        start = block * _BLOCK
        stop = min(start + _BLOCK, n)
        rendered, drawn = _block(seed, block)
        images[start:stop], labels[start:stop] = rendered[: stop - start], drawn[: stop - start]

    with ThreadPoolExecutor() as pool:  # NumPy leaves Python's lock while it computes
        list(pool.map(fill, range(-(-n // _BLOCK))))
    return images, labels
