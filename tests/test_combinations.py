"""Combinations of parts that are refused, or warned of."""

import logging

import pytest

from gan_lab.errors import UserError
from tests.training.short_runs import build

ADA = ("augment=ada", "penalty=none")


@pytest.mark.parametrize(
    ("words", "warns"),
    [
        ((*ADA, "loss=relativistic"), True),
        ((*ADA, "loss=wasserstein"), True),
        (("augment=apa", "penalty=none", "loss=least_squares"), True),
        ((*ADA, "loss=relativistic", "augment.p=0.2"), False),
        ((*ADA, "loss=nonsaturating"), False),
        ((*ADA, "loss=minimax"), False),
        (("augment=apa", "penalty=none", "loss=hinge"), False),
    ],
)
def test_an_adaptive_augmentation_needs_a_loss_whose_logits_have_a_zero(tiny_data, caplog, words, warns):
    caplog.set_level(logging.WARNING)
    build(tiny_data, *words)
    assert ("set augment.p to a number, or loss=nonsaturating" in caplog.text) == warns


def test_latents_that_are_clipped_while_training_must_be_drawn_so(tiny_data, caplog):
    caplog.set_level(logging.WARNING)
    words = ("penalty=logan", "loss=hinge")
    build(tiny_data, *words)
    assert "generator.z_prior=uniform, or penalty.logan_d.clip=false penalty.logan_g.clip=false" in caplog.text
    caplog.clear()
    build(tiny_data, *words, "generator.z_prior=uniform")
    build(tiny_data, *words, "penalty.logan_d.clip=false", "penalty.logan_g.clip=false")
    assert "the clipping of" not in caplog.text


def test_what_works_on_an_adversarial_loss_needs_one(tiny_data):
    with pytest.raises(UserError, match="loss=none leaves loss.top_k without effect"):
        build(tiny_data, "loss=none", "penalty=none", "loss.top_k=0.5")
    assert build(tiny_data, "loss=none", "penalty=none").penalties.keys() == {}.keys()
