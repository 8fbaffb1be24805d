"""What several tests of this folder take."""

import pytest
import torch


@pytest.fixture
def defaults():
    """`defaults(dtype, device)` sets torch's; they come back after the test."""

    def set_both(dtype, device):
        torch.set_default_dtype(dtype)
        torch.set_default_device(device)

    yield set_both
    set_both(torch.float32, None)
