"""Schedules at points computed by hand."""

import math

import pytest

from gan_lab.schedules import Cosine, Exponential, Linear, value


def test_a_number_is_its_own_schedule():
    assert value(0.3, 1e9) == 0.3


def test_linear():
    decay = Linear(1.0, 0.0, over_images=200)
    assert [decay(n) for n in (0, 50, 100, 200, 300)] == pytest.approx([1.0, 0.75, 0.5, 0.0, 0.0])
    assert value(Linear(2.0, 5.0, 10), 5) == pytest.approx(3.5)


def test_cosine_is_flat_at_both_ends_and_halfway_in_the_middle():
    ramp = Cosine(2.0, 1.0, over_images=100)
    assert [ramp(n) for n in (0, 50, 100, 1000)] == pytest.approx([2.0, 1.5, 1.0, 1.0])
    assert ramp(25) == pytest.approx(2.0 - 0.5 * (1 - math.sqrt(0.5)))
    assert abs(ramp(1) - ramp(0)) < 3e-4 and abs(ramp(99) - ramp(100)) < 3e-4


@pytest.mark.parametrize("length", [0, -1.0])
def test_a_length_must_be_positive(length):
    with pytest.raises(ValueError, match="over_images"):
        Linear(1.0, 0.0, length)


def test_exponential_is_multiplied_once_an_epoch_down_to_its_end():
    share = Exponential(1.0, 0.5, epoch_images=100, factor=0.9)
    assert [share(n) for n in (0, 100, 200, 10_000)] == pytest.approx([1.0, 0.9, 0.81, 0.5])
    assert share(50) == pytest.approx(math.sqrt(0.9)) and share(600) == pytest.approx(0.9**6) and share(700) == 0.5
    assert Exponential(1.0, 0.5, 100)(100) == pytest.approx(0.99)


@pytest.mark.parametrize("settings, word", [({"factor": 0.0}, "factor"), ({"factor": 1.1}, "factor"),
                                            ({"epoch_images": 0}, "epoch_images")])  # fmt: skip
def test_exponential_refuses(settings, word):
    with pytest.raises(ValueError, match=word):
        Exponential(**{"start": 1.0, "end": 0.5, "epoch_images": 10, **settings})
