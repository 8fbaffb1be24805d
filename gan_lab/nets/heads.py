"""How a discriminator uses classes: the layers of each `condition`.

| condition | D's logit | layers that a class loss reads (`penalties/classes.py`) |
|---|---|---|
| none | psi(phi(x)) | |
| projection | psi(phi(x)) + <V[y], phi(x)> (arXiv:1802.05637, equation 3) | |
| ac | psi(phi(x)) | a classifier of K classes (arXiv:1610.09585) |
| tac | psi(phi(x)) | two of them (arXiv:1907.02690) |
| adc | psi(phi(x)) | a classifier of 2 K: each class real, each class generated (arXiv:2107.10060) |
| 2c, d2dce | psi(phi(x)) | an embedding of phi(x), and one of each class (arXiv:2006.12681, arXiv:2111.01118) |
| multihinge | psi(phi(x)) | a classifier of K; minus the logit scores class K + 1, generated (arXiv:1912.04216) |

phi(x) (b f) are D's features, summed over positions if they are maps. All layers are Linears, so that D's weight norm
applies to them as to any other layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from gan_lab.nets.labels import require_classes
from gan_lab.nets.self_supervision import Features, FeaturesWithMaps
from gan_lab.norms.base import at_least_float32

CONDITIONS = ("none", "projection", "ac", "tac", "adc", "2c", "d2dce", "multihinge")


@dataclass(frozen=True)
class ClassOutputs:
    """What a class head says of features (b f), in fp32 at least; None for what its condition does not have."""

    logits: Tensor | None = None  # b k, of the classifier; b 2k of adc
    twin_logits: Tensor | None = None  # b k, of tac's second classifier
    embedding: Tensor | None = None  # b e
    class_embeddings: Tensor | None = None  # k e


class ClassHead(nn.Module):
    """The layers of one condition, on features (b f). Weights N(0, 1/fan_in), biases 0.

    A net that draws all its weights by one rule (`init_std`, orthogonal, Xavier) draws these by it, too. Classifiers
    have no bias, as in StudioGAN's code, but for multihinge's. The embedding of 2c and d2dce has `embed_dim` numbers
    and a bias.
    """

    def __init__(self, condition: str, features: int, num_classes: int, embed_dim: int) -> None:
        super().__init__()
        self.condition = condition
        self.projection = self.classifier = self.twin = self.embedding = self.class_embedding = None
        if condition == "projection":
            self.projection = nn.Linear(features, num_classes, bias=False)
        elif condition in ("2c", "d2dce"):
            self.embedding = nn.Linear(features, embed_dim)
            self.class_embedding = nn.Linear(embed_dim, num_classes, bias=False)
        else:
            classes = 2 * num_classes if condition == "adc" else num_classes
            self.classifier = nn.Linear(features, classes, bias=condition == "multihinge")
            self.twin = nn.Linear(features, num_classes, bias=False) if condition == "tac" else None
        for layer in self.layers():
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def layers(self) -> Iterator[nn.Linear]:
        """Yield the layers that the condition has."""
        yield from (layer for layer in self.children() if isinstance(layer, nn.Linear))

    def conditioned(self, logits: Tensor, features: Tensor, y: Tensor | None) -> Tensor:
        """Return D's logits (b): the unconditional ones, with the projection added where that is the condition."""
        if self.projection is None:
            return logits
        products = self.projection(features)  # b num_classes
        y = require_classes(y)
        if y.is_floating_point():  # several labels: the sum of their products
            return logits + (at_least_float32(products) * y).sum(1)
        return logits + at_least_float32(products.gather(1, y[:, None]).squeeze(1))

    def forward(self, features: Tensor) -> ClassOutputs:
        """features: b f."""

        def of(layer: nn.Linear | None) -> Tensor | None:
            return None if layer is None else at_least_float32(layer(features))

        rows = None if self.class_embedding is None else at_least_float32(self.class_embedding.weight)
        return ClassOutputs(of(self.classifier), of(self.twin), of(self.embedding), rows)


def make_head(condition: str, features: int, num_classes: int, embed_dim: int) -> ClassHead | None:
    """Make the head of a condition; None for "none". ValueError for an unknown condition or an embed_dim below 1."""
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, got {condition!r}")
    if embed_dim < 1:
        raise ValueError(f"embed_dim must be at least 1, got {embed_dim}")
    return None if condition == "none" else ClassHead(condition, features, num_classes, embed_dim)


def pooled(features: Features) -> Tensor:
    """Sum feature maps over their positions: b f h w -> b f; b f as it is."""
    if isinstance(features, FeaturesWithMaps):
        return features.features
    return features.flatten(2).sum(2) if features.dim() > 2 else features
