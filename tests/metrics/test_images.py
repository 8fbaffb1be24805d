"""From floats to what a backbone reads."""

from __future__ import annotations

import math

import pytest
import torch

from gan_lab.errors import UserError
from gan_lab.metrics.images import count_non_finite, quantize, to_rgb


def test_quantization_clamps_rounds_and_passes_uint8():
    x = torch.tensor([-1.5, -1.0, -0.9999, 0.0, 0.003, 0.004, 0.9961, 1.0, 7.0]).view(1, 1, 3, 3)
    expected = [0, 0, 0, 128, 128, 128, 255, 255, 255]  # 127.5 rounds to even
    assert quantize(x).flatten().tolist() == expected
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(quantize(every.float() / 127.5 - 1), every)
    assert quantize(every) is every


def test_images_that_are_not_finite_are_counted_each_once():
    x = torch.zeros(5, 3, 4, 4)
    x[1, 0, 0, :2], x[3, 2, 3, 3] = math.nan, -math.inf
    assert int(count_non_finite(x)) == 2 and int(count_non_finite(x.half())) == 2
    assert int(count_non_finite(torch.zeros(5, 3, 4, 4, dtype=torch.uint8))) == 0


def test_gray_images_are_repeated_and_other_channels_refused():
    gray = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    assert torch.equal(to_rgb(gray), gray.repeat(1, 3, 1, 1))
    with pytest.raises(UserError, match="1 or 3 channels, these have 2"):
        to_rgb(torch.zeros(1, 2, 2, 2))


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool])
def test_other_whole_numbers_are_refused_as_their_range_is_not_known(kind):
    with pytest.raises(ValueError, match=f"^images must be uint8, or floating-point numbers .*, not {kind}$"):
        quantize(torch.ones(1, 3, 2, 2).to(kind))
    assert quantize(torch.ones(1, 3, 2, 2).half()).unique().tolist() == [255]
