"""Path length against torch.func.jacrev, and against a linear generator in closed form."""

import copy
import math

import pytest
import torch
from torch import nn

from gan_lab.errors import UserError
from gan_lab.penalties import Batch, PathLength

LAYERS, DIM, CHANNELS, HEIGHT, WIDTH = 3, 4, 2, 4, 6


class Small(nn.Module):
    """A smooth generator of two style layers and more, small enough for its whole Jacobian."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mapping = nn.Linear(5, DIM)
        self.out = nn.Linear(LAYERS * DIM, CHANNELS * HEIGHT * WIDTH)
        self.double()

    def styles(self, z):
        offsets = torch.arange(LAYERS, dtype=z.dtype)[:, None] * 0.1
        return torch.tanh(self.mapping(z))[:, None] + offsets  # b l d

    def synthesis(self, styles):
        return torch.sin(self.out(styles.flatten(1))).view(-1, CHANNELS, HEIGHT, WIDTH)


def batch_of(G, n=6):
    torch.manual_seed(1)
    z = torch.randn(n, 5, dtype=torch.float64)
    images = torch.zeros(n, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64)
    return Batch(G, nn.Identity(), images, images, z, None, torch.zeros(n, dtype=torch.float64))


def lengths_by_jacobian(G, z, noise):
    """sqrt(mean over layers of sum over channels of (J^T y)^2), J from jacrev, one sample at a time."""
    lengths = []
    for one, y in zip(G.styles(z), noise, strict=True):
        J = torch.func.jacrev(lambda s: G.synthesis(s[None])[0])(one)  # c h w l d
        gradient = torch.einsum("chw,chwld->ld", y, J)
        lengths.append(gradient.square().sum(1).mean(0).sqrt())
    return torch.stack(lengths)


@pytest.mark.parametrize("batch_shrink", [1, 2])
def test_value_and_gradient_against_jacrev(batch_shrink):
    G = Small()
    penalty = PathLength(batch_shrink=batch_shrink).double()
    penalty.mean_length.fill_(0.3)
    batch = batch_of(G)
    used = 6 // batch_shrink
    torch.manual_seed(2)
    value = penalty(batch)
    torch.manual_seed(2)
    noise = torch.randn(used, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64) / math.sqrt(HEIGHT * WIDTH)
    lengths = lengths_by_jacobian(G, batch.z[:used], noise)
    anchor = 0.3 + 0.01 * (lengths.mean().item() - 0.3)
    expected = (lengths - anchor).square().mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    assert penalty.mean_length.item() == pytest.approx(anchor, rel=1e-12)
    parameters = [G.mapping.weight, G.out.weight, G.out.bias]
    for a, b in zip(torch.autograd.grad(value, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


class Linear(nn.Module):
    """Images A w, the same for all pixels' noise: E|J^T y|^2 = |A|^2 / (H W) over the layers."""

    def __init__(self, channels, side, gain):
        super().__init__()
        self.shape = (channels, side, side)
        torch.manual_seed(3)
        self.A = nn.Parameter(gain * torch.randn(channels * side * side, 2 * 50, dtype=torch.float64))

    def styles(self, z):
        return z.view(len(z), 2, 50)

    def synthesis(self, styles):
        return (styles.flatten(1) @ self.A.t()).view(-1, *self.shape)


@pytest.mark.parametrize(("channels", "side"), [(1, 4), (1, 16), (3, 8), (3, 16)])
def test_noise_is_scaled_by_the_number_of_pixels_without_channels(channels, side):
    """A style moves each pixel by N(0, gain^2): the squared length is 50 gain^2 c H W / (H W)."""
    G = Linear(channels, side, gain=0.5)
    penalty = PathLength()
    torch.manual_seed(4)
    styles = G.styles(torch.randn(400, 100, dtype=torch.float64)).requires_grad_()
    lengths = penalty.lengths(styles, G.synthesis(styles))
    assert lengths.shape == (400,)
    assert lengths.square().mean().item() == pytest.approx(50 * 0.25 * channels, rel=0.15)


def test_running_mean_and_state():
    G = Small()
    penalty = PathLength(decay=0.25, batch_shrink=1).double()
    history = []
    for seed in range(3):
        torch.manual_seed(seed)
        styles = G.styles(batch_of(G).z)
        torch.manual_seed(seed)
        batch = batch_of(G)
        torch.manual_seed(seed)
        history.append(penalty.lengths(styles, G.synthesis(styles)).mean().item())
        before = penalty.mean_length.item()
        torch.manual_seed(seed)
        penalty(batch)
        assert penalty.mean_length.item() == pytest.approx(before + 0.25 * (history[-1] - before), rel=1e-9)
    other = PathLength().double()
    other.load_state_dict(copy.deepcopy(penalty.state_dict()))
    assert other.mean_length.item() == penalty.mean_length.item() > 0


def test_a_generator_without_styles_is_a_users_mistake():
    with pytest.raises(UserError, match="stylegan2"):
        PathLength()(batch_of(nn.Linear(5, 5).double()))


def test_defaults_and_range():
    penalty = PathLength()
    assert (penalty.weight, penalty.interval, penalty.side) == (2.0, 4, "g")
    assert penalty.needs_input_grad == frozenset()
    for settings in ({"decay": 0.0}, {"decay": 1.1}, {"batch_shrink": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            PathLength(**settings)
