"""Orthogonality in closed form on small matrices, and weight clipping."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gan_lab.norms import SpectralNorm, apply_weight_norm
from gan_lab.penalties import Batch, Orthogonal, WeightClip


def batch_of(G, D):
    images = torch.zeros(2, 1, 4, 4)
    return Batch(G, D, images, images, torch.zeros(2, 3), torch.zeros(2), torch.zeros(2))


def linear(rows):
    weight = torch.tensor(rows, dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


WIDE = [[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]  # W W^T = [[5, 2], [2, 2]]
TALL = [[1.0], [2.0], [-1.0]]  # W^T W = [[6]]


def test_soft_form():
    penalty = Orthogonal(form="soft")
    # |[[4, 2], [2, 1]]|^2 = 16 + 4 + 4 + 1; |6 - 1|^2
    assert penalty(batch_of(None, linear(WIDE))).item() == pytest.approx(25.0)
    assert penalty(batch_of(None, linear(TALL))).item() == pytest.approx(25.0)
    assert penalty(batch_of(None, nn.Sequential(linear(WIDE), linear(TALL)))).item() == pytest.approx(50.0)


def test_off_diagonal_form():
    penalty = Orthogonal(form="off_diagonal")
    assert penalty(batch_of(None, linear(WIDE))).item() == pytest.approx(8.0)  # 2^2 twice
    # angles between the filters 1, 2, -1: products 2, -1, -2, each twice
    assert penalty(batch_of(None, linear(TALL))).item() == pytest.approx(18.0)


def test_gradient_of_the_soft_form():
    D = linear(WIDE)
    Orthogonal()(batch_of(None, D)).backward()
    W = D.weight.detach()
    torch.testing.assert_close(D.weight.grad, 4 * (W @ W.t() - torch.eye(2)).double() @ W)


@pytest.mark.parametrize("form", ["soft", "off_diagonal"])
def test_orthonormal_filters_cost_nothing(form):
    torch.manual_seed(0)
    conv, deconv = nn.Conv2d(3, 5, 2).double(), nn.ConvTranspose2d(4, 6, 2).double()
    nn.init.orthogonal_(conv.weight)
    with torch.no_grad():  # the filters of a transposed convolution are its second dimension
        q = torch.linalg.qr(torch.randn(16, 6, dtype=torch.float64)).Q  # c_in k, c_out
        deconv.weight.copy_(q.t().reshape(6, 4, 2, 2).transpose(0, 1))
    net = nn.Sequential(conv, deconv)
    assert Orthogonal(form=form)(batch_of(None, net)).item() == pytest.approx(0.0, abs=1e-20)


def test_side_chooses_the_net_and_a_function_may_carry_one():
    G, D = linear(WIDE), linear([[3.0]])
    assert Orthogonal(side="g")(batch_of(G, D)).item() == pytest.approx(25.0)
    assert Orthogonal(side="d")(batch_of(G, D)).item() == pytest.approx(64.0)

    def callable_d(x):
        return D(x)

    with pytest.raises(TypeError, match="module"):
        Orthogonal()(batch_of(G, callable_d))
    callable_d.module = D
    assert Orthogonal()(batch_of(G, callable_d)).item() == pytest.approx(64.0)


def test_effective_weights_count():
    D = apply_weight_norm(linear([[3.0, 4.0]]), SpectralNorm(scale=2.0))
    assert Orthogonal()(batch_of(None, D)).item() == pytest.approx(9.0)  # |w| = 2: (4 - 1)^2


def test_weight_clip():
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 1))
    before = [p.detach().clone() for p in D.parameters()]
    clip = WeightClip(bound=0.05)
    value = clip(batch_of(None, D))
    assert value.item() == 0.0 and value.shape == ()
    assert all(torch.equal(a, b) for a, b in zip(before, D.parameters(), strict=True))
    clip.after_step(D)
    for a, b in zip(before, D.parameters(), strict=True):
        assert torch.equal(b, a.clamp(-0.05, 0.05))
    assert (D[1].weight == 0.05).all()
    assert D[1].running_var.tolist() == [1.0] * 4
    assert (clip.side, clip.interval, clip.weight) == ("d", 1, 0.0)


def test_settings_out_of_range():
    for make in (
        lambda: WeightClip(bound=0.0),
        lambda: Orthogonal(form="hard"),
        lambda: Orthogonal(side="x"),
    ):
        with pytest.raises(ValueError):
            make()
    with pytest.raises(ValueError, match="no weight layers"):
        Orthogonal()(SimpleNamespace(G=None, D=nn.Identity()))
