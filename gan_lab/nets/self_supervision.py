"""What a discriminator learns without classes: the layers of each `self_supervision`.

| self_supervision | layers that a penalty reads (`penalties/self_supervision.py`) |
|---|---|
| none | |
| rotation | a classifier of phi(x): by how many quarter turns x was rotated (arXiv:1811.11212) |
| infomax | projections of phi(x) and of the maps before the last block to one space (arXiv:2007.04589) |

phi(x) are D's features, as in `heads`. All layers are Linears, so that D's weight norm applies to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.norms.base import at_least_float32

SELF_SUPERVISION = ("none", "rotation", "infomax")
INFOMAX_DIM = 1024  # of the space that InfoMax-GAN projects to; R in its paper, nrkhs in mimicry


@dataclass(frozen=True)
class FeaturesWithMaps:
    """D's features (b f) and the maps (b c h w) that its last block made them from. Slices along the batch."""

    features: Tensor
    maps: Tensor

    def __getitem__(self, samples: slice) -> FeaturesWithMaps:
        return FeaturesWithMaps(self.features[samples], self.maps[samples])


Features = Tensor | FeaturesWithMaps


class RotationHead(nn.Module):
    """Features (b f) -> logits of 0, 90, 180 and 270 degrees (b 4), in fp32 at least."""

    kind = "rotation"

    def __init__(self, features: int) -> None:
        super().__init__()
        self.classifier = _linear(features, 4)

    def forward(self, features: Tensor) -> Tensor:
        return at_least_float32(self.classifier(features))


class InfoMaxHead(nn.Module):
    """Features (b f) and maps (b c h w) -> vectors (b e) and local vectors (b h*w e), in fp32 at least.

    Each by a linear layer, ReLU and another one, beside a linear shortcut (arXiv:2007.04589, appendix; mimicry's sizes:
    the hidden width is that of the input, e is 1024).
    """

    kind = "infomax"

    def __init__(self, features: int, maps: int) -> None:
        super().__init__()
        self.whole, self.local = _Projection(features, INFOMAX_DIM), _Projection(maps, INFOMAX_DIM)

    def forward(self, features: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        return self.whole(features), self.local(maps.permute(0, 2, 3, 1).flatten(1, 2))


class _Projection(nn.Module):
    """... i -> ... o."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.out = _linear(inputs, inputs), _linear(inputs, outputs)
        self.shortcut = _linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return at_least_float32(self.out(F.relu(self.hidden(x))) + self.shortcut(x))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def make_self_supervision(kind: str, features: int, maps: int | None = None) -> RotationHead | InfoMaxHead | None:
    """Make the layers of a `self_supervision`; None for "none".

    features, maps: the widths of phi(x) and of the maps before the last block; None for a net that does not give these.
    ValueError for an unknown kind, or one that the net does not have.
    """
    if kind not in SELF_SUPERVISION:
        raise ValueError(f"self_supervision must be one of {', '.join(SELF_SUPERVISION)}, got {kind!r}")
    if kind == "infomax":
        if maps is None:
            raise ValueError("self_supervision=infomax needs a discriminator that gives its maps: resnet or biggan")
        return InfoMaxHead(features, maps)
    return RotationHead(features) if kind == "rotation" else None
