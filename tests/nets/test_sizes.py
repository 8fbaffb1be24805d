"""Sides of feature maps and numbers of channels, by hand."""

import itertools

import pytest

from gan_lab.nets.sizes import base_and_doublings, round_channels, scale_channels, stage_sides


def test_base_and_doublings():
    expected = {8: (4, 1), 12: (6, 1), 16: (4, 2), 24: (6, 2), 32: (4, 3), 48: (6, 3), 64: (8, 3), 96: (6, 4)}
    expected |= {128: (8, 4), 192: (6, 5), 256: (8, 5)}
    for resolution, plan in expected.items():
        assert base_and_doublings(resolution) == plan
    assert base_and_doublings(64, bases=(4, 6)) == (4, 4)
    for wrong, near in ((28, "24 or 32"), (33, "32 or 48"), (4, "use 8"), (100, "96 or 128")):
        with pytest.raises(ValueError, match=f"resolution {wrong} .*{near}"):
            base_and_doublings(wrong)


def test_scale_channels():
    pairs = list(itertools.product((64, 512), (1.0, 0.5, 0.25)))
    assert [scale_channels(c, w) for c, w in pairs] == [64, 32, 16, 512, 256, 128]
    assert [scale_channels(64, w) for w in (0.3, 0.07, 0.05, 0.001)] == [20, 4, 3, 1]
    with pytest.raises(ValueError, match="width"):
        scale_channels(64, 0.0)


def test_stage_sides_and_rounded_channels():
    assert stage_sides(32) == [4, 8, 16, 32]
    assert stage_sides(48) == [6, 12, 24, 48]
    assert stage_sides(4) == [4]
    for side in (28, 40, 2, 33, 0):
        with pytest.raises(ValueError, match=str(side)):
            stage_sides(side)
    assert [round_channels(c) for c in (512, 341.3, 8.9, 7.9, 0.2)] == [512, 336, 8, 7, 1]
