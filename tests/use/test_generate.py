"""A seed gives the same image whatever is drawn with it; its latents are those of its own generator."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrize

from gan_lab.errors import OutOfMemoryError, UserError
from gan_lab.nets import (
    BigGANDeepGenerator,
    BigGANGenerator,
    DCGANGenerator,
    R3GANGenerator,
    ResNetGenerator,
    SNGANGenerator,
    StyleGAN2Generator,
    WNGANGenerator,
)
from gan_lab.norms import EqualizedLR, SpectralNorm, WeightNorm, apply_weight_norm, bake
from gan_lab.use import generate as module
from gan_lab.use.generate import Latents, generate, latents_of, open_generator, own_generator


def dcgan():
    return DCGANGenerator(16, 3, width=0.0625, z_dim=20, init_std=0.2)


def conditional():
    return R3GANGenerator(8, 3, width=0.03, z_dim=20, conditional=True, num_classes=5)


def stylegan2():
    G = StyleGAN2Generator(8, 3, width=0.03, z_dim=20, w_dim=16, mapping_layers=2)
    for block in G.blocks:
        for layer in block.layers:
            torch.nn.init.constant_(layer.noise_strength, 0.5)
    return G


def wn_gan():
    G = WNGANGenerator(16, 3, width=0.06, z_dim=20)
    with torch.no_grad():
        G.linear.weight.mul_(1000)  # small at the start
    return G


OTHER_FAMILIES = {
    "biggan": lambda: BigGANGenerator(8, 3, width=0.06, z_dim=20, shared_dim=8, num_classes=5),
    "biggan_deep": lambda: BigGANDeepGenerator(8, 3, width=0.06, z_dim=20, shared_dim=8, num_classes=5),
    "resnet": lambda: ResNetGenerator(16, 3, width=0.06, z_dim=20),
    "resnet_classes": lambda: ResNetGenerator(16, 3, width=0.06, z_dim=20, conditional=True, num_classes=5),
    "sngan_cnn": lambda: SNGANGenerator(16, 3, width=0.06, z_dim=20, init_std=0.2),
    "wn_gan": wn_gan,
}


@pytest.fixture(params=[dcgan, conditional, stylegan2])
def G(request):
    torch.manual_seed(1)
    return request.param().eval()


def images(G, seeds, **how):
    return dict(zip(seeds, generate(G, latents_of(G, seeds), **how), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("make", [dcgan, conditional, stylegan2, *OTHER_FAMILIES.values()],
                         ids=["dcgan", "r3gan_classes", "stylegan2", *OTHER_FAMILIES])  # fmt: skip
def test_a_seed_gives_the_same_image_whatever_n_and_batch_and_threads(make):
    torch.manual_seed(1)
    G = make().eval()
    whole = images(G, range(100))
    assert (whole[0] - whole[1]).abs().max() > 1e-3
    for n in (1, 3, 10):
        for seed, image in images(G, range(n)).items():
            assert torch.equal(image, whole[seed])  # to the bit: batches are filled up
    for some in ([99, 7], [7], [3, 7, 3]):
        for seed, image in images(G, some).items():
            assert torch.equal(image, whole[seed])
    for batch_size in (1, 64):
        for seed, image in images(G, range(12), batch_size=batch_size).items():
            torch.testing.assert_close(image, whole[seed], rtol=0, atol=1e-5)
    try:
        torch.set_num_threads(2)
        for seed, image in images(G, range(10)).items():
            torch.testing.assert_close(image, whole[seed], rtol=0, atol=1e-5)
    finally:
        torch.set_num_threads(1)


def test_the_latents_of_a_seed_are_drawn_from_its_own_generator(G):
    before = torch.random.get_rng_state()
    drawn = latents_of(G, [3, 2**63 - 1])
    assert torch.equal(torch.random.get_rng_state(), before)
    for i, seed in enumerate((3, 2**63 - 1)):
        generator = torch.Generator().manual_seed(seed)
        assert torch.equal(drawn.z[i], torch.randn(20, generator=generator))
        if G.num_classes:
            assert int(drawn.y[i]) == int(5 * torch.rand((), generator=generator))
        for maps in drawn.noise:
            assert torch.equal(maps[i], torch.randn(maps.shape[1:], generator=generator))
    assert [maps.shape[-1] for maps in drawn.noise] == list(G.noise_sides)


def test_given_noise_is_what_the_generator_would_have_drawn():
    G = stylegan2().eval()
    z = torch.randn(2, 20)
    torch.manual_seed(4)
    drawn = G(z)
    torch.manual_seed(4)
    noise = [torch.randn(2, 1, side, side) for side in G.noise_sides]
    assert torch.equal(G(z, noise=noise), drawn)
    assert (G(z, noise=noise[::-1] if len(set(G.noise_sides)) == 1 else [-n for n in noise]) - drawn).abs().max() > 1e-3
    G.noise = "constant"
    assert not G.draws_noise and latents_of(G, [1]).noise == ()


def test_classes():
    G = conditional().eval()
    chosen = latents_of(G, [4, 5], [2])
    assert chosen.y.tolist() == [2, 2] and torch.equal(chosen.z, latents_of(G, [4, 5]).z)
    assert latents_of(G, [4, 5], [2, 0]).y.tolist() == [2, 0]
    assert 100 < sum(latents_of(G, range(1000)).y == 3) < 300
    with torch.no_grad():
        assert torch.equal(generate(G, chosen, batch_size=2), G(chosen.z, torch.tensor([2, 2])))
    for classes, message in (([5], "classes=5: this generator's classes are 0 to 4"), ([1, 2, 3], "3 classes for 2"),
                             (["a b"], "classes=a b: this generator's classes are 0 to 4")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            latents_of(G, [4, 5], classes)
    with pytest.raises(UserError, match="unconditional"):
        latents_of(dcgan(), [4], [0])


def test_classes_by_name():
    G = conditional().eval()
    G.class_names = ("ant", "bee", "cat", "dog", "0")
    assert latents_of(G, [4, 5], ["bee", 3]).y.tolist() == [1, 3]
    assert latents_of(G, [4, 5], "cat").y.tolist() == [2, 2]
    assert latents_of(G, [4, 5], ["0", 0]).y.tolist() == [4, 0]
    for name, told in (("bea", r"; did you mean 'bee'\?"), ("1", "; there are: 0, ant, bee, cat, dog")):
        with pytest.raises(UserError, match=rf"^classes={name}: this generator's classes are 0 to 4{told}$"):
            latents_of(G, [4], [name])


def test_sets_of_labels_by_name():
    G = conditional().eval()
    G.class_names = ("hat", "beard", "smile", "scarf", "pipe")
    G.use_label_rows(3)
    G.label_rows.copy_(torch.tensor([[0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [0, 1, 0, 0, 0]]))
    assert G.choice_names == ["none", "hat + smile", "beard"]
    assert latents_of(G, [4, 5], ["hat + smile", 0]).y.tolist() == [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    with pytest.raises(UserError, match="classes=hat: this generator's sets of labels are 0 to 2"):
        latents_of(G, [4], ["hat"])
    G.class_names = ()
    assert G.choice_names == []


@torch.no_grad()
def test_truncation_is_in_w_or_else_in_z():
    plain, styled = dcgan().eval(), stylegan2().eval()
    styled.w_average.normal_()
    drawn = latents_of(plain, [1, 2])
    torch.testing.assert_close(generate(plain, drawn, 0.3), plain(drawn.z * 0.3), rtol=0, atol=1e-6)
    drawn = latents_of(styled, [1, 2])
    w = styled.w_average + 0.3 * (styled.styles(drawn.z) - styled.w_average)
    torch.testing.assert_close(generate(styled, drawn, 0.3), styled.synthesis(w, drawn.noise), rtol=0, atol=1e-5)


def test_the_batch_is_halved_where_memory_is_short(monkeypatch):
    G, sizes = dcgan().eval(), []

    def short(limit):
        def forward(G, latents, truncation):
            sizes.append(len(latents))
            if len(latents) > limit:
                raise torch.OutOfMemoryError("no memory")
            return latents.z[:, :, None, None]

        return forward

    monkeypatch.setattr(module, "forward", short(3))
    drawn = latents_of(G, range(5))
    assert torch.equal(generate(G, drawn, batch_size=16)[:, :, 0, 0], drawn.z)
    assert sizes == [16, 8, 4, 2, 2, 2]
    monkeypatch.setattr(module, "forward", short(0))
    with pytest.raises(OutOfMemoryError, match="too little memory for one image"):
        generate(G, drawn)


def test_a_generator_is_taken_as_it_is_and_latents_can_be_indexed():
    G = dcgan().train()
    assert open_generator(G, torch.device("cpu")) is G and not G.training
    drawn = Latents(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 2]), (torch.zeros(3, 1, 2, 2),))
    assert len(drawn[1:]) == 2 and drawn[1:].y.tolist() == [1, 2] and drawn[1:].noise[0].shape == (2, 1, 2, 2)


@pytest.mark.parametrize("make", [dcgan, conditional, stylegan2])
def test_a_seed_gives_the_same_image_whatever_torchs_defaults_are(make, defaults):
    G = make().eval()
    expected, chosen = images(G, [3, 4]), latents_of(G, [3, 4], [1] if G.num_classes else None)
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, "meta"), (torch.float16, "meta")):
        defaults(dtype, device)
        found, again = images(G, [3, 4]), latents_of(G, [3, 4], [1] if G.num_classes else None)
        assert all(torch.equal(found[seed], expected[seed]) for seed in (3, 4))
        assert torch.equal(again.z, chosen.z) and (chosen.y is None or torch.equal(again.y, chosen.y))


def test_seeds_and_classes_may_be_of_numpy_or_torch():
    G = conditional()
    wanted = latents_of(G, [0, 1, 2], [1, 2, 4])
    for kind in (np.array, torch.tensor, tuple):
        found = latents_of(G, kind([0, 1, 2]), kind([1, 2, 4]))
        assert torch.equal(found.z, wanted.z) and found.y.tolist() == [1, 2, 4] and found.y.dtype == torch.int64
    assert torch.equal(latents_of(G, [0], np.array([], int)).y, latents_of(G, [0]).y)
    for seeds, told in (([], "give at least one"), ([0.5], "must be whole numbers"), (["1"], "must be whole numbers")):
        with pytest.raises(UserError, match=f"^seeds=.*: {told}"):
            latents_of(G, seeds)
    for classes in (np.array([5]), torch.tensor([-1]), [0.5], ["1"]):
        with pytest.raises(UserError, match="this generator's classes are 0 to 4$"):
            latents_of(G, [0], classes)
    with pytest.raises(UserError, match="takes none"):
        latents_of(dcgan(), [0], np.array([0]))


@pytest.mark.parametrize("norm", [SpectralNorm(scale=1.5), WeightNorm(), EqualizedLR()])
def test_normed_weights_are_computed_once_a_call_and_not_in_torchs_cache(norm, monkeypatch):
    G = apply_weight_norm(stylegan2().eval(), norm)
    drawn, baked = latents_of(G, range(10)), []
    with torch.no_grad():
        expected = G(drawn.z[:8], noise=tuple(maps[:8] for maps in drawn.noise))

    def counted(net):
        baked.append(net)
        return bake(net)

    monkeypatch.setattr(module, "bake", counted)
    monkeypatch.setattr(parametrize, "cached", None)
    assert torch.equal(generate(G, drawn)[:8], expected)
    assert len(baked) == 1 and parametrize.is_parametrized(G.blocks[0].layers[0].conv)
    generate(bake(copy.deepcopy(G)), drawn)
    assert len(baked) == 1  # a plain net is not copied


def test_another_thread_may_train_meanwhile():
    """Under torch's cache, which is one for all threads, a second backward pass would go through the first's graph."""
    G, D = apply_weight_norm(dcgan().eval(), EqualizedLR()), apply_weight_norm(torch.nn.Linear(3, 1), WeightNorm())
    inside, trained = threading.Event(), threading.Event()

    def slowly(G, part):
        inside.set()
        assert trained.wait(60)
        return G(part.z)

    drawing = threading.Thread(target=module.in_batches, args=(G, slowly, latents_of(G, [0])))
    drawing.start()
    assert inside.wait(60)
    try:
        for _ in range(2):
            D(torch.ones(2, 3)).sum().backward()
    finally:
        trained.set()
        drawing.join()
    assert all(p.grad is not None for p in D.parameters())


def test_of_a_given_generator_a_plain_copy_is_drawn_from():
    G = apply_weight_norm(dcgan(), WeightNorm()).train()
    G.linear.eval()
    before = [part.training for part in G.modules()]
    own = own_generator(G, "cpu")
    assert [part.training for part in G.modules()] == before and parametrize.is_parametrized(G.linear)
    assert not any(part.training or parametrize.is_parametrized(part) for part in own.modules())
    z = torch.randn(2, 20)
    assert torch.equal(own(z), G.eval()(z))
