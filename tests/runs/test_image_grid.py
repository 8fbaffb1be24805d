"""Grids against torchvision's."""

import io

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import make_grid, save_image

from gan_lab.data import to_pixels
from gan_lab.runs.image_grid import grid, save_png


@pytest.mark.parametrize(("n", "channels", "columns"), [(7, 3, 3), (4, 1, 2), (1, 3, 8), (2, 3, 5)])
def test_a_grid_is_torchvisions(n, channels, columns):
    images = torch.rand(n, channels, 6, 5)
    wanted = make_grid(images, nrow=columns) if n > 1 else torch.nn.functional.pad(images[0], (2, 2, 2, 2))
    picture = grid(images, columns)
    torch.testing.assert_close(picture, wanted, rtol=0, atol=0)
    ours, theirs = io.BytesIO(), io.BytesIO()
    save_png(to_pixels(picture * 2 - 1), ours)
    save_image(picture, theirs, format="png")
    a, b = (pil_to_tensor(Image.open(file)).int() for file in (ours, theirs))
    assert int((a - b).abs().max()) <= 1  # rounding of exact halves
    assert float((a != b).float().mean()) < 0.01
