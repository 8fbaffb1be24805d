"""Processes that were started by hand must agree on what to train."""

import re

import pytest

import gan_lab
from gan_lab.config.check import check
from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.training.train import check_agreement
from tests.training.short_runs import PLAIN, build


@pytest.mark.parametrize(
    ("words", "sha256", "highest", "told"),
    [
        ((), None, 0, None),
        (("trainer.log_every_steps=7", "trainer.device=cuda"), None, 0, None),  # nothing that is computed
        (("seed=1",), None, 1, "(seed: 1 -> 0)"),
        ((), "0" * 64, 1, "(dataset: sha256 000000000000 -> "),
        ((), None, 2, "(see their messages)"),  # another process differs
    ],
)
def test_processes_agree_or_all_end(tiny_data, monkeypatch, words, sha256, highest, told):
    exp = build(tiny_data)
    first = check(gan_lab.compose(f"data_dir={tiny_data}", *PLAIN, *words)).tree()
    monkeypatch.setattr(collectives, "from_first", lambda mine: (first, sha256 or mine[1]))
    monkeypatch.setattr(collectives, "highest", lambda number: max(number, highest))
    if told is None:
        check_agreement(exp.config, exp)
    else:
        with pytest.raises(UserError, match=f"do not agree on what to train {re.escape(told)}"):
            check_agreement(exp.config, exp)
