"""Directions against NumPy's SVD, and that moving along them moves the images as it should."""

import numpy as np
import pytest
import torch

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import to_pixels
from gan_lab.errors import UserError
from gan_lab.nets import (
    BigGANGenerator,
    DCGANGenerator,
    Generator,
    R3GANGenerator,
    ResNetGenerator,
    SNGANGenerator,
    WNGANGenerator,
)
from gan_lab.norms import SpectralNorm, apply_weight_norm
from gan_lab.use.directions import factorize, move
from gan_lab.use.generate import generate, latents_of
from tests.use.test_generate import conditional, dcgan, stylegan2
from tests.use.test_sample import tiles


def by_svd(A, k):
    """(vectors k d, squared singular values k) of NumPy."""
    _, s, vt = np.linalg.svd(np.asarray(A, dtype=np.float64), full_matrices=False)
    return vt[:k], s[:k] ** 2


def assert_same(found, wanted):
    vectors, values = wanted
    assert np.allclose(found.values, values, rtol=1e-5)
    assert np.allclose(np.abs((found.vectors.numpy() * vectors).sum(1)), 1, atol=1e-5)
    assert np.all(found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)).numpy() > 0)


@pytest.mark.parametrize(
    ("G", "layer"),
    [
        (dcgan(), "linear"),
        (SNGANGenerator(16, 3, width=0.05), "linear"),
        (ResNetGenerator(16, 3, width=0.05), "linear"),
        (WNGANGenerator(16, 3, width=0.05), "linear"),
        (R3GANGenerator(8, 3, width=0.03), "coefficients"),
        (conditional(), "coefficients"),
        (BigGANGenerator(16, 3, width=0.05, z_dim=60, num_classes=3), "linear"),
        (apply_weight_norm(DCGANGenerator(16, 3, width=0.0625), SpectralNorm(scale=2.0)), "linear"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else value,
)
def test_directions_are_the_singular_vectors_of_the_first_layer(G, layer):
    A = getattr(G.eval(), layer).weight.detach()[:, : G.z_dim]
    A = torch.nn.functional.pad(A, (0, G.z_dim - A.shape[1]))  # BigGAN's first layer reads a part of z
    found = factorize(G, 4)
    assert found.space == "z" and found.layers is None
    assert_same(found, by_svd(A, 4))


def test_of_a_stylegan2_they_are_those_of_the_style_affines():
    G = stylegan2().eval()
    affines = [layer.conv.affine.weight.detach() for block in G.blocks for layer in block.layers]
    found = factorize(G, 3)
    assert found.space == "w" and found.layers == (0, 1, 2, 3)
    assert_same(found, by_svd(torch.cat(affines), 3))
    found = factorize(G, 3, [1, 2])
    assert found.layers == (1, 2)
    assert_same(found, by_svd(torch.cat(affines[1:]), 3))
    with pytest.raises(UserError, match="layers=3: this generator's layers are 0 to 2"):
        factorize(G, 3, [3])
    with pytest.raises(UserError, match="DCGANGenerator has no styles"):
        factorize(dcgan(), 3, [0])


def test_the_first_direction_changes_the_first_layer_most():
    G = dcgan().eval()
    found = factorize(G, 20)
    outputs = (found.vectors @ G.linear.weight.detach().T).square().sum(1)
    torch.testing.assert_close(outputs, found.values, rtol=1e-4, atol=1e-8)
    assert (outputs.diff() <= 1e-8).all() and outputs[0] > 1.5 * outputs[-1]


@torch.no_grad()
def test_moving():
    G, drawn = dcgan().eval(), latents_of(dcgan(), [3, 4])
    found = factorize(G, 2)
    steps = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    moved = move(G, drawn, found, steps)
    assert torch.equal(moved[0], generate(G, drawn)[0])
    z = drawn.z[1] + 2 * found.vectors[0] - found.vectors[1]
    torch.testing.assert_close(moved[1:], G(z[None]), rtol=0, atol=1e-6)
    S = stylegan2().eval()
    S.w_average.normal_()
    drawn, found = latents_of(S, [3, 4]), factorize(S, 2, [1])
    styles = S.truncated(S.styles(drawn.z), 0.5).clone()
    styles[1, 1] += 2 * found.vectors[0] - found.vectors[1]
    moved = move(S, drawn, found, steps, 0.5)
    torch.testing.assert_close(moved, S.synthesis(styles, drawn.noise), rtol=0, atol=1e-5)


def test_pictures_of_directions(tmp_path):
    G = dcgan().eval()
    found = gan_lab.directions(G, tmp_path / "a.png", 3, [5, 6], distance=2.0, steps=5)
    shown = tiles(tmp_path / "a.png", 3, 5, 16).reshape(3, 5, 16, 16, 3)
    drawn = latents_of(G, [5])
    with torch.no_grad():
        ends = torch.cat([drawn.z - 2 * found.vectors[1], drawn.z, drawn.z + 2 * found.vectors[1]])
        wanted = to_pixels(G(ends)).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(shown[1, [0, 2, 4]] - wanted).max() <= 1
    gan_lab.directions(G, tmp_path / "b", 2, [5, 6], distance=2.0, steps=5)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["direction-1.png", "direction-2.png"]
    second = tiles(tmp_path / "b" / "direction-2.png", 2, 5, 16).astype(int)
    assert np.abs(second[:5] - shown[1]).max() <= 1 and np.abs(second[5:] - second[:5]).max() > 1
    assert gan_lab.directions(G, k=1).vectors.shape == (1, 20)


def test_a_net_without_such_a_layer_is_told():
    class Plain(Generator):
        pass

    with pytest.raises(UserError, match="no directions: Plain has no fully connected layer that reads z"):
        factorize(Plain(8, 3, 4))


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gan_lab.use.generate.load_generator", lambda *a, **k: dcgan().eval())
    out = tmp_path / "a.png"
    assert main(["directions", "run=x", f"out={out}", "k=2", "steps=3", "device=cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: directions in z, |A n|^2 = ")
    assert main(["directions", "run=x", "out=a.gif"]) == 2
