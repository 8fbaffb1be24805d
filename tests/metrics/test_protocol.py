"""Protocols: their hash, their difference, and the refusal to mix them."""

from __future__ import annotations

import pytest

from gan_lab.errors import UserError
from gan_lab.metrics.protocol import difference, higher_is_better, protocol_hash, require_same

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
    ("key", "higher"),
    [("label_accuracy", None), ("sharpness", None), ("reconstruction_error", None),
     ("fid", False), ("fid768", False), ("kid_shapes", False), ("modes_kl_shapes", False), ("is_mean", True),
     ("is_shapes", True), ("precision768", True), ("recall", True), ("coverage", True), ("modes_shapes", True),
     ("is_shapes_std", None), ("kid768_std", None)],
)  # fmt: skip
def test_which_way_is_better_in_protocols_that_do_not_say_it(key, higher):
    assert higher_is_better(A, key) is higher


def test_what_a_protocol_says_of_directions_counts_and_is_not_hashed():
    stated = {**A, "higher_is_better": {"sharpness": True, "fid": False, "odd": "yes"}}
    assert higher_is_better(stated, "sharpness") is True and higher_is_better(stated, "fid") is False
    assert higher_is_better(stated, "is_mean") is None and higher_is_better(stated, "odd") is None
    assert protocol_hash(stated) == protocol_hash(A) and difference(stated, A) == []
    require_same({"one": stated, "two": A})
    assert higher_is_better({"higher_is_better": 5}, "recall") is True  # a file that was edited
