"""Self-attention against its plain form in NumPy, to the second derivative; where nets take it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from gan_lab import nets
from gan_lab.nets.attention import AttentionAt, SelfAttention, make_attention


def attention(channels: int) -> SelfAttention:
    torch.manual_seed(0)
    layer = SelfAttention(channels).double()
    with torch.no_grad():
        layer.gamma.fill_(-0.7)
    return layer


def test_it_is_the_softmax_of_products():
    layer = attention(16)
    x = np.random.default_rng(0).standard_normal((16, 4, 6))

    def one_by_one(conv: nn.Conv2d) -> np.ndarray:
        return np.einsum("oc,chw->ohw", conv.weight.detach().numpy()[:, :, 0, 0], x)

    def pooled(maps: np.ndarray) -> np.ndarray:
        return np.stack([[m[i : i + 2, j : j + 2].max() for i in (0, 2) for j in (0, 2, 4)] for m in maps])

    query, key, value = one_by_one(layer.query), pooled(one_by_one(layer.key)), pooled(one_by_one(layer.value))
    expected = np.zeros((8, 4, 6))
    for h in range(4):
        for w in range(6):
            score = np.exp(query[:, h, w] @ key)
            expected[:, h, w] = value @ (score / score.sum())
    expected = x - 0.7 * np.einsum("oc,chw->ohw", layer.out.weight.detach().numpy()[:, :, 0, 0], expected)
    np.testing.assert_allclose(layer(torch.from_numpy(x)[None])[0].detach().numpy(), expected, rtol=1e-10)


def test_it_starts_as_the_identity_and_learns_its_share_first():
    layer = SelfAttention(8)
    x = torch.randn(2, 8, 4, 4)
    y = layer(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert layer.gamma.grad.abs() > 0 and not layer.query.weight.grad.any()


def test_differentiable_twice():
    layer = attention(4)
    x = torch.randn(1, 4, 2, 4, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.query.weight, layer.key.weight, layer.value.weight, layer.out.weight, layer.gamma)
    assert gradcheck(lambda x, *_: layer(x), inputs)
    assert gradgradcheck(lambda x, *_: layer(x), inputs)


def test_bf16_keeps_the_softmax_in_fp32():
    layer = attention(16).float()
    x = torch.randn(2, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.float32 and (low - layer(x)).std() < 0.02 * layer(x).std()


PLAIN = {"init_std": None}  # a std of 0.02 would shrink the signal of narrow nets to nothing
GENERATORS = {
    "DCGAN": PLAIN, "R3GAN": {}, "ResNet": {}, "SNGAN": PLAIN, "StyleGAN2": {}, "BigGAN": {"num_classes": 2},
}  # fmt: skip


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("family", GENERATORS)
def test_every_family_has_it_at_one_side(family, side):
    """Once in a forward, of maps of that side; with gamma 0 it changes nothing, else the output follows gamma."""
    y = torch.tensor([0, 1]) if family == "BigGAN" else None
    for kind in ("Generator", "Discriminator"):
        torch.manual_seed(0)
        made = getattr(nets, family + kind)(32, 3, width=0.04, attention=side, **GENERATORS[family]).eval()
        seen = []
        made.attention.attention.register_forward_hook(lambda m, i, o, seen=seen: seen.append(tuple(i[0].shape)))
        if family == "StyleGAN2" and kind == "Generator":
            made.noise = "none"
        x = torch.randn(2, made.z_dim) if kind == "Generator" else torch.randn(2, 3, 32, 32)
        before = made(x, y)
        assert len(seen) == 1 and seen[0][2:] == (side, side)
        made.attention.attention.gamma.data.fill_(2.0)
        assert not torch.allclose(made(x, y), before, rtol=1e-3)
        with pytest.raises(ValueError, match="attention must be a side of the net's maps, .*8, 16.*, got 12"):
            getattr(nets, family + kind)(32, 3, width=0.04, attention=12, **GENERATORS[family])


def test_none_is_the_identity():
    assert isinstance(make_attention(None, {8: 3}), nn.Identity)
    assert isinstance(make_attention(8, {8: 3}), AttentionAt)
