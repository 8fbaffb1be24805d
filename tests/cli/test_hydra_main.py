"""Hydra's parser has an option whose help is no text before it is shown, which Python 3.14 refuses."""

import sys
from argparse import ArgumentParser
from contextlib import suppress

import pytest

from gan_lab.cli.hydra_main import hydra_main


def test_help_that_is_made_late_is_accepted_only_while_hydra_runs(monkeypatch, capsys):
    def check(parser, action):  # as Python 3.14 does
        assert isinstance(action.help, str), "badly formed help string"

    monkeypatch.setattr(ArgumentParser, "_check_help", check, raising=False)
    monkeypatch.setattr(sys, "argv", ["train", "--hydra-help"])
    ran = []
    with suppress(SystemExit):
        hydra_main(ran.append, "config")()
    assert "--shell-completion" in capsys.readouterr().out and ran == []
    assert ArgumentParser._check_help is check
    monkeypatch.setattr(sys, "argv", ["train", "no=such=word", "--nonsense"])
    with pytest.raises(SystemExit):
        hydra_main(ran.append, "config")()
    assert ArgumentParser._check_help is check
