"""Paths between seeds against closed forms; films are decoded again; grids of styles against the synthesis by hand."""

import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import to_pixels
from gan_lab.errors import UserError
from gan_lab.nets import R3GANGenerator, ResNetGenerator
from gan_lab.use.generate import generate, latents_of
from gan_lab.use.interpolate import lerp, slerp
from tests.use.test_generate import conditional, dcgan, stylegan2
from tests.use.test_sample import tiles


def pixels(G, seeds, classes=None):
    """uint8, n h w c"""
    return to_pixels(generate(G, latents_of(G, seeds, classes))).permute(0, 2, 3, 1).numpy()


def near(a, b, most=1):
    return np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= most


def test_slerp_is_the_great_circle():
    t = torch.linspace(0, 1, 7)
    x, y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    angle = t * math.pi / 2
    wanted = torch.stack([angle.cos(), 2 * angle.sin(), torch.zeros(7)], 1)
    torch.testing.assert_close(slerp(x, y, t), wanted, rtol=0, atol=1e-6)
    a, b = torch.randn(2, 50)
    a, b = a / a.norm(), b / b.norm()
    path = slerp(a, b, t)
    torch.testing.assert_close(path.norm(dim=1), torch.ones(7), rtol=0, atol=1e-6)
    turned = torch.arccos((path[1:] * path[:-1]).sum(1).double())  # equal angles
    torch.testing.assert_close(turned, turned.mean().expand(6), rtol=1e-3, atol=0)
    torch.testing.assert_close(path[[0, -1]], torch.stack([a, b]), rtol=0, atol=1e-6)
    torch.testing.assert_close(slerp(a, a, t), a.expand(7, -1), rtol=0, atol=1e-6)
    torch.testing.assert_close(slerp(a, -a, t[3:4]), torch.zeros(1, 50), rtol=0, atol=1e-6)
    torch.testing.assert_close(lerp(x, y, t[1:2]), torch.tensor([[5 / 6, 1 / 3, 0.0]]))


def test_a_strip_begins_and_ends_at_the_seeds(tmp_path):
    G = dcgan().eval()
    gan_lab.interpolate(G, tmp_path / "a.png", [3, 9, 4], frames=5)
    found = tiles(tmp_path / "a.png", 3, 5, 16)
    stations = pixels(G, [3, 9, 4])
    assert near(found[[0, 5, 10]], stations) and near(found[[4, 9, 14]], stations[[1, 2, 0]])  # closed
    z = latents_of(G, [3, 9]).z
    with torch.no_grad():
        middle = to_pixels(G(slerp(z[0], z[1], torch.tensor([0.5]))))[0].permute(1, 2, 0).numpy()
        straight = to_pixels(G(z.mean(0, keepdim=True)))[0].permute(1, 2, 0).numpy()
    assert near(found[2], middle) and not near(found[2], straight)
    gan_lab.interpolate(G, tmp_path / "b.png", [3, 9], frames=3, mode="lerp", loop=False)
    assert near(tiles(tmp_path / "b.png", 1, 3, 16)[1], straight)


@pytest.mark.parametrize(
    "make", [conditional, lambda: ResNetGenerator(8, 3, width=0.05, conditional=True, num_classes=5)]
)
def test_between_classes_the_net_gets_shares(make, tmp_path):
    torch.manual_seed(2)
    G = make().eval()
    for name, p in G.named_parameters():
        if "gains" in name or "biases" in name:
            torch.nn.init.normal_(p)
    gan_lab.interpolate(G, tmp_path / "a.png", [3], classes=[0, 2], frames=3, loop=False)
    found = tiles(tmp_path / "a.png", 1, 3, 8)
    assert near(found[[0, 2]], pixels(G, [3, 3], [0, 2])) and not near(found[0], found[2])
    drawn = latents_of(G, [3], [0])
    with torch.no_grad():
        half = to_pixels(G(drawn.z, torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.0]])))[0].permute(1, 2, 0).numpy()
    assert near(found[1], half)


def test_in_w_paths_are_straight_and_noise_is_the_first_seeds(tmp_path):
    torch.manual_seed(0)
    G = stylegan2().eval()
    G.w_average.normal_()
    gan_lab.interpolate(G, tmp_path / "a.png", [3, 9], frames=3, space="w", loop=False, truncation=0.5)
    drawn = latents_of(G, [3, 9])
    with torch.no_grad():
        w = G.w_average + 0.5 * (G.styles(drawn.z) - G.w_average)
        styles = torch.stack([w[0], w.mean(0), w[1]])
        by_hand = G.synthesis(styles, [maps[:1].expand(3, -1, -1, -1) for maps in drawn.noise])
    assert near(tiles(tmp_path / "a.png", 1, 3, 8), to_pixels(by_hand).permute(0, 2, 3, 1).numpy())
    with pytest.raises(UserError, match="has no styles"):
        gan_lab.interpolate(dcgan(), tmp_path / "b.png", [3, 9], space="w")


def frames_of(file):
    if file.suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == 10 and stream.codec_context.name == "h264"
            return [frame.to_image() for frame in container.decode(video=0)]
    with Image.open(file) as image:
        assert image.n_frames > 1 and image.info["loop"] == 0
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            assert image.info["duration"] == 100
            found.append(image.convert("RGB"))
        return found


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_a_film_holds_the_frames_of_the_path(suffix, tmp_path):
    torch.manual_seed(0)
    G, file = dcgan().eval(), tmp_path / f"new{suffix}"
    for p in G.parameters():
        p.data.mul_(3)
    gan_lab.interpolate(G, file, [3, 9], frames=4, fps=10)
    gan_lab.interpolate(G, tmp_path / "strip.png", [3, 9], frames=5, loop=False)
    strip = tiles(tmp_path / "strip.png", 1, 5, 16)
    shown = [np.asarray(frame) for frame in frames_of(file)]
    assert len(shown) == 8 and shown[0].shape == (256, 256, 3)
    for k, wanted in enumerate([*strip[:4], strip[4]]):
        small = shown[k].reshape(16, 16, 16, 16, 3).mean((1, 3))  # 16 x 16 pixels for each
        assert np.abs(small.mean() - wanted.mean()) < 4 and np.abs(small - wanted).mean() < 16, k
    assert np.abs(shown[0].astype(int) - shown[4]).mean() > np.abs(shown[0].astype(int) - shown[1]).mean()
    gan_lab.interpolate(G, file, [3, 9], frames=4, fps=10, loop=False, scale=1)
    assert len(frames_of(file)) == 5


def test_an_odd_side_is_padded(tmp_path):
    from gan_lab.use.film import write_film

    write_film(tmp_path / "a.mp4", [torch.full((3, 3, 33, 35), 200, dtype=torch.uint8)], 10)
    frame = np.asarray(frames_of(tmp_path / "a.mp4")[0])
    assert frame.shape == (34, 36, 3) and abs(int(frame[5, 5, 0]) - 200) < 6


def test_without_pyav_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr("gan_lab.use.film.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"MP4 needs PyAV: pip install av"):
        gan_lab.interpolate(dcgan(), tmp_path / "a.mp4")
    gan_lab.interpolate(dcgan(), tmp_path / "a.gif", [1, 2], frames=2)


def test_mixed_styles_take_their_layers_from_the_column(tmp_path):
    torch.manual_seed(0)
    G = stylegan2().eval()
    gan_lab.mix_styles(G, tmp_path / "a.png", rows=[1, 2], columns=[5, 6, 7], layers=[0, 3])
    found = tiles(tmp_path / "a.png", 3, 4, 8).reshape(3, 4, 8, 8, 3)
    assert found[0, 0].max() == 0
    assert near(found[0, 1:], pixels(G, [5, 6, 7])) and near(found[1:, 0], pixels(G, [1, 2]))
    drawn = latents_of(G, [2, 6])
    with torch.no_grad():
        row, column = G.styles(drawn.z)
        mixed = torch.stack([column[0], row[1], row[2], column[3]])
        image = to_pixels(G.synthesis(mixed[None], [maps[:1] for maps in drawn.noise]))[0].permute(1, 2, 0).numpy()
    assert near(found[2, 2], image) and not near(found[2, 2], found[2, 0])
    with pytest.raises(UserError, match="layers=4: this generator's layers are 0 to 3"):
        gan_lab.mix_styles(G, tmp_path / "b.png", layers=[4])
    with pytest.raises(UserError, match="R3GANGenerator has no styles"):
        gan_lab.mix_styles(R3GANGenerator(8, 3, width=0.03), tmp_path / "b.png")


def test_bad_stations_and_endings(tmp_path):
    for seeds, classes in (([1], None), ([1, 2], [1, 2, 3]), ([], None)):
        with pytest.raises(UserError, match="needs at least two seeds or classes"):
            gan_lab.interpolate(conditional(), tmp_path / "a.png", seeds, classes)
    with pytest.raises(UserError, match="must be a file that ends in .mp4, .gif, .webp, .png"):
        gan_lab.interpolate(dcgan(), tmp_path / "a.avi")
    assert list(tmp_path.iterdir()) == []


def test_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gan_lab.use.generate.load_generator", lambda *a, **k: stylegan2().eval())
    out = tmp_path / "a.gif"
    assert main(["interpolate", "run=x", f"out={out}", "seeds=1-2", "frames=2", "space=w", "device=cpu"]) == 0
    assert capsys.readouterr().out == f"{out}\n" and out.is_file()
    assert main(["mix-styles", "run=x", f"out={tmp_path / 'b.png'}", "rows=1", "columns=2-3", "device=cpu"]) == 0
    assert tiles(tmp_path / "b.png", 2, 3, 8).shape == (6, 8, 8, 3)
    assert main(["interpolate", "run=x", f"out={out}", "frames=1"]) == 2


def test_between_sets_of_labels_the_net_gets_shares_of_both(tmp_path):
    torch.manual_seed(4)
    G = R3GANGenerator(8, 3, width=0.03, conditional=True, num_classes=3).eval()
    G.use_label_rows(2)
    G.label_rows.copy_(torch.tensor([[1, 1, 0], [0, 0, 1]]))
    for p in G.parameters():
        torch.nn.init.normal_(p, std=0.3)
    gan_lab.interpolate(G, tmp_path / "a.png", [3], classes=[0, 1], frames=3, loop=False)
    found = tiles(tmp_path / "a.png", 1, 3, 8)
    z = latents_of(G, [3], [0]).z
    shares = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0]])
    with torch.no_grad():
        expected = to_pixels(G(z.expand(3, -1), shares)).permute(0, 2, 3, 1).numpy()
    assert near(found, expected) and not near(found[0], found[2])
    gan_lab.interpolate(G, tmp_path / "b.png", [3, 5], classes=[1], frames=2, loop=False)  # one set throughout
    assert near(tiles(tmp_path / "b.png", 1, 2, 8)[0], expected[2])
