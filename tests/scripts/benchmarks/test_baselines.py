"""The baselines compute what gan_lab computes: otherwise a comparison of times says nothing."""

from itertools import islice

import numpy as np
import pytest
import torch

from gan_lab.kernels.spectral import View
from gan_lab.nets import resnet, sngan
from gan_lab.nets.stylegan2 import StyleGAN2Generator
from gan_lab.norms import SpectralNorm, apply_weight_norm, effective_weights, weight_layers
from gan_lab.training.step import d_step, g_step
from scripts.benchmarks import baselines, step

WIDTH = 1 / 16


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair(kind):
    """(our G and D, the textbook's) with the same weights."""
    torch.manual_seed(0)
    if kind == "cnn":
        ours = (sngan.SNGANGenerator(32, 3, width=WIDTH), sngan.SNGANDiscriminator(32, 3, width=WIDTH))
        textbook = (baselines.CNNGenerator(4), baselines.CNNDiscriminator(4))
    else:
        ours = (resnet.ResNetGenerator(32, 3, width=WIDTH), resnet.ResNetDiscriminator(32, 3, width=WIDTH))
        textbook = (baselines.ResNetGenerator(16), baselines.ResNetDiscriminator(8))
    for a, b in zip(ours, textbook, strict=True):
        b.load_state_dict(a.state_dict())
    return ours, textbook


def same_vectors(mine, theirs):
    """The hook on the layer `theirs` starts from the singular vectors of our norm on `mine`."""
    spectral = mine.parametrizations.weight[0]
    view = View(theirs.weight_orig.detach().contiguous(), 0)
    theirs.weight_u.copy_(view.flat(spectral.u_1))
    theirs.weight_v.copy_(view.flat(spectral.v_1))


def normalized(ours, textbook):
    """Spectral normalization on both D, with the same singular vectors."""
    apply_weight_norm(ours, SpectralNorm())
    baselines.add_hooks(textbook)
    for (_, mine), (_, theirs) in zip(weight_layers(ours), weight_layers(textbook), strict=True):
        same_vectors(mine, theirs)
    return ours, textbook


@pytest.mark.parametrize("kind", ["resnet", "cnn"])
def test_nets_agree(kind):
    (G, D), (their_g, their_d) = pair(kind)
    z, x = torch.randn(4, 128), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(their_g(z), G(z), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(their_d(x), D(x), rtol=1e-9, atol=1e-10)
    D, their_d = normalized(D, their_d)
    torch.testing.assert_close(their_d(x), D(x), rtol=1e-9, atol=1e-10)


def test_the_hook_gives_our_normalized_weights():
    (_, D), (_, their_d) = pair("resnet")
    D, their_d = normalized(D, their_d)
    theirs = baselines.hooked_weights(their_d.modules())
    for mine, hooked in zip(effective_weights(D).values(), theirs, strict=True):
        torch.testing.assert_close(hooked, mine, rtol=1e-9, atol=1e-10)
        assert float(torch.linalg.matrix_norm(hooked.detach().flatten(1), 2)) == pytest.approx(1.0)


@pytest.mark.parametrize("recipe", ["sngan_resnet", "sngan_cnn"])
def test_one_step_has_the_same_losses_and_leaves_the_same_weights(recipe, tiny_cifar):
    """The update of D and the loss of G after it, whose normalization has moved on by one power iteration."""
    settings = ["dataset=cifar10", f"data_dir={tiny_cifar}", f"width={WIDTH}", "metrics=none", "trainer.device=cpu"]
    x = step.built([f"recipe={recipe}", *settings])
    textbook = step.textbook_of(x)
    for (_, mine), (_, theirs) in zip(weight_layers(x.D), weight_layers(textbook.D), strict=True):
        same_vectors(mine, theirs)
    real = torch.randn(4, 3, 32, 32)
    torch.manual_seed(1)
    mine = [d_step(x, real)["loss/d"], g_step(x, real)["loss/g"]]
    torch.manual_seed(1)
    theirs = [textbook.d_step(real), textbook.g_step(real)]
    torch.testing.assert_close(theirs, mine, rtol=1e-6, atol=1e-9)
    ours = dict(x.G.named_parameters())
    for name, p in textbook.G.named_parameters():
        torch.testing.assert_close(p, ours[name], rtol=0, atol=1e-6)
    for (_, a), (_, b) in zip(weight_layers(x.D), weight_layers(textbook.D), strict=True):
        torch.testing.assert_close(b.weight_orig, a.parametrizations.weight.original, rtol=0, atol=1e-6)


def test_a_weight_per_sample_gives_the_same_image_and_gradients():
    torch.manual_seed(0)
    mine = StyleGAN2Generator(16, 3, width=1 / 16, style_mixing=0.0, noise="constant")
    theirs = StyleGAN2Generator(16, 3, width=1 / 16, style_mixing=0.0, noise="constant")
    theirs.load_state_dict(mine.state_dict())
    baselines.with_weight_per_sample(theirs)
    z = torch.randn(3, 512)
    probe = torch.randn(3, 3, 16, 16)
    for net in (mine, theirs):
        (net(z) * probe).sum().backward()
    torch.testing.assert_close(theirs(z), mine(z), rtol=1e-9, atol=1e-10)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-8, atol=1e-9)


def test_pil_images_are_ours(tmp_path):
    from scripts.benchmarks.data import random_dataset

    torch.set_default_dtype(torch.float32)
    dataset = random_dataset(12, seed=0)
    images = dataset.images("train", range(12)).float().div_(127.5).sub_(1.0)
    theirs = baselines.PilImages(dataset.store.images, dataset.store.labels, hflip=False)
    torch.testing.assert_close(torch.stack([theirs[i][0] for i in range(12)]), images, rtol=0, atol=1e-6)
    batches = list(islice(baselines.pil_batches(dataset.store.images, dataset.store.labels, 4), 6))
    assert [b.shape for b in batches] == [(4, 3, 32, 32)] * 6
    known = {np.round(i.numpy(), 3).tobytes() for i in torch.cat([images, images.flip(3)])}
    assert all(np.round(i.numpy(), 3).tobytes() in known for b in batches for i in b)
