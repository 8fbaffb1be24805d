"""Base classes of generators and discriminators: what every one of them promises."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lab.distributed.randomness import normal, uniform
from gan_lab.nets.heads import ClassHead, ClassOutputs, make_head, pooled
from gan_lab.nets.layers import to_logits
from gan_lab.nets.self_supervision import Features, FeaturesWithMaps, InfoMaxHead, RotationHead, make_self_supervision
from gan_lab.norms.base import at_least_float32 as at_least_float32


class Generator(nn.Module):
    """Base of all generators: `G(z, y)` gives images (b c h w) of `channels` x `resolution` x `resolution`.

    z (b z_dim) are latents, y (b, int64) classes from 0 to `num_classes` - 1. With several labels a sample y are
    vectors of 0 and 1 (b num_classes, float; see `use_label_rows`). An unconditional generator has `num_classes` 0 and
    is called with y=None. Images are in [-1, 1]. A family without an output nonlinearity (StyleGAN2, R3GAN) may exceed
    that; `gan_lab.data.to_pixels` clamps its images where they become pixels.

    `z_prior`: each number of z is "normal", N(0, 1), or "uniform" in [-1, 1]. ValueError for another one, a `z_dim` or
    `channels` below 1, or `num_classes` below 0.
    """

    supports_truncation = False  # whether `forward` takes `truncation`
    takes_label_vectors = False  # whether y may have several labels a sample
    draws_in_training = False  # whether `forward` draws random numbers in training mode
    noise_sides: tuple[int, ...] = ()  # sides of the noise maps (b 1 side side) that `forward` takes as `noise`
    class_names: tuple[str, ...] = ()  # of the classes, or labels, if they are known

    class_weights: Tensor
    label_rows: Tensor  # r num_classes, of 0 and 1

    def __init__(
        self, resolution: int, channels: int, z_dim: int, num_classes: int = 0, z_prior: str = "normal"
    ) -> None:
        super().__init__()
        if z_prior not in ("normal", "uniform"):
            raise ValueError(f"z_prior must be normal or uniform, got {z_prior!r}")
        for name, number, least in (("z_dim", z_dim, 1), ("channels", channels, 1), ("num_classes", num_classes, 0)):
            if number < least:
                raise ValueError(f"{name} must be at least {least}, got {number}")
        self.resolution, self.channels, self.z_dim, self.num_classes = resolution, channels, z_dim, num_classes
        self.z_prior = z_prior
        if num_classes:
            self.register_buffer("class_weights", torch.full((num_classes,), 1.0 / num_classes))

    @property
    def draws_noise(self) -> bool:
        """Whether `forward` draws the maps of `noise_sides` if they are not given."""
        return False

    def sample_z(self, n: int, device: torch.device | str) -> Tensor:
        """Draw `n` latents (n z_dim) from the prior."""
        return self.from_normal(normal((n, self.z_dim), device=device))

    def from_normal(self, drawn: Tensor) -> Tensor:
        """Return latents of the prior from as many numbers drawn from N(0, 1)."""
        return drawn if self.z_prior == "normal" else torch.erf(drawn / math.sqrt(2.0))  # 2 * (their quantile) - 1

    def sample_y(self, n: int, device: torch.device | str) -> Tensor | None:
        """Draw `n` classes (n, int64) with the probabilities `class_weights`; None for an unconditional generator.

        This is the only place where classes of generated images are drawn. The probabilities are uniform, or with
        `trainer.fake_labels=data` the frequencies in the training data.
        """
        if not self.num_classes:
            return None
        return self.classes_at(uniform((n,), device=device))

    def classes_at(self, share: Tensor) -> Tensor:
        """Return the classes (as `labels_of`) at `share` (n, in [0, 1)) of the cumulated `class_weights`."""
        bounds = self.class_weights.to(share.device).cumsum(0)
        found = torch.searchsorted(bounds, share * bounds[-1], right=True).clamp_max(self.num_choices - 1)
        return self.labels_of(found)

    def use_label_rows(self, count: int) -> None:
        """Draw y from `count` vectors of several labels, the buffer `label_rows`, with the weights `class_weights`."""
        device = self.class_weights.device
        self.register_buffer("label_rows", torch.zeros(count, self.num_classes, dtype=torch.uint8, device=device))
        self.register_buffer("class_weights", torch.full((count,), 1.0 / count, device=device))

    @property
    def multi_label(self) -> bool:
        """Whether y are vectors of several labels, of which `label_rows` holds those to draw."""
        return "label_rows" in self._buffers

    @property
    def num_choices(self) -> int:
        """Number of classes that may be asked for; with several labels a sample, of rows of `label_rows`."""
        return len(self.class_weights) if self.num_classes else 0

    @property
    def choice_names(self) -> list[str]:
        """Names of the classes that may be asked for, or of sets of labels ("hat + smile"). Empty if not known."""
        if not (self.multi_label and self.class_names):
            return list(self.class_names)
        sets = [[n for n, has in zip(self.class_names, row, strict=True) if has] for row in self.label_rows.tolist()]
        return [" + ".join(names) or "none" for names in sets]

    def labels_of(self, choice: Tensor) -> Tensor:
        """Return y of numbers below `num_choices` (n, int64): the same, or these rows of `label_rows` (n k, float)."""
        return self.label_rows.to(choice.device)[choice].float() if self.multi_label else choice

    def latent_weights(self) -> list[Tensor]:
        """Return the weights (o d) of the layers that read the latent: z (d = z_dim), or w of a StyledGenerator.

        This default finds the first fully connected layer of z_dim inputs or more, as z comes first where something is
        appended to it. ValueError if there is none.
        """
        for layer in self.modules():
            if isinstance(layer, nn.Linear) and layer.in_features >= self.z_dim:
                return [layer.weight[:, : self.z_dim]]
        raise ValueError(f"{type(self).__name__} has no fully connected layer that reads z")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return images (b c h w) of latents (b z_dim) and classes (b)."""
        raise NotImplementedError


class StyledGenerator(Generator):
    """A generator in two parts, as `PathLength` needs it: `styles(z, y)` (b l w_dim), `synthesis(styles)`."""

    def styles(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return a style for each of l layers (b l w_dim) of latents (b z_dim) and classes (b)."""
        raise NotImplementedError

    def truncated(self, styles: Tensor, truncation: float) -> Tensor:
        """Move styles towards their mean: 1 changes nothing, 0 gives the mean."""
        raise NotImplementedError

    def synthesis(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return images (b c h w) of styles (b l w_dim), with noise maps if the generator has `noise_sides`."""
        raise NotImplementedError


class Discriminator(nn.Module):
    """Base of all discriminators: `D(x, y)` gives logits (b) of images x (b c h w) and their classes y (b).

    A subclass defines `features` or `features_and_maps`, and a last layer `linear` or `unconditional_logits` (or, for a
    rule of its own, `logits`). It makes its `class_head` (`nets/heads.py`) and `self_supervision`
    (`nets/self_supervision.py`), both by `make_heads`. `D(x, y, return_features=True)` returns logits and features from
    one forward. An unconditional discriminator has `num_classes` 0, no class head, and ignores y.
    """

    linear: nn.Module

    def __init__(self, num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_head: ClassHead | None = None
        self.self_supervision: RotationHead | InfoMaxHead | None = None

    def make_heads(
        self, features: int, condition: str, embed_dim: int, self_supervision: str, maps: int | None = None
    ) -> None:
        """Make the class head and the layers of self-supervision on `features` numbers; see these two functions."""
        self.class_head = make_head(condition, features, self.num_classes, embed_dim)
        self.self_supervision = make_self_supervision(self_supervision, features, maps)

    def features(self, x: Tensor) -> Tensor:
        """Return the features (b f, or b f h w) of images (b c h w) that `logits` reads."""
        return self.features_and_maps(x)[0]

    def features_and_maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (b f) and the maps (b c h w) that the last block made them from; for `infomax`."""
        raise NotImplementedError

    def unconditional_logits(self, features: Tensor) -> Tensor:
        """Return logits (b), in fp32 at least, of features, whatever the classes."""
        return to_logits(self.linear(features))

    def logits(self, features: Tensor, y: Tensor | None = None) -> Tensor:
        """Return logits (b), in fp32 at least, of features and classes (b)."""
        logits = self.unconditional_logits(features)
        return logits if self.class_head is None else self.class_head.conditioned(logits, pooled(features), y)

    @property
    def class_loss(self) -> str | None:
        """The condition whose loss trains the class head, such as "ac"; None where no class loss belongs."""
        condition = None if self.class_head is None else self.class_head.condition
        return None if condition == "projection" else condition

    def trained_by_penalties(self) -> dict[str, str]:
        """Return the settings whose layers only a penalty trains, such as {"condition": "ac"}."""
        head = self.self_supervision
        found = {"condition": self.class_loss, "self_supervision": None if head is None else head.kind}
        return {setting: value for setting, value in found.items() if value is not None}

    def class_outputs(self, features: Features) -> ClassOutputs:
        """Return what the class head says of features; ValueError without a head."""
        if self.class_head is None:
            raise ValueError(f"{type(self).__name__} has no class head: set its condition")
        return self.class_head(pooled(features).to(next(self.parameters()).dtype))  # type: ignore[no-any-return]

    def rotation_logits(self, x: Tensor) -> Tensor:
        """Return logits of four rotations (b 4) of images (b c h w); ValueError without the head of `rotation`."""
        if not isinstance(self.self_supervision, RotationHead):
            raise ValueError(f"{type(self).__name__} tells no rotations: set self_supervision=rotation")
        return self.self_supervision(pooled(self.features(x)))  # type: ignore[no-any-return]

    def infomax_vectors(self, features: FeaturesWithMaps) -> tuple[Tensor, Tensor]:
        """Return the projections of features (b e) and maps (b h*w e); ValueError without the head of `infomax`."""
        if not isinstance(self.self_supervision, InfoMaxHead):
            raise ValueError(f"{type(self).__name__} has no projections: set self_supervision=infomax")
        dtype = next(self.parameters()).dtype
        return self.self_supervision(features.features.to(dtype), features.maps.to(dtype))  # type: ignore[no-any-return]

    def forward(
        self, x: Tensor, y: Tensor | None = None, return_features: bool = False
    ) -> Tensor | tuple[Tensor, Features]:
        """Return logits (b), and with `return_features` also the features they were computed from.

        With `self_supervision` infomax these have their maps with them.
        """
        with_maps = isinstance(self.self_supervision, InfoMaxHead)
        features, maps = self.features_and_maps(x) if with_maps else (self.features(x), None)
        logits = self.logits(features, y)
        if not return_features:
            return logits
        return logits, features if maps is None else FeaturesWithMaps(features, maps)


def couples_samples(module: nn.Module) -> bool:
    """Return whether one sample's output depends on the others in its batch.

    True for any BatchNorm, and for a layer with the attribute `couples_samples = True` (minibatch standard deviation).
    """
    return any(isinstance(m, _BatchNorm) or getattr(m, "couples_samples", False) is True for m in module.modules())


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of `net` inside the block."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)
