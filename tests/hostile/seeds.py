"""Seeds of what is drawn at random: a few in every run of the tests, all of them in `make test-long`."""

import pytest


def seeds(first, count, few):
    """`count` seeds from `first` on; those after the `few` first are long."""
    return [pytest.param(first + i, marks=[pytest.mark.long] * (i >= few)) for i in range(count)]
