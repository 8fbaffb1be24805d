"""The faces against what their labels and palettes say, read from pixels."""

from __future__ import annotations

import numpy as np
import pytest

from gan_lab.data import faces

N = 256
IMAGES, LABELS = (np.concatenate(part) for part in zip(*faces.render(N, 5), strict=True))


def test_is_a_function_of_the_seed_and_any_prefix_is_the_same() -> None:
    few, labels = (np.concatenate(part) for part in zip(*faces.render(200, 5), strict=True))
    assert few.dtype == np.uint8 and few.shape == (200, 64, 64, 3) and labels.dtype == np.int64
    assert np.array_equal(few, IMAGES[:200]) and np.array_equal(labels, LABELS[:200])
    assert not np.array_equal(next(faces.render(10, 6))[0], IMAGES[:10])
    assert len({image.tobytes() for image in IMAGES}) == N
    with pytest.raises(ValueError, match="at least 1, not 0"):
        next(faces.render(0, 5))


def test_eight_classes_are_equally_frequent_and_named() -> None:
    counts = np.bincount(LABELS, minlength=8)
    assert len(faces.CLASS_NAMES) == len(set(faces.CLASS_NAMES)) == len(counts) == 8
    assert 0.5 < ((counts - N / 8) ** 2 / (N / 8)).sum() < 25  # 7 degrees of freedom: both tails under 0.1 %
    assert faces.CLASS_NAMES[0] == "smile" and faces.CLASS_NAMES[7] == "open mouth + glasses + hat"


def test_background_is_of_its_palette() -> None:
    palette = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in faces.BACKGROUNDS])
    corner = IMAGES[:, 0, 0].astype(int)
    nearest = np.abs(corner[:, None] - palette).max(-1).min(1)
    assert nearest.max() <= 9 and nearest.mean() > 1
    assert np.array_equal(IMAGES[:, 0, 0], IMAGES[:, 0, -1])


def test_labels_are_what_is_drawn() -> None:
    """A hat colours the top of the head as one of the hats, glasses darken the rims, an open mouth is higher."""
    hats = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in faces.HATS])
    crown = np.abs(IMAGES[:, 12:20, 32].astype(int)[:, :, None] - hats).max(-1).min(-1) <= 9  # n rows
    named = np.array([faces.CLASS_NAMES[label] for label in LABELS])
    has = {word: np.char.find(named, word) >= 0 for word in ("hat", "glasses", "open mouth")}
    assert crown[has["hat"]].any(1).mean() > 0.99 and crown[~has["hat"]].any(1).mean() < 0.3

    dark = (IMAGES.max(-1) < 45)[:, 24:40]  # rims and pupils; black hair is dark too
    assert dark[has["glasses"]].sum((1, 2)).mean() > 1.5 * dark[~has["glasses"]].sum((1, 2)).mean()

    red, green, blue = np.moveaxis(IMAGES.astype(int), -1, 0)
    lips = (abs(red - 120) < 12) & (abs(green - 28) < 12) & (abs(blue - 38) < 12)
    rows, columns = lips.any(2).sum(1), lips.any(1).sum(1)
    opened = has["open mouth"]
    assert (rows[opened] * 1.0 / columns[opened]).mean() > 0.9 > 0.6 > (rows[~opened] / columns[~opened]).mean()


def test_distances_are_those_of_geometry() -> None:
    """To a circle exactly, to an ellipse to first order; boxes and segments at points known by hand."""
    x, y = (np.array([v], np.float32) for v in (3.0, 4.0))
    assert faces._ellipse(x, y, 2.0, 2.0) == pytest.approx(3.0) and faces._ellipse(x, y, 6.0, 6.0) == pytest.approx(-1)
    near = np.array([2.01], np.float32)
    assert faces._ellipse(near, np.zeros_like(near), 2.0, 5.0) == pytest.approx(0.01, rel=0.02)
    assert faces._segment(x, y, 3.0, 1.0) == pytest.approx(3.0) and faces._segment(x, 0 * y, 5.0, 1.0) == pytest.approx(
        -1
    )
    assert faces._box(x, y, 1.0, 1.0, 0.0) == pytest.approx(np.hypot(2, 3)) and faces._box(
        0 * x, 0 * y, 2.0, 1.0, 0.5
    ) == pytest.approx(-1)
