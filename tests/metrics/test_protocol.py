"""Protocols: their hash, their difference, and the refusal to mix them."""

from __future__ import annotations

import pytest

from gan_lab.errors import UserError
from gan_lab.metrics.protocol import choose_best, difference, lower_is_better, protocol_hash, require_same

A = {"tap": "2048", "num_fake": 10_000, "num_real": 5_000, "is_splits": 10}
B = {**A, "num_fake": 50_000, "seed": 1}


def test_the_hash_depends_on_content_and_not_on_order():
    assert protocol_hash(A) == protocol_hash(dict(reversed(A.items())))
    assert protocol_hash(A) != protocol_hash(B)
    assert len(protocol_hash(A)) == 16 and set(protocol_hash(A)) <= set("0123456789abcdef")


def test_the_difference_names_every_entry_that_differs_and_no_other():
    assert difference(A, dict(A)) == []
    assert difference(A, B) == ["num_fake: 10000 against 50000", "seed: not stated against 1"]


def test_mixing_is_refused_with_the_difference_named():
    require_same({"one": A, "two": dict(A)})
    require_same({"one": A})
    with pytest.raises(UserError, match="one and three cannot be compared.*num_fake: 10000 against 50000"):
        require_same({"one": A, "two": A, "three": B})


@pytest.mark.parametrize(
    ("key", "lower"),
    [("fid", True), ("fid768", True), ("kid_shapes", True), ("modes_kl_shapes", True), ("is_mean", False),
     ("is_shapes", False), ("precision768", False), ("recall", False), ("coverage", False),
     ("modes_shapes", False)],
)  # fmt: skip
def test_which_way_is_better(key, lower):
    assert lower_is_better(key) is lower


def test_the_best_is_told_with_how_many_it_was_chosen_from():
    rows = [{"step": s, "fid": f, "is_mean": i, "protocol": "p"} for s, f, i in [(0, 90, 1), (10, 20, 4), (20, 30, 5)]]
    rows.append({"step": 30, "fid": None, "protocol": "p"})
    assert choose_best(rows, "fid") == {"step": 10, "value": 20, "evaluations": 3}
    assert choose_best(rows, "is_mean") == {"step": 20, "value": 5, "evaluations": 3}
    assert choose_best(rows, "kid") is None
    with pytest.raises(UserError, match="2 protocols"):
        choose_best([*rows, {"step": 40, "fid": 1, "protocol": "q"}], "fid")
