"""The moving average of G's weights."""

import copy

import pytest
import torch
from torch import nn

from gan_lab.training.ema import ema_decay, update_ema


def test_half_life_is_what_its_name_says():
    decay = ema_decay(1000.0, images_per_step=100, images_seen=1e9, rampup=0.05)
    assert decay**10 == pytest.approx(0.5, rel=1e-12)  # ten steps of 100 images
    assert ema_decay(0.0, 100, 1e9, 0.05) == 0.0


def test_rampup_shortens_the_half_life_at_the_start_only():
    assert ema_decay(1000.0, 100, images_seen=2000, rampup=0.05) == pytest.approx(0.5)  # half-life 100 images
    assert ema_decay(1000.0, 100, 2000, rampup=0.0) == pytest.approx(0.5**0.1)
    assert ema_decay(1000.0, 100, 20_000, 0.05) == ema_decay(1000.0, 100, 10**9, 0.05)


def test_weights_and_batch_statistics_are_averaged_and_other_buffers_copied():
    G = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    G.register_buffer("u", torch.ones(2))
    average = copy.deepcopy(G).eval().requires_grad_(False)
    before = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        for p in G.parameters():
            p.add_(1.0)
    G[1].running_mean.fill_(8.0)
    G[1].num_batches_tracked.fill_(5)
    G.u.fill_(7.0)
    update_ema(average, G, 0.75)
    for old, now in zip(before, average.parameters(), strict=True):
        torch.testing.assert_close(now, old + 0.25)
        assert not now.requires_grad
    assert average[1].running_mean.tolist() == [2.0, 2.0]
    assert average[1].running_var.tolist() == [1.0, 1.0]
    assert average[1].num_batches_tracked.item() == 5
    assert average.u.tolist() == [7.0, 7.0]
    assert not average.training and G.training
