"""WN-GAN's reconstruction error against least squares, and that measuring leaves no trace."""

import pytest
import torch
from torch import nn

from gan_lab.metrics.reconstruction import LR, reconstruction_errors
from gan_lab.nets.stylegan2 import StyleGAN2Generator
from gan_lab.nets.wn_gan import WNGANGenerator


class LinearG(nn.Module):
    """A z + b in [-1, 1], whose nearest image is known by least squares."""

    def __init__(self, z_dim=3, side=4):
        super().__init__()
        torch.manual_seed(3)
        self.z_dim, self.side = z_dim, side
        self.A = nn.Parameter(torch.randn(side * side, z_dim) * 0.3)
        self.b = nn.Parameter(torch.randn(side * side) * 0.1)

    def forward(self, z):
        return (z @ self.A.T + self.b).view(-1, 1, self.side, self.side)


def closed_form(G, images):
    """min over z of the mean of ((A z + b + 1)/2 - x)^2, by lstsq in float64."""
    x = images.double().flatten(1) / 255
    A, b = G.A.detach().double() / 2, (G.b.detach().double() + 1) / 2
    z = torch.linalg.lstsq(A, (x - b).T).solution
    return ((A @ z).T + b - x).square().mean(1)


@pytest.fixture
def images():
    """Images near the generator's own, so that the search has a way to go and an end."""
    G = LinearG()
    torch.manual_seed(8)
    near = (G(torch.randn(7, 3)).detach() + 1) / 2 + 0.05 * torch.randn(7, 1, 4, 4)
    return (near * 255).clamp(0, 255).round().to(torch.uint8)


def test_reaches_the_least_squares_minimum_and_never_less(images):
    G = LinearG()
    wanted = closed_form(G, images)
    found = reconstruction_errors(G, images, steps=600).double()
    assert (found >= wanted * (1 - 1e-5)).all()
    assert (found <= wanted + 5e-5).all()
    assert wanted.min() > 2e-4  # so the upper bound above is a bound


def test_no_step_is_the_error_at_zero_and_one_step_goes_the_known_way(images):
    G = LinearG()
    target = images.float().flatten(1) / 255
    at_zero = ((G.b + 1) / 2 - target).square().mean(1)
    torch.testing.assert_close(reconstruction_errors(G, images, steps=0), at_zero.detach())
    gradient = ((G.b + 1) / 2 - target) @ (G.A / 2) * 2 / 16  # of each image's own error
    z = -LR * gradient / (gradient.square() * 0.1).sqrt().add(1e-6)
    after = ((z @ G.A.T + G.b + 1) / 2 - target).square().mean(1)
    expected = torch.minimum(at_zero, after).detach()
    assert (expected < at_zero - 1e-4).all()
    torch.testing.assert_close(reconstruction_errors(G, images, steps=1), expected)


def test_the_batch_does_not_matter(images):
    G = LinearG()
    found = [reconstruction_errors(G, images, steps=20, restarts=3, batch_size=b) for b in (1, 4, 100)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-8)
    each = torch.cat([reconstruction_errors(G, images[i : i + 1], steps=20) for i in range(len(images))])
    torch.testing.assert_close(each, reconstruction_errors(G, images, steps=20), rtol=1e-5, atol=1e-8)


def test_a_conditional_generator_is_given_the_class_of_each_image(images):
    class Conditional(LinearG):
        def forward(self, z, y):
            return super().forward(z) + 0.3 * y.view(-1, 1, 1, 1)

    G, y = Conditional(), torch.tensor([0, 3, 1, 0, 2, 1, 3])
    plain = LinearG()
    for one, wanted in zip(reconstruction_errors(G, images, y, restarts=2, batch_size=3), range(7), strict=True):
        plain.b.data = G.b.detach() + 0.3 * y[wanted]
        alone = reconstruction_errors(G, images[wanted : wanted + 1], y[wanted : wanted + 1])
        assert one <= alone * (1 + 1e-5)
        torch.testing.assert_close(alone, reconstruction_errors(plain, images[wanted : wanted + 1]))


def test_more_steps_and_restarts_only_help(images):
    G = LinearG()
    few, more = (reconstruction_errors(G, images, steps=n) for n in (5, 50))
    again = reconstruction_errors(G, images, steps=5, restarts=6)
    assert (more <= few).all() and (more < few - 1e-5).any()
    assert (again <= few).all() and (again < few - 1e-5).any()
    other = reconstruction_errors(G, images, steps=5, restarts=6, seed=1)
    assert not torch.equal(again, other)


def test_leaves_the_generator_and_the_random_numbers_alone():
    torch.manual_seed(0)
    G = StyleGAN2Generator(8, 3, width=0.0625, w_dim=16, z_dim=16).train()
    G.mapping.eval()
    next(G.parameters()).requires_grad_(False)
    with torch.no_grad():
        for name, p in G.named_parameters():
            if name.endswith("noise_strength"):
                p.fill_(0.5)
    before = {k: v.clone() for k, v in G.state_dict().items()}
    modes = [m.training for m in G.modules()]
    state = torch.get_rng_state()
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = [reconstruction_errors(G, images, steps=3, restarts=2, batch_size=b) for b in (6, 1)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)  # its noise is held fixed
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in G.state_dict().items())
    assert [m.training for m in G.modules()] == modes and G.noise == "random"
    assert [p.requires_grad for p in G.parameters()] == [False] + [True] * (len(list(G.parameters())) - 1)
    assert all(p.grad is None for p in G.parameters())


def test_an_image_of_the_generator_itself_is_found():
    torch.manual_seed(0)
    G = WNGANGenerator(8, 1, width=0.5, z_dim=4)
    with torch.no_grad():
        image = ((G(torch.full((1, 4), 0.2)) + 1) * 127.5).round().to(torch.uint8)
    start, end = (reconstruction_errors(G, image, steps=n).item() for n in (0, 100))
    assert end < 1e-5 and end <= start


def test_wrong_settings_are_refused(images):
    for wrong in ({"steps": -1}, {"restarts": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="reconstruction needs"):
            reconstruction_errors(LinearG(), images, **wrong)
