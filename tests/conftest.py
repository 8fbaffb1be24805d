"""Small data that tests share. Tests run on one thread: two processes of them run side by side."""

import errno
import gc
import logging
import os
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from gan_lab.config import compose
from tests.composing import composing_choices_once

torch.set_num_threads(1)
gc.disable()  # until the tests are collected, since what importing makes stays
# A busy machine fails no test: no example has a deadline, and drawing examples may take its time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def choices_composed_once():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compose, "hydra_compose", composing_choices_once(compose.hydra_compose))
        yield


@pytest.fixture(autouse=True)
def logging_as_it_was():
    """Commands configure logging for their whole process; the next test starts from what was before."""
    root, manager = logging.getLogger(), logging.root.manager
    before = (root.level, list(root.handlers), manager.disable, logging.raiseExceptions)
    yield
    root.setLevel(before[0])
    root.handlers[:], manager.disable, logging.raiseExceptions = before[1:]
    for name, logger in manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith("gan_lab"):
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A data_dir whose packed `shapes` holds 160 training and 32 test images instead of 55,000."""
    from gan_lab.data import shapes
    from gan_lab.data.store import pack

    folder = tmp_path_factory.mktemp("data")
    images, labels = shapes.render(192, seed=5)
    pack(folder / "shapes", [(images, labels)], name="shapes", class_names=shapes.CLASS_NAMES, test=32)
    return folder


@pytest.fixture(scope="session")
def tiny_cifar(tmp_path_factory):
    """A data_dir with a packed `cifar10` of 64 random images, for configurations that name it."""
    from gan_lab.data.store import pack

    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    names = [str(i) for i in range(10)]
    pack(folder / "cifar10", [(images, np.arange(64) % 10)], name="cifar10", class_names=names, test=16)
    return folder


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """`importable(name, code)` writes a module that Python can import until the test ends; returns its folder."""
    names = []

    def write(name, code):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(code)
        return tmp_path

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def refusing():
    """`refusing(call, code)`: what a disk does on which one kind of call fails, for `on_disk`."""

    def disk(call, code=errno.ENOSPC):
        def act(called, go, size):
            if called == call:
                raise OSError(code, os.strerror(code))
            return go()

        return act

    return disk


@pytest.fixture
def on_disk():
    """`on_disk(folder, act)`: system calls on files under the folder go through `act(name, go, size)`."""
    from scripts.torture import faults

    changed = []

    def intercept(folder, act):
        changed.append(faults.intercept(folder, act))

    yield intercept
    for real in reversed(changed):
        for name, function in real.items():
            setattr(os, name, function)
