"""`scripts/evaluate.py`: the figures of a run's checkpoint under any protocol, or of two sets of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from gan_lab.cli.options import whole_number
from gan_lab.config.messages import nearest
from gan_lab.errors import UserError
from gan_lab.use.evaluate import evaluate

USAGE = """Evaluates a trained generator, or one set of images against another.

    python scripts/evaluate.py run=DIR [checkpoint=best|latest|STEP] [metrics=PRESET] [metrics.KEY=VALUE ...]
    python scripts/evaluate.py path_a=PATH path_b=PATH [metrics=PRESET] [metrics.KEY=VALUE ...]

run         a run directory; the figures are appended to its metrics.jsonl, with the protocol beside them
path_a      the set to judge, path_b what it is compared with: folders, ZIP files or packed datasets; of each
            at most as many images as the preset says, and all of them without metrics=
metrics     shapes, inception, fid50k, paper_10k_5k, quick, classifier; else what the run used, or inception
extensions  modules of your own that the run or metrics.extra uses, with commas between; their code is run
data_dir    where packed datasets live, if elsewhere than when the run was trained
device      auto, cpu or cuda
max_unreadable  of path_a and path_b: how many broken images may be left out of each (0)"""

_OF_RUNS, _OF_SETS = {"run", "checkpoint", "data_dir"}, {"path_a", "path_b", "max_unreadable"}
_KEYS = ("run", "checkpoint", "path_a", "path_b", "metrics", "data_dir", "device", "extensions", "max_unreadable")


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Settings of the command, and the `metrics.` overrides read as YAML values."""
    settings: dict[str, str] = {}
    overrides: dict[str, Any] = {}
    for word in arguments:
        key, separator, value = word.partition("=")
        if not separator:
            raise UserError(f"'{word}' is not key=value; the keys are {', '.join(_KEYS)} and metrics.KEY")
        if key.startswith("metrics."):
            try:
                overrides[key.removeprefix("metrics.")] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise UserError(f"{word}: the value cannot be read ({str(error).splitlines()[0]})") from error
        elif key in _KEYS:
            settings[key] = value
        else:
            raise UserError(f"unknown key '{key}'{nearest(key, [*_KEYS, 'metrics.num_samples'])}")
    return settings, overrides


def evaluate_command(arguments: Sequence[str]) -> int:
    """Runs the command and prints its figures as JSON on stdout; raises UserError for what does not fit."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    settings, overrides = parse(arguments)
    how: dict[str, Any] = {"metrics": settings.get("metrics"), "settings": overrides}
    how["device"] = settings.get("device", "auto")
    how["extensions"] = settings["extensions"].split(",") if settings.get("extensions") else []
    if "run" in settings and not _OF_SETS & settings.keys():
        checkpoint = settings.get("checkpoint", "best")
        result = evaluate(settings["run"], checkpoint=checkpoint, data_dir=settings.get("data_dir"), **how)
    elif {"path_a", "path_b"} <= settings.keys() and not _OF_RUNS & settings.keys():
        skip = whole_number("max_unreadable", settings.get("max_unreadable", "0"), 0)
        result = evaluate(settings["path_a"], settings["path_b"], max_unreadable=skip, **how)
    else:
        raise UserError("give either run=DIR, or both path_a=PATH and path_b=PATH")
    print(json.dumps(result, indent=2))
    return 0
