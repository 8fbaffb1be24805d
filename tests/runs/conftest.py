"""A disk that fails when a test says so."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))


@pytest.fixture
def on_disk():
    """`on_disk(folder, act)`: system calls on files under the folder go through `act(name, go, size)`."""
    import torture_faults

    changed = []

    def intercept(folder, act):
        changed.append(torture_faults.intercept(folder, act))

    yield intercept
    for real in reversed(changed):
        for name, function in real.items():
            setattr(os, name, function)
