"""Advice: two different things for each kind of event, in words that compose, and in every message."""

import inspect
import re

import pytest

from gan_lab.config.compose import compose
from gan_lab.diagnostics import collapse
from gan_lab.diagnostics.advice import ADVICE, REMEDIES, advise


def test_every_kind_of_event_has_two_different_remedies():
    kinds = set(re.findall(r"- `(\w+)`", inspect.getsource(collapse.Detector))) | {"gradient_exploded"}
    assert kinds == set(ADVICE)
    assert all(first != then and {first, then} <= set(REMEDIES) for first, then in ADVICE.values())


@pytest.mark.parametrize("kind", ["d_flat", "metric_worse", "non_finite"])
def test_a_message_ends_with_the_advice(kind):
    detector = collapse.Detector({})
    flat = {"logits/real": 1.0, "logits/fake": 1.0, "logits/real_std": 0.0, "logits/fake_std": 0.0}
    if kind == "metric_worse":
        events = [e for i, f in enumerate([50, 10, 40, 40, 40]) for e in detector.observe_evaluation(i, f, True, "fid")]
    else:
        row = {"loss/d": None} if kind == "non_finite" else flat
        events = [e for step in range(1, 8) for e in detector.observe(step, row)]
    assert events and all(e.kind == kind and e.message.endswith(f"; {advise(kind)}") for e in events)


def test_the_words_that_a_message_names_are_settings():
    for remedy in REMEDIES.values():
        for word in remedy.words:
            key = word.split("=")[0]
            assert key in remedy.text or word in remedy.text
    rates = compose("norm=sn", *REMEDIES["rates"].words).optimizer
    assert (rates.g.lr, rates.d.lr, rates.lr_scale) == (1e-3, 1e-3, 1)
    assert set(compose("penalty=lecam", *REMEDIES["penalty"].words).penalty) == {"r1r2"}
