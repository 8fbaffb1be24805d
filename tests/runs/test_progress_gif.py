"""The film of a run's grids."""

import numpy as np
import pytest
from PIL import Image

from gan_lab.runs import progress_gif
from gan_lab.runs.progress_gif import spread, write_progress_gif


def write_grids(folder, levels, side=20, noise=0):
    (folder / "samples").mkdir(exist_ok=True)
    random = np.random.RandomState(0)
    for step, level in enumerate(levels):
        pixels = np.full((side, side, 3), level) + (random.randint(-noise, noise + 1, (side, side, 3)) if noise else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "samples" / f"samples-{step:08d}.png")
        Image.fromarray(np.zeros_like(pixels, np.uint8)).save(folder / "samples" / f"raw-{step:08d}.png")


def frames_of(path):
    with Image.open(path) as film:
        assert film.info["loop"] == 0
        found = []
        for i in range(film.n_frames):
            film.seek(i)
            found.append((np.asarray(film.convert("RGB"), float).mean(), film.info["duration"], film.size))
    return found


def test_it_shows_the_grids_of_samples_in_order_and_rests_on_the_last(tmp_path):
    write_grids(tmp_path, [10, 200, 90])
    frames = frames_of(write_progress_gif(tmp_path))
    assert [level for level, _, _ in frames] == pytest.approx([10, 200, 90], abs=1)
    assert [ms for _, ms, _ in frames] == [200, 200, 2500]
    assert {size for *_, size in frames} == {(20, 20)}


def test_frames_share_colours_that_are_near_their_own(tmp_path):
    (tmp_path / "samples").mkdir()
    ramp = np.linspace(0, 255, 64)
    smooth = np.stack([*np.meshgrid(ramp, ramp), np.full((64, 64), 40.0)], axis=2)
    pictures = [smooth.astype(np.uint8), np.ascontiguousarray(smooth[:, :, ::-1]).astype(np.uint8)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "samples" / f"samples-{i:08d}.png")
    colours = set()
    with Image.open(write_progress_gif(tmp_path)) as film:
        for i, picture in enumerate(pictures):
            film.seek(i)
            shown = np.asarray(film.convert("RGB"), float)
            colours |= {tuple(colour) for colour in shown.reshape(-1, 3)}
            assert 1 < np.abs(shown - picture).mean() < 10
    assert 100 < len(colours) <= 255


def test_one_grid_is_no_film(tmp_path):
    write_grids(tmp_path, [10])
    assert write_progress_gif(tmp_path) is None and not (tmp_path / "progress.gif").exists()


def test_many_grids_are_thinned_out_from_the_first_to_the_last():
    assert spread(list(range(100)), 4) == [0, 33, 66, 99]
    assert spread(list(range(3)), 48) == [0, 1, 2]


def test_a_film_that_is_too_large_gets_fewer_and_smaller_frames(tmp_path, monkeypatch):
    write_grids(tmp_path, [100] * 9, side=160, noise=90)
    whole = write_progress_gif(tmp_path).stat().st_size
    monkeypatch.setattr(progress_gif, "MOST_BYTES", whole // 3)
    path = write_progress_gif(tmp_path)
    frames = frames_of(path)
    assert whole // 30 < path.stat().st_size <= whole // 3
    assert 2 <= len(frames) < 9 and 64 <= frames[0][2][0] < 160
