"""The procedural dataset against geometry: areas, colours and backgrounds that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gan_lab.data import shapes

N = 3000
IMAGES, LABELS = shapes.render(N, seed=5)


def _cover(images: np.ndarray) -> np.ndarray:
    """How much of each pixel the shape covers: gray has no saturation, and mixing is linear in it. n h w."""
    x = images.astype(float)
    saturation = x.max(-1) - x.min(-1)
    return saturation / saturation.max((1, 2), keepdims=True)


def test_is_a_function_of_the_seed_and_any_prefix_is_the_same() -> None:
    few, labels = shapes.render(1500, seed=5)
    assert np.array_equal(few, IMAGES[:1500]) and np.array_equal(labels, LABELS[:1500])
    assert few.dtype == np.uint8 and labels.dtype == np.int64 and few.shape == (1500, 32, 32, 3)
    assert not np.array_equal(shapes.render(10, seed=6)[0], IMAGES[:10])


def test_sixteen_classes_are_equally_frequent() -> None:
    counts = np.bincount(LABELS, minlength=16)
    assert len(shapes.CLASS_NAMES) == len(set(shapes.CLASS_NAMES)) == len(counts) == 16
    chi_square = ((counts - N / 16) ** 2 / (N / 16)).sum()
    assert 2 < chi_square < 40  # 15 degrees of freedom: both tails under 0.1 %
    assert shapes.CLASS_NAMES[0] == "red circle" and shapes.CLASS_NAMES[15] == "yellow cross"


def test_blocks_are_different_images() -> None:
    assert len({image.tobytes() for image in IMAGES}) == N


def test_background_is_gray_and_varies() -> None:
    corners = IMAGES[:, 0, 0].astype(int)
    gray = corners.max(1) == corners.min(1)
    assert gray.mean() > 0.99  # a large shape may touch the corner
    levels = corners[gray, 0]
    assert 0.15 * 255 - 1 <= levels.min() < 45 and 210 < levels.max() <= 0.85 * 255 + 1


@pytest.mark.parametrize("colour", list(shapes.COLOURS))
def test_colour_of_the_label_is_painted(colour: str) -> None:
    chosen = IMAGES[[shapes.CLASS_NAMES[label].startswith(colour) for label in LABELS]].astype(float)
    saturation = chosen.max(-1) - chosen.min(-1)  # n h w
    at = saturation.reshape(len(chosen), -1).argmax(1)
    painted = chosen.reshape(len(chosen), -1, 3)[np.arange(len(chosen)), at]
    brightness = painted.max(1) / (255 * max(shapes.COLOURS[colour]))
    assert 0.84 < brightness.min() < 0.87 and 0.98 < brightness.max() < 1.01
    assert np.abs(painted / brightness[:, None] / 255 - shapes.COLOURS[colour]).max() < 0.01


AREA = {  # in units of the size squared, from the shape's own dimensions
    "circle": np.pi,
    "square": 4 * 0.85**2,
    "triangle": 3 * np.sqrt(3) / 4 * 1.2**2,
    "cross": 2 * (2.2 * 0.66) - 0.66**2,
}


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_area_and_extent_are_those_of_the_shape(shape: str) -> None:
    chosen = [shapes.CLASS_NAMES[label].endswith(shape) for label in LABELS]
    cover = _cover(IMAGES[chosen])
    size = np.sqrt(cover.sum((1, 2)) / AREA[shape])  # pixels
    assert abs(size.min() - 8) < 0.1 and abs(size.max() - 11) < 0.1
    grid = np.arange(32.0)
    cx, cy = (cover.sum(axis) @ grid / cover.sum((1, 2)) for axis in (1, 2))
    reach = np.sqrt((cover > 0.5) * ((grid - cx[:, None, None]) ** 2 + (grid[:, None] - cy[:, None, None]) ** 2))
    farthest = {"circle": 1.0, "square": 0.85 * np.sqrt(2), "triangle": 1.2, "cross": np.hypot(1.1, 0.33)}[shape]
    ratio = reach.max((1, 2)) / size
    assert farthest - 0.2 < ratio.min()  # a sharp corner may cover no pixel by half
    assert abs(ratio.max() - farthest) < 0.02
    assert 4 < np.ptp(cx) < 9 and 4 < np.ptp(cy) < 9  # moves, within bounds


def test_whole_shape_is_in_sight() -> None:
    cover = _cover(IMAGES)
    rim = np.concatenate([cover[:, 0], cover[:, -1], cover[:, :, 0], cover[:, :, -1]], 1)
    assert (rim > 0.6).mean() < 1e-3


def test_edges_are_anti_aliased() -> None:
    partial = ((cover := _cover(IMAGES)) > 0.05) & (cover < 0.95)
    assert 0.02 < partial.mean() < 0.2


def test_refuses_none() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        shapes.render(0, seed=1)
