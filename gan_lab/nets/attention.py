"""Self-attention over feature maps (SAGAN, arXiv:1805.08318), which a net can have at one size of its maps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.norms.base import at_least_float32


class SelfAttention(nn.Module):
    """x + gamma v(sum_i beta_ji h(x_i)), beta_j the softmax over i of f(x_i) . g(x_j). b c h w -> the same.

    arXiv:1805.08318, equations 1 to 3. f and g have c/8 channels, h c/2, all are 1x1 convolutions without bias; gamma
    starts at 0. As in the authors' code, and in BigGAN's, f and h are max-pooled 2x2: a position looks at a quarter of
    the positions. The softmax is computed in fp32 at least. An even side is needed.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)  # g
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)  # f
        self.value = nn.Conv2d(channels, half, 1, bias=False)  # h
        self.out = nn.Conv2d(half, channels, 1, bias=False)  # v
        self.gamma = nn.Parameter(torch.zeros(()))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # b c/8 j
        key, value = (F.max_pool2d(layer(x), 2).flatten(2) for layer in (self.key, self.value))  # b .. i
        attention = at_least_float32(query.transpose(1, 2) @ key).softmax(2)  # b j i
        seen = value @ attention.transpose(1, 2).to(value.dtype)  # b c/2 j
        return x + self.gamma.to(x.dtype) * self.out(seen.unflatten(2, x.shape[2:]))


class AttentionAt(nn.Module):
    """Self-attention where maps have the side `side`; other maps pass as they are."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.side, self.attention = side, SelfAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x) if x.shape[-1] == self.side else x  # type: ignore[no-any-return]


def make_attention(side: int | None, channels: dict[int, int]) -> nn.Module:
    """Make the attention of a net whose maps of each side have `channels[side]` channels; the identity for None.

    ValueError for a side that the net's maps do not have, or an odd one.
    """
    if side is None:
        return nn.Identity()
    sides = sorted(s for s in channels if s % 2 == 0)
    if side not in sides:
        raise ValueError(f"attention must be a side of the net's maps, {', '.join(map(str, sides))}, got {side}")
    return AttentionAt(channels[side], side)
