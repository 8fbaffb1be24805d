"""What every generator and discriminator promises: latents, classes, and features before logits."""

import pytest
import torch
from scipy.stats import chisquare
from torch import nn

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import step_randomness
from gan_lab.nets import Discriminator, Generator, couples_samples
from gan_lab.nets.base import at_least_float32

CPU = torch.device("cpu")


class Sum(Discriminator):
    """Logits: the sum of the pixels, and of a conditional one plus ten times the class."""

    def features(self, x):
        return x.flatten(1)

    def logits(self, features, y=None):
        return features.sum(1) + (10.0 * y if self.num_classes else 0.0)


def test_classes_are_drawn_uniformly():
    torch.manual_seed(0)
    G = Generator(8, 3, 4, num_classes=16)
    assert G.class_weights.tolist() == [1 / 16] * 16
    y = G.sample_y(32_000, "cpu")
    assert y.dtype == torch.int64 and y.shape == (32_000,)
    assert chisquare(torch.bincount(y, minlength=16).numpy()).pvalue > 0.01


@pytest.mark.parametrize("total", [1.0, 7.0], ids=["probabilities", "any weights"])
def test_classes_are_drawn_with_their_weights(total):
    torch.manual_seed(0)
    G, shares = Generator(8, 3, 4, num_classes=5), torch.tensor([0.4, 0.0, 0.3, 0.05, 0.25], dtype=torch.float64)
    G.class_weights.copy_(shares * total)
    counts = torch.bincount(G.sample_y(50_000, "cpu"), minlength=5)
    assert counts[1] == 0
    present = shares > 0
    assert chisquare(counts[present].numpy(), (shares[present] * 50_000).numpy()).pvalue > 0.01


def test_a_class_is_where_its_number_falls_between_the_sums(monkeypatch):
    """Numbers in [0, 1) at, below and above the bounds 0.25, 0.25 and 0.75: the second class has no room."""
    G = Generator(8, 3, 4, num_classes=4)
    G.class_weights.copy_(torch.tensor([0.25, 0.0, 0.5, 0.25]))
    drawn = torch.tensor([0.0, 0.2499, 0.25, 0.5, 0.7499, 0.75, 0.9999])
    monkeypatch.setattr("gan_lab.nets.base.uniform", lambda shape, device: drawn)
    assert G.sample_y(7, "cpu").tolist() == [0, 0, 2, 2, 2, 3, 3]


def test_an_unconditional_generator_draws_no_classes_and_no_numbers():
    G = Generator(8, 3, 4)
    before = torch.get_rng_state()
    assert G.sample_y(5, "cpu") is None and torch.equal(torch.get_rng_state(), before)
    assert "class_weights" not in G.state_dict()


def test_class_weights_are_part_of_the_state():
    a, b = (Generator(8, 3, 4, num_classes=3) for _ in range(2))
    a.class_weights.copy_(torch.tensor([0.5, 0.25, 0.25]))
    b.load_state_dict(a.state_dict())
    assert b.class_weights.tolist() == [0.5, 0.25, 0.25]


def test_ranks_draw_together_what_one_process_draws(monkeypatch):
    """Sample i of rank r is sample i * ranks + r of the whole batch, for latents and classes alike."""
    G = Generator(8, 3, 4, num_classes=6)
    with step_randomness(3, 5, 1, CPU):
        z, y = G.sample_z(12, "cpu"), G.sample_y(12, "cpu")
    monkeypatch.setattr(collectives, "active", lambda: True)
    monkeypatch.setattr(collectives, "size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(collectives, "rank", lambda rank=rank: rank)
        with step_randomness(3, 5, 1, CPU):
            assert torch.equal(G.sample_z(4, "cpu"), z[rank::3])
            assert torch.equal(G.sample_y(4, "cpu"), y[rank::3])


@pytest.mark.parametrize("setting", ["channels", "z_dim", "num_classes"])
def test_settings_out_of_range(setting):
    low = -1 if setting == "num_classes" else 0
    with pytest.raises(ValueError, match=setting):
        Generator(8, **{"channels": 1, "z_dim": 1, setting: low})


def test_logits_come_from_the_features_with_their_classes():
    x, y = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 3])
    plain, conditional = Sum(), Sum(num_classes=4)
    sums = x.sum((1, 2, 3))
    torch.testing.assert_close(plain(x), sums)
    torch.testing.assert_close(plain(x, y), sums)
    torch.testing.assert_close(conditional(x, y), sums + 10 * y)
    logits, features = conditional(x, y, return_features=True)
    torch.testing.assert_close(logits, sums + 10 * y)
    assert torch.equal(features, x.flatten(1))


def test_what_couples_samples():
    marked = nn.Identity()
    marked.couples_samples = True
    assert couples_samples(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert couples_samples(nn.Sequential(marked)) and not couples_samples(
        nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2))
    )


def test_low_precision_becomes_fp32_and_double_stays():
    for dtype, wanted in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32),
                          (torch.float32, torch.float32), (torch.float64, torch.float64)):  # fmt: skip
        assert at_least_float32(torch.zeros(2, dtype=dtype)).dtype == wanted


def test_couples_samples():
    assert couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)))
    assert not couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1)))
    layer = nn.Identity()
    layer.couples_samples = True
    assert couples_samples(nn.Sequential(nn.Conv2d(1, 1, 1), layer))


def test_sample_z_is_standard_normal():
    G = Generator(8, 1, z_dim=50)
    torch.manual_seed(0)
    z = G.sample_z(2000, "cpu")
    assert z.shape == (2000, 50)
    assert z.mean().item() == pytest.approx(0.0, abs=0.01)
    assert z.std().item() == pytest.approx(1.0, abs=0.01)
    with pytest.raises(ValueError, match="z_dim"):
        Generator(8, 1, z_dim=0)
