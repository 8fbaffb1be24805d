"""Images from a run, written as a grid, an array or files: the same pixels in each, and nothing else is touched."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.errors import UserError
from gan_lab.nets import R3GANGenerator
from tests.training.short_runs import evaluated_run


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_data):
    return evaluated_run(tmp_path_factory.mktemp("sample") / "run", tiny_data)


def by_hand(run, seeds, **how):
    """uint8 images, n h w c, in a batch of 8."""
    G = gan_lab.load_generator(run, **how)
    z = torch.stack([torch.randn(G.z_dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
    filled = torch.cat([z, z[-1:].expand(8 - len(z), -1)])
    images = ((G(filled)[: len(z)] + 1) * 127.5).round().clamp(0, 255)
    return images.byte().permute(0, 2, 3, 1).numpy()


def read(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def tiles(file, rows, columns, side):
    """The images of a grid, with 2 pixels between and around them."""
    grid, step = np.asarray(Image.open(file)), side + 2
    assert grid.shape == (rows * step + 2, columns * step + 2, 3)
    return np.stack([grid[2 + step * i :, 2 + step * j :][:side, :side] for i in range(rows) for j in range(columns)])


@pytest.mark.slow
def test_folder_grid_and_array_hold_the_images_of_the_seeds(run, tmp_path):
    before = torch.random.get_rng_state()
    assert gan_lab.sample(run, tmp_path / "a", 6, seed=3) == tmp_path / "a"
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == [f"{i:06d}.png" for i in range(3, 9)]
    wanted = by_hand(run, range(3, 9))
    assert np.array_equal(read(tmp_path / "a"), wanted)
    gan_lab.sample(str(run), str(tmp_path / "new" / "grid.PNG"), seeds=[7, 4, 3, 8, 5])
    assert np.array_equal(tiles(tmp_path / "new" / "grid.PNG", 3, 2, 32)[:5], wanted[[4, 1, 0, 5, 2]])
    gan_lab.sample(run, tmp_path / "grid.webp", 4, seed=3)
    assert np.array_equal(tiles(tmp_path / "grid.webp", 2, 2, 32), wanted[:4])
    gan_lab.sample(run, tmp_path / "one.png", seeds=[5])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), wanted[2])  # no frame around one image
    gan_lab.sample(run, tmp_path / "a.npz", seeds=[5, 3])
    with np.load(tmp_path / "a.npz") as arrays:
        assert sorted(arrays) == ["images", "seeds"] and arrays["seeds"].tolist() == [5, 3]
        assert np.array_equal(arrays["images"], wanted[[2, 0]])
    gan_lab.sample(run, tmp_path / "grid.jpg", 4, seed=3)
    with Image.open(tmp_path / "grid.jpg") as jpeg:
        assert jpeg.format == "JPEG" and jpeg.size == (70, 70)


@pytest.mark.slow
def test_other_weights_of_the_run(run, tmp_path):
    gan_lab.sample(run, tmp_path / "b", 6, seed=4, checkpoint="latest", ema=False)
    assert np.array_equal(read(tmp_path / "b"), by_hand(run, range(4, 10), which="latest", ema=False))
    assert not np.array_equal(read(tmp_path / "b"), by_hand(run, range(4, 10), which="latest"))


def test_classes_are_drawn_side_by_side(tmp_path):
    torch.manual_seed(0)
    G = R3GANGenerator(8, 1, width=0.03, conditional=True, num_classes=3).eval()
    gan_lab.sample(G, tmp_path / "grid.png", seeds=[5, 6], classes=[2, 0, 1])
    gan_lab.sample(G, tmp_path / "folder", seeds=[5, 6], classes=[2, 0, 1])
    names = [f"{seed:06d}-class{c}.png" for seed in (5, 6) for c in (2, 0, 1)]
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == sorted(names)
    drawn = np.stack([np.asarray(Image.open(tmp_path / "folder" / name)) for name in names])
    assert np.array_equal(tiles(tmp_path / "grid.png", 2, 3, 8), drawn[..., None].repeat(3, axis=3))
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() > 1
    gan_lab.sample(G, tmp_path / "a.npz", 4)
    with np.load(tmp_path / "a.npz") as arrays:
        for s, c in enumerate(arrays["classes"].tolist()):
            generator = torch.Generator().manual_seed(s)
            torch.randn(G.z_dim, generator=generator)
            assert c == int(3 * torch.rand((), generator=generator))
        assert arrays["images"].shape == (4, 8, 8, 1)


def test_values_beyond_the_range_are_clamped(tmp_path):
    class Wild(R3GANGenerator):
        def forward(self, z, y=None):
            return z[:, :1, None, None].expand(-1, 1, 8, 8) * 3

    G = Wild(8, 1, width=0.03)
    gan_lab.sample(G, tmp_path / "a.npz", 8)
    z = [float(torch.randn(64, generator=torch.Generator().manual_seed(s))[0]) for s in range(8)]
    with np.load(tmp_path / "a.npz") as arrays:
        wanted = [min(max((3 * value + 1) * 127.5, 0), 255) for value in z]
        assert np.abs(arrays["images"][:, 0, 0, 0] - np.array(wanted)).max() <= 0.5
    assert {0, 255} & {round(value) for value in wanted}


@pytest.mark.slow
def test_a_folder_of_other_images_is_refused(run, tmp_path):
    folder = tmp_path / "a"
    gan_lab.sample(run, folder, 3)
    third = (folder / "000002.png").read_bytes()
    gan_lab.sample(run, folder, 5)  # holds what it says
    with pytest.raises(UserError, match="holds other images, such as 000003.png"):
        gan_lab.sample(run, folder, 3, seed=0)
    assert len(list(folder.iterdir())) == 5
    (folder / "photo.jpg").write_bytes(b"mine")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other images"):
        gan_lab.sample(run, folder, 5)
    gan_lab.sample(run, folder, 3, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == [
        "000000.png", "000001.png", "000002.png", "notes.txt", "photo.jpg"
    ]  # fmt: skip
    assert (folder / "000002.png").read_bytes() == third


@pytest.mark.parametrize("name", ["x.gif", "x.mp4", "v1.5", "x.pngg"])
def test_another_ending_is_an_error_and_makes_nothing(run, tmp_path, name):
    with pytest.raises(UserError, match=r"must be a file that ends in .png, .jpg, .jpeg, .webp, .npz, or a folder"):
        gan_lab.sample(run, tmp_path / name, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_may_have_a_dot_in_its_name(run, tmp_path):
    (tmp_path / "v1.5").mkdir()
    gan_lab.sample(run, tmp_path / "v1.5", 1, format="webp")
    assert [p.name for p in (tmp_path / "v1.5").iterdir()] == ["000000.webp"]


def test_what_cannot_be_read_or_written_is_told(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to .*file/x"):
        gan_lab.sample(run, tmp_path / "file" / "x", 1)
    with pytest.raises(UserError, match="no checkpoints found"):
        gan_lab.sample(tmp_path / "nowhere", tmp_path / "x")
    with pytest.raises(UserError, match="give seeds=, or n= and seed="):
        gan_lab.sample(run, tmp_path / "x", 3, seeds=[1])
    with pytest.raises(UserError, match="a grid holds at most 10,000 images"):
        gan_lab.sample(run, tmp_path / "x.png", 10_001)
    assert not (tmp_path / "x").exists()


def test_the_command(run, tmp_path, capsys):
    words = [f"run={run}", f"out={tmp_path / 'c'}", "n=2", "seed=5", "checkpoint=7", "raw=true", "device=cpu"]
    assert main(["sample", *words]) == 0
    assert capsys.readouterr().out == f"2 images in {tmp_path / 'c'}\n"
    assert np.array_equal(read(tmp_path / "c"), by_hand(run, [5, 6], which="7", ema=False))
    assert main(["sample", f"run={run}", f"out={tmp_path / 'd'}", "seeds=3-4,9"]) == 0
    assert capsys.readouterr().out == f"3 images in {tmp_path / 'd'}\n"
    assert np.array_equal(read(tmp_path / "d"), by_hand(run, [3, 4, 9]))
    for words, message in (
        (["n=0"], "n=0: must be a whole number from 1 to 1000000"),
        (["seeds=3-1"], "seeds=3-1: must be whole numbers and ranges with commas between"),
        (["truncation=3"], "truncation=3: must be from 0"),
        (["classes=1"], "this generator is unconditional"),
    ):
        assert main(["sample", f"run={run}", f"out={tmp_path / 'e'}", *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_a_picture_too_large_for_its_format_is_told():
    from gan_lab.use.pictures import encoded

    with pytest.raises(UserError, match="a picture of 17000 x 1 pixels cannot be written as WEBP"):
        encoded(Image.new("L", (17_000, 1)), ".webp")
    assert Image.open(io.BytesIO(encoded(Image.new("L", (17_000, 1)), ".png"))).size == (17_000, 1)


def test_standing_statistics_change_the_images_and_not_the_run(tmp_path, run):
    before = by_hand(run, [3])
    arrays = []
    for n in (0, 2, 2):
        gan_lab.sample(run, tmp_path / "a.npz", seeds=[3], standing_statistics=n)
        arrays.append(np.load(tmp_path / "a.npz")["images"])
    assert np.array_equal(arrays[0], before) and np.array_equal(arrays[1], arrays[2])
    assert not np.array_equal(arrays[0], arrays[1]) and np.array_equal(by_hand(run, [3]), before)


def test_a_tilde_is_the_home_of_the_caller(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    gan_lab.sample(run, "~/a/x.png", 1)
    assert (tmp_path / "a" / "x.png").is_file() and not (tmp_path / "~").exists()
