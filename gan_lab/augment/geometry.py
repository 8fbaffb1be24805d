"""Geometric transforms of ADA: affine maps, exact copies of pixels, antialiased resampling; differentiable twice.

Positions are (x, y) in pixels, with the origin in the middle of the image. Matrices are the *inverse* maps, from a
position in the result to the position in the source. Beyond its border the image is mirrored.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Low-pass analysis filter of the Symlet with 6 vanishing moments. It is orthonormal to its shifts by two, so upsampling
# and then downsampling with it is exact (arXiv:2006.06676, appendix B).
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
TAPS = len(SYM6)
CENTRE = sum(n * h for n, h in enumerate(SYM6)) / sum(SYM6)  # the filter's centre of mass, in taps
TURN = 2.0 * math.pi


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Multiply small matrices, ... i j and ... j k, in full precision whatever the matmul settings (no TF32)."""
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def identities(n: int, like: Tensor) -> Tensor:
    """Return an n x n identity for each of the b values of `like`: b n n."""
    return torch.eye(n, dtype=like.dtype, device=like.device).repeat(len(like), 1, 1)


def translation(tx: Tensor, ty: Tensor) -> Tensor:
    """Inverse of moving the content by (tx, ty) pixels; b -> b 3 3."""
    m = identities(3, tx)
    m[:, 0, 2], m[:, 1, 2] = -tx, -ty
    return m


def scaling(sx: Tensor, sy: Tensor) -> Tensor:
    """Inverse of enlarging the content sx times in x and sy times in y; b -> b 3 3."""
    m = identities(3, sx)
    m[:, 0, 0], m[:, 1, 1] = 1.0 / sx, 1.0 / sy
    return m


def _turning(cos: Tensor, sin: Tensor) -> Tensor:
    m = identities(3, cos)
    m[:, 0, 0], m[:, 0, 1], m[:, 1, 0], m[:, 1, 1] = cos, sin, -sin, cos
    return m


def rotation(angle: Tensor) -> Tensor:
    """Inverse of turning the content by `angle` (radians, from x towards y); b -> b 3 3."""
    return _turning(angle.cos(), angle.sin())


def quarter_turns(count: Tensor) -> Tensor:
    """Inverse of turning by count * 90 degrees, with exact entries; b (floats 0 to 3) -> b 3 3."""
    first, second, third = ((count == n).to(count.dtype) for n in (1, 2, 3))
    return _turning(1.0 - first - third - 2.0 * second, first - third)


def mirrored(position: Tensor, side: int) -> Tensor:
    """Reflect positions into [0, side - 1]; the border pixel is not repeated."""
    period = 2 * (side - 1)
    inside = position.remainder(period)
    return torch.minimum(inside, period - inside)


def _source(inverse: Tensor, columns: Tensor, rows: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """Return the source position of each grid point: (x, y) in pixel indices, b rows columns each."""
    x = (columns - (w - 1) / 2)[None, None, :]
    y = (rows - (h - 1) / 2)[None, :, None]
    a = inverse[:, :, :, None, None]  # b 3 3 1 1
    source_x = a[:, 0, 0] * x + a[:, 0, 1] * y + a[:, 0, 2] + (w - 1) / 2
    source_y = a[:, 1, 0] * x + a[:, 1, 1] * y + a[:, 1, 2] + (h - 1) / 2
    return source_x, source_y


def copy_pixels(images: Tensor, inverse: Tensor) -> Tensor:
    """Apply maps from pixels to pixels (flips, quarter turns, whole shifts) without interpolation.

    images: b c h w, square where a map turns by 90 degrees; inverse: b 3 3.
    """
    _, c, h, w = images.shape
    columns, rows = (torch.arange(n, device=images.device, dtype=inverse.dtype) for n in (w, h))
    x, y = _source(inverse, columns, rows, h, w)
    index = mirrored(y.round().long(), h) * w + mirrored(x.round().long(), w)  # b h w
    flat = images.reshape(len(images), c, h * w)
    return flat.gather(2, index.flatten(1)[:, None].expand(-1, c, -1)).view(images.shape)


def resample(images: Tensor, inverse: Tensor, taps: Tensor) -> Tensor:
    """Apply any affine map with antialiasing: upsample by two, sample bilinearly, downsample by two.

    images: b c h w; inverse: b 3 3; taps: `filter_taps()`. Source: arXiv:2006.06676, appendix B, with its filter. The
    identity map returns the images up to rounding, for sides above 6.

    Deviations: the filter is not quite symmetric, so positions are corrected by its centre of mass, and maps rotate and
    scale about the middle of the image. The source is mirrored as often as needed. The reference code pads by what the
    batch needs, at most one image; that size is known only on the host, and shapes here do not depend on the draw.
    """
    h, w = images.shape[2:]
    taps = taps.to(images.dtype)
    pad_x, pad_y = min(6, w - 1), min(6, h - 1)
    fine = _upsample(F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode="reflect"), taps)
    # Pixel t of the image lies at index 2 t + CENTRE of the fine grid, and of the fine result.
    columns, rows = (
        (torch.arange(2 * n + TAPS - 2, device=images.device, dtype=inverse.dtype) - CENTRE) / 2 for n in (w, h)
    )
    x, y = _source(inverse, columns, rows, h, w)
    grid = torch.stack(
        [_fine_position(t, n, pad) for t, n, pad in ((x, w, pad_x), (y, h, pad_y))], -1
    )  # b 2h+10 2w+10 2
    return _downsample(sample(fine, grid.to(images.dtype)), taps)


def _fine_position(t: Tensor, side: int, pad: int) -> Tensor:
    """Return pixel positions as grid_sample's coordinates in the upsampled, padded image, reflected beyond it."""
    reach = max(pad - (TAPS - 2 - CENTRE) / 2, 0.0)  # beyond, taps would miss the padded image
    t = torch.where((t >= -reach) & (t <= side - 1 + reach), t, mirrored(t, side))
    index = 2 * (t + pad) + CENTRE
    return (2 * index + 1) / (2 * (side + 2 * pad) + TAPS - 2) - 1


def filter_taps() -> Tensor:
    """Return the filter, scaled to sum 1."""
    taps = torch.tensor(SYM6, dtype=torch.float64)
    return (taps / taps.sum()).float()


def _kernels(taps: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return the depthwise kernels along rows and along columns."""
    taps = taps.expand(channels, 1, 1, TAPS)
    return taps, taps.transpose(2, 3)


def _upsample(x: Tensor, taps: Tensor) -> Tensor:
    c = x.shape[1]
    row, column = _kernels(2.0 * taps, c)
    x = F.conv_transpose2d(x, row, stride=(1, 2), groups=c)
    return F.conv_transpose2d(x, column, stride=(2, 1), groups=c)


def _downsample(x: Tensor, taps: Tensor) -> Tensor:
    c = x.shape[1]
    row, column = _kernels(taps, c)
    return F.conv2d(F.conv2d(x, row, stride=(1, 2), groups=c), column, stride=(2, 1), groups=c)


class _Sample(torch.autograd.Function):
    """Bilinear sampling. It is linear in the image: its backward is its adjoint, whose backward is the sampling.

    Not every supported PyTorch differentiates grid_sample twice; this does, with the same kernels.
    """

    @staticmethod
    def forward(image: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.size = inputs[0].shape[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return _Spread.apply(grad, grid, *ctx.size), None


class _Spread(torch.autograd.Function):
    """The adjoint of bilinear sampling: b c h' w' -> b c h w."""

    @staticmethod
    def forward(values: Tensor, grid: Tensor, h: int, w: int) -> Tensor:
        image = values.new_zeros(*values.shape[:2], h, w)  # only its shape is used
        backward = torch.ops.aten.grid_sampler_2d_backward
        return backward(values, image, grid, 0, 0, False, (True, False))[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        return _Sample.apply(grad, grid), None, None, None


def sample(image: Tensor, grid: Tensor) -> Tensor:
    """Sample image (b c h w) bilinearly at grid (b h' w' 2, as `F.grid_sample` takes it); no gradient to the grid."""
    return _Sample.apply(image, grid)


def cut_box(images: Tensor, top: Tensor, left: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Set rows top..top+height and columns left..left+width of each image to 0; top, left: b."""
    h, w = images.shape[2:]
    rows = torch.arange(h, device=images.device)[None, :] - top[:, None]
    columns = torch.arange(w, device=images.device)[None, :] - left[:, None]
    in_rows = (rows >= 0) & (rows < height)
    in_columns = (columns >= 0) & (columns < width)
    box = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images * ~box


def is_changed(matrices: Tensor) -> Tensor:
    """Return which maps (b n n) are not the identity: b 1 1 1, to choose between an image and its changed version."""
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return (matrices != identity).flatten(1).any(1)[:, None, None, None]
