"""Options that commands share, and how they reach the functions."""

import inspect
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import gan_lab
from gan_lab.cli import common
from gan_lab.cli.options import parse

VERBS = ("directions", "export", "interpolate", "mix_styles", "nearest", "project", "sample")


@pytest.mark.parametrize("verb", VERBS)
def test_the_options_of_a_command_are_the_arguments_of_its_function(verb):
    options = import_module(f"gan_lab.cli.{verb}").Options
    given = parse(options, ["run=runs/mine"] + ["out=x"] * (verb == "export"))
    found = common.arguments(given)
    assert found.keys() == inspect.signature(getattr(gan_lab, verb)).parameters.keys()
    assert found["path"] == Path("runs/mine") and found["ema"] is True
    rest = {f.name for f in fields(options)} - {"run", "raw"}
    assert {name: found[name] for name in rest} == {name: getattr(given, name) for name in rest}


def test_raw_is_not_ema():
    options = import_module("gan_lab.cli.sample").Options
    assert common.arguments(parse(options, ["run=r", "raw=true"]))["ema"] is False
