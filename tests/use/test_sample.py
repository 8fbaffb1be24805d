"""Images from a run: what is drawn is what the generator gives for the seed, and nothing else is touched."""

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.errors import UserError
from gan_lab.use import sample as module
from tests.training.short_runs import evaluated_run


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data):
    return evaluated_run(tmp_path_factory.mktemp("sample") / "run", tiny_data)


def by_hand(run, n, seed, **how):
    """uint8 images, n h w c; drawn in the batches that `sample` draws in."""
    G = gan_lab.load_generator(run, **how)
    torch.manual_seed(seed)
    images = torch.cat([G(G.sample_z(min(module.BATCH, n - i), "cpu")) for i in range(0, n, module.BATCH)])
    return ((images + 1) / 2 * 255).add(0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def read(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def test_a_folder_gets_the_images_of_the_seed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)
    before = torch.random.get_rng_state()
    assert gan_lab.sample(run, tmp_path / "a", 6, seed=3) == tmp_path / "a"
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == [f"{i:06d}.png" for i in range(6)]
    assert np.array_equal(read(tmp_path / "a"), by_hand(run, 6, 3))
    gan_lab.sample(run, tmp_path / "b", 6, seed=4, checkpoint="latest", ema=False)
    assert np.array_equal(read(tmp_path / "b"), by_hand(run, 6, 4, which="latest", ema=False))
    assert not np.array_equal(read(tmp_path / "b"), by_hand(run, 6, 4, which="latest"))


def test_a_png_is_a_grid_of_the_same_images(run, tmp_path):
    gan_lab.sample(str(run), str(tmp_path / "new" / "grid.PNG"), 9, seed=3)
    grid = np.asarray(Image.open(tmp_path / "new" / "grid.PNG"))
    assert grid.shape == (3 * 34 + 2, 3 * 34 + 2, 3)  # 2 pixels between and around
    tiles = [grid[2 + 34 * i : 34 * (i + 1), 2 + 34 * j : 34 * (j + 1)] for i in range(3) for j in range(3)]
    assert np.array_equal(np.stack(tiles), by_hand(run, 9, 3))


def test_what_cannot_be_read_or_written_is_told(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to .*file/x"):
        gan_lab.sample(run, tmp_path / "file" / "x", 1)
    with pytest.raises(UserError, match="no checkpoints found"):
        gan_lab.sample(tmp_path / "nowhere", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command(run, tmp_path, capsys):
    words = [f"run={run}", f"out={tmp_path / 'c'}", "n=2", "seed=5", "checkpoint=7", "raw=true"]
    assert main(["sample", *words]) == 0
    assert capsys.readouterr().out == f"2 images in {tmp_path / 'c'}\n"
    assert np.array_equal(read(tmp_path / "c"), by_hand(run, 2, 5, which="7", ema=False))
    assert main(["sample", f"run={run}", "n=0"]) == 2
    assert "n=0: must be a whole number from 1 to 1000000" in capsys.readouterr().err
