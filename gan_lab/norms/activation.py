"""Activation norms: batch (also class-conditional), layer, group, instance and pixel; `make_norm` makes one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.distributed import collectives
from gan_lab.norms.base import at_least_float32

KINDS = ("batch", "layer", "group", "instance", "pixel", "none")


class PixelNorm(nn.Module):
    """x / sqrt(mean_c x^2 + eps): each pixel's features brought to unit RMS (arXiv:1710.10196, section 4.2)."""

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:  # b c ... -> the same
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + self.eps)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalization (arXiv:1502.03167) with the statistics of the whole batch, over all ranks.

    With `synchronize = False` each rank uses its own statistics; the training step then averages the running ones.
    torch's SyncBatchNorm supports neither CPUs nor second derivatives.
    """

    synchronize = True

    def forward(self, x: Tensor) -> Tensor:  # b c h w -> the same
        if not (self.training and self.synchronize and collectives.active()):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = at_least_float32(x)
            mean = collectives.differentiable_mean(wide.mean((0, 2, 3)))
            centred = wide - mean[:, None, None]
            var = collectives.differentiable_mean(centred.square().mean((0, 2, 3)))
            n = x.numel() // x.shape[1] * collectives.size()
            with torch.no_grad():
                assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((var * (n / (n - 1))).to(self.running_var.dtype), self.momentum)
                assert self.num_batches_tracked is not None
                self.num_batches_tracked += 1
            scale = (var + self.eps).rsqrt()
            if not self.affine:
                return (centred * scale[:, None, None]).to(x.dtype)
            return (centred * (self.weight * scale)[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class ConditionalBatchNorm2d(BatchNorm2d):
    """Batch normalization with a gain and a bias for each class and channel: gains[y] * normalized(x) + biases[y].

    Conditional batch normalization as the G of arXiv:1802.05637 uses it (section 4; arXiv:1707.00683). Statistics are
    those of the whole batch, whatever its classes. y may be shares of classes (b num_classes). Gains
    start at 1, biases at 0, both `num_classes` x `channels`.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(channels, affine=False)
        self.gains = nn.Parameter(torch.ones(num_classes, channels))
        self.biases = nn.Parameter(torch.zeros(num_classes, channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]  # b c h w, b -> b c h w
        rows = (y.to(t.dtype) @ t if y.is_floating_point() else F.embedding(y, t) for t in (self.gains, self.biases))
        gain, bias = (row.to(x.dtype)[:, :, None, None] for row in rows)
        return super().forward(x) * gain + bias


class VectorConditionalBatchNorm2d(BatchNorm2d):
    """Batch normalization whose gains and biases are linear in a vector c (b d): (1 + A c) * normalized(x) + B c.

    BigGAN's conditional batch normalization (arXiv:1809.11096, appendix B); c is a class embedding that all layers
    share and a chunk of z. A and B are Linears without bias, so that G's weight norm applies to them.
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__(channels, affine=False)
        self.gain = nn.Linear(condition_dim, channels, bias=False)
        self.bias_of = nn.Linear(condition_dim, channels, bias=False)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]  # b c h w, b d -> b c h w
        gain, bias = (layer(c).to(x.dtype)[:, :, None, None] for layer in (self.gain, self.bias_of))
        return super().forward(x) * (1.0 + gain) + bias


def make_norm(kind: str, channels: int, num_classes: int = 0, condition_dim: int = 0) -> nn.Module:
    """Make a norm for feature maps of `channels` channels (b c h w -> the same shape).

    - batch: arXiv:1502.03167. With `num_classes` it is class-conditional and called with (x, y); with
      `condition_dim` it takes a vector: see `VectorConditionalBatchNorm2d`. No other kind can be conditional.
    - layer: one mean and variance per sample over c, h and w, a gain and a bias per channel (arXiv:1607.06450, as
      WGAN-GP uses it).
    - group: the largest number of groups up to 32 that divides the channels (arXiv:1803.08494).
    - instance: arXiv:1607.08022, with a gain and a bias per channel.
    - pixel: see `PixelNorm`. none: the identity.

    ValueError for another kind.
    """
    if num_classes:
        if kind != "batch":
            raise ValueError(f"a class-conditional generator needs activation_norm=batch, got {kind!r}")
        return ConditionalBatchNorm2d(channels, num_classes)
    if condition_dim:
        return VectorConditionalBatchNorm2d(channels, condition_dim)
    if kind == "batch":
        return BatchNorm2d(channels)
    if kind == "layer":
        return nn.GroupNorm(1, channels)
    if kind == "group":
        return nn.GroupNorm(next(g for g in range(min(32, channels), 0, -1) if channels % g == 0), channels)
    if kind == "instance":
        return nn.GroupNorm(channels, channels)
    if kind == "pixel":
        return PixelNorm()
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"activation_norm must be one of {', '.join(KINDS)}, got {kind!r}")
