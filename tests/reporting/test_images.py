"""Sample grids: the last of one seed, small, and whatever lies there."""

import base64
import io

import numpy as np
from PIL import Image

from gan_lab.reporting.images import MOST_BYTES, encode, last_grid, sample_grids
from gan_lab.reporting.recipes import group_runs
from gan_lab.reporting.runs import find_runs, read_run


def recipes_of(folder):
    return group_runs([read_run(p, p.name) for p in find_runs([folder])])[0]


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_one_grid_of_one_seed_for_each_recipe_and_one_of_reals(sweep):
    samples = sample_grids(recipes_of(sweep))
    assert [p.label for p in samples.pictures][0] == "reals" and len(samples.pictures) == 6
    assert {p.note for p in samples.pictures[1:]} == {"seed 1, step 3,000"}
    assert (samples.seed, samples.others, samples.same_z, samples.left_out) == (1, 0, True, 0)


def test_the_picture_is_the_last_grid(sweep):
    recipe = next(r for r in recipes_of(sweep) if r.label == "norm=sn")
    run = recipe.seeds[1]
    assert last_grid(run.path, "samples") == (3000, run.path / "samples" / "samples-00003000.png")
    shown = np.asarray(decoded(sample_grids([recipe]).pictures[1].uri).convert("RGB"), float)
    last = np.asarray(Image.open(run.path / "samples" / "samples-00003000.png"), float)
    first = np.asarray(Image.open(run.path / "samples" / "samples-00000000.png"), float)
    assert shown.shape == last.shape and np.abs(shown - last).mean() < 8 < np.abs(shown - first).mean()


def test_pictures_stay_small(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1200, 3), dtype=np.uint8))
    uri, size = encode(noise)
    assert len(base64.b64decode(uri.partition("base64,")[2])) <= MOST_BYTES
    assert max(size) <= 640 and decoded(uri).size == size


def test_many_pictures_share_the_page_s_bytes(sweep):
    pictures = sample_grids(recipes_of(sweep), budget=60_000).pictures
    sizes = [len(base64.b64decode(p.uri.partition("base64,")[2])) for p in pictures]
    assert len(sizes) == 6 and max(sizes) <= 10_000 and sum(sizes) <= 60_000
    whole = sample_grids(recipes_of(sweep)).pictures
    assert max(len(p.uri) for p in whole) > 4 / 3 * 10_000  # without the budget they are larger


def test_other_z_are_not_called_the_same(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config("sn", 1), samples=True, last=100, every=50)
    fabricate.run(tmp_path / "b", fabricate.config("bsn", 2), samples=True, last=100, every=50, norm="bsn")
    assert sample_grids(recipes_of(tmp_path)).others == 1
    other = fabricate.config("ssn", 1)
    other["generator"]["z_dim"] = 7
    fabricate.run(tmp_path / "c", other, samples=True, last=100, every=50, norm="ssn")
    assert not sample_grids(recipes_of(tmp_path)).same_z


def test_files_that_are_no_pictures_are_passed_over(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "a", fabricate.config("sn", 1), samples=True, last=100, every=50)
    for file in path.glob("samples/*.png"):
        file.write_bytes(file.read_bytes()[:50])
    (path / "samples" / "samples-x.png").write_text("")
    assert sample_grids(recipes_of(tmp_path)).pictures == []
