"""A disk that fails when a test says so."""

import os

import pytest

from scripts.torture import faults


@pytest.fixture
def on_disk():
    """`on_disk(folder, act)`: system calls on files under the folder go through `act(name, go, size)`."""
    changed = []

    def intercept(folder, act):
        changed.append(faults.intercept(folder, act))

    yield intercept
    for real in reversed(changed):
        for name, function in real.items():
            setattr(os, name, function)
