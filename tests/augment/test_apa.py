"""Adaptive pseudo augmentation: which reals D is shown, and how p follows it."""

import pytest
import torch

from gan_lab.augment import ADA, APA
from gan_lab.distributed.randomness import step_randomness
from gan_lab.training import accelerate
from gan_lab.training.accelerate import Updates
from tests.training.short_runs import CONDITIONAL, build


def fakes(n):
    return torch.full((n, 1, 4, 4), 5.0), torch.full((n,), 7)


def test_a_share_p_of_the_reals_is_replaced_with_their_classes():
    torch.manual_seed(0)
    real, y = torch.rand(4000, 1, 4, 4), torch.zeros(4000, dtype=torch.long)
    shown, classes = APA(0.3).reals(real, y, fakes)
    replaced = (shown == 5.0).flatten(1).all(1)
    assert float(replaced.float().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(shown[~replaced], real[~replaced]) and torch.equal(classes, 7 * replaced.long())
    for p, expected in ((0.0, real), (1.0, fakes(4000)[0])):
        assert torch.equal(APA(p).reals(real, None, fakes)[0], expected)
    assert APA(1.0).reals(real, None, fakes)[1] is None
    assert APA(1.0)(real) is real  # no other change, and none for fakes
    assert ADA(1.0).reals(real, y, fakes) == (real, y)


def test_p_follows_the_mean_sign_as_the_paper_states():
    """Every 4 updates p moves by the images seen over 500,000: up above 0.6, down below it; never out of [0, 1]."""
    apa, p = APA(), 0.0
    for signs in ([1.0, 1.0, 0.5, 0.5], [0.9, 0.9, 0.9, 0.9], [0.0, 1.0, 0.6, 0.0], [-1.0] * 4, [-1.0] * 4):
        for sign in signs:
            assert float(apa.p) == pytest.approx(p, abs=1e-9)
            apa.observe(torch.tensor(sign), 64)
        p = max(p + (1 if sum(signs) / 4 > 0.6 else -1) * 4 * 64 / 500_000, 0.0)
    assert float(apa.p) == p == 0.0


def test_only_updates_of_d_see_them(tiny_data, monkeypatch):
    """D's update is given the mixture, with the classes of its fakes; G's the reals. G's buffers stay."""
    x = build(tiny_data, "augment=apa", "augment.p=1.0", *CONDITIONAL)
    given, images = {}, x.dataset.images("train", torch.arange(8)).float() / 127.5 - 1
    y = torch.full((8,), 3)
    for side in "dg":
        monkeypatch.setattr(accelerate, f"{side}_step", lambda exp, *reals, side=side: given.update({side: reals}))
    Updates(x, "none").run("d", images, y)
    Updates(x, "none").run("g", images, y)
    assert torch.equal(given["g"][0], images) and torch.equal(given["g"][1], y)
    with step_randomness(x.config.seed, 0, 0, x.device), torch.no_grad():
        z, fake_y = x.G.sample_z(8, x.device), x.G.sample_y(8, x.device)
        assert torch.equal(given["d"][0], x.G(z, fake_y)) and torch.equal(given["d"][1], fake_y)


def test_drawing_them_leaves_no_trace_in_g(tiny_data):
    x = build(tiny_data, "augment=apa", "recipe=sngan_cnn")
    before = {k: v.clone() for k, v in x.G.state_dict().items()}
    x.reals_of_d(torch.zeros(8, 3, 32, 32), None)
    assert all(torch.equal(v, before[k]) for k, v in x.G.state_dict().items()) and any("running" in k for k in before)


@pytest.mark.parametrize("settings", [{"p": 1.5}, {"p": "often"}, {"interval": 0}, {"target": 2.0}], ids=str)
def test_settings_out_of_range(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        APA(**settings)
