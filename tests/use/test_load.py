"""The generator of a run."""

import pytest
import torch

import gan_lab
from gan_lab.errors import UserError
from tests.training.short_runs import evaluated_run


def test_the_generator_comes_back_out_of_a_run(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    G = gan_lab.load_generator(folder, "latest")
    z = G.sample_z(3, "cpu")
    images = G(z)
    assert images.shape == (3, 3, 32, 32) and images.abs().max() <= 1
    assert not G.training
    raw = gan_lab.load_generator(folder, "latest", ema=False)
    assert (raw(z) - images).abs().max() > 1e-6
    torch.testing.assert_close(gan_lab.load_generator(folder / "checkpoints" / "step-00000007.pt")(z), images)
    with pytest.raises(UserError, match="step-00000099"):
        gan_lab.load_generator(folder, "99")
    with pytest.raises(UserError, match="no checkpoints"):
        gan_lab.load_generator(tmp_path)
