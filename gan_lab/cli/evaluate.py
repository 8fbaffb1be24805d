"""`scripts/evaluate.py`: the figures of a run's checkpoint under any protocol, or of two sets of images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from gan_lab.config.compose import config_dir
from gan_lab.config.messages import nearest
from gan_lab.config.targets import check_node, locate
from gan_lab.errors import UserError
from gan_lab.metrics.compare import SetFacts, compare_sets
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.folders import open_images
from gan_lab.metrics.protocol import protocol_hash

USAGE = """Evaluates a trained generator, or one set of images against another.

    python scripts/evaluate.py run=DIR [checkpoint=best|latest|STEP] [metrics=PRESET] [metrics.KEY=VALUE ...]
    python scripts/evaluate.py path_a=PATH path_b=PATH [metrics=PRESET] [metrics.KEY=VALUE ...]

run         a run directory; the figures are appended to its metrics.jsonl, with the protocol beside them
path_a      the set to judge, path_b what it is compared with: folders, ZIP files or packed datasets; of each
            at most as many images as the preset says, and all of them without metrics=
metrics     shapes, inception, fid50k, paper_10k_5k, quick, classifier; else what the run used, or inception
extensions  modules of your own that the run uses, with commas between; their code is run
data_dir    where packed datasets live, if elsewhere than when the run was trained
device      auto, cpu or cuda"""

_KEYS = ("run", "checkpoint", "path_a", "path_b", "metrics", "data_dir", "device", "extensions")


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


def preset(name: str) -> dict[str, Any]:
    """The node of conf/metrics/<name>.yaml."""
    folder = config_dir() / "metrics"
    path = folder / f"{name}.yaml"
    names = [p.stem for p in folder.glob("*.yaml") if p.stem != "none"]
    if name not in names:
        raise UserError(f"metrics={name}: no such preset{nearest(name, names)}")
    node = yaml.safe_load(path.read_text())
    return {key: None if value == "???" else value for key, value in node.items()}


def _build(node: Mapping[str, Any], overrides: Mapping[str, Any], **injected: Any) -> Evaluator:
    """The evaluator of a node with overrides, its keys and types checked as in a configuration."""
    node = {**node, **overrides}
    check_node("metrics", node)
    made = locate(node["_target_"], "metrics")
    arguments = {key: value for key, value in node.items() if not key.startswith("_")}
    try:
        return made(**arguments, **injected)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:
        raise UserError(f"metrics: {error}") from error


def _device(name: str) -> torch.device:
    from gan_lab.distributed.device import pick_device

    return pick_device(name)


def _config_of(run: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((run / "config.yaml").read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"run={run}: config.yaml cannot be read ({error}); give a run directory") from error
    if not isinstance(config, dict) or "dataset" not in config:
        raise UserError(f"run={run}: config.yaml is not a run's configuration")
    return config


def dataset_of(config: Mapping[str, Any], data_dir: str | None, extensions: Sequence[str] = ()) -> Any:
    """The dataset that a run's configuration names, found under `data_dir` (None: where the run had it).

    The run may come from anywhere: only the caller's extensions are trusted, not those that it lists.
    """
    node = dict(config["dataset"])
    check_node("dataset", node, tuple(extensions))
    made = locate(node.pop("_target_"), "dataset", tuple(extensions))
    return made(data_dir=data_dir or config["data_dir"], **{k: v for k, v in node.items() if not k.startswith("_")})


def evaluate_run(settings: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluates a checkpoint of run=DIR and appends the row to its metrics.jsonl; returns the row."""
    from gan_lab.runs.checkpoint import load_checkpoint
    from gan_lab.runs.files import append_row, storage_error, write_json
    from gan_lab.use.load import find_checkpoint, load_generator

    run, which = Path(settings["run"]).expanduser(), settings.get("checkpoint", "best")
    config, device = _config_of(run), _device(settings.get("device", "auto"))
    file = find_checkpoint(run, which)
    node = preset(settings["metrics"]) if "metrics" in settings else config.get("metrics") or preset("inception")
    data_dir = settings.get("data_dir") or config["data_dir"]
    extensions = settings["extensions"].split(",") if settings.get("extensions") else []
    dataset = dataset_of(config, data_dir, extensions)
    evaluator = _build(node, overrides, dataset=dataset, cache_dir=Path(data_dir) / "statistics", device=device)
    G: Any = load_generator(file, ema=evaluator.use_ema, extensions=extensions).to(device)
    truncated = {} if evaluator.truncation == 1 else {"truncation": evaluator.truncation}

    def sample(n: int) -> Tensor | tuple[Tensor, Tensor]:
        z, y = G.sample_z(n, device), G.sample_y(n, device)
        images = G(z, y, **truncated)
        return images if y is None else (images, y)

    figures = evaluator(sample)
    state = load_checkpoint(file)["state"]
    trainer = config["trainer"]
    row = {
        "step": state["step"],
        "images_seen": state["step"] * trainer["batch_size"] * trainer["n_dis"],
        "wall_seconds": round(float(state["wall_seconds"]), 3),
        **figures,
        "protocol": evaluator.protocol_hash,
        "checkpoint": file.name,
        "evaluated": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    try:
        write_json(run / f"protocol-{evaluator.protocol_hash}.json", evaluator.protocol)
        append_row(run / "metrics.jsonl", row)
    except OSError as error:
        raise storage_error(run / "metrics.jsonl", error) from error
    return row


def evaluate_paths(settings: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of path_a against path_b, with their protocol; nothing is written."""
    a, b = open_images(settings["path_a"]), open_images(settings["path_b"])
    node = preset(settings.get("metrics", "inception"))
    if "metrics" not in settings:
        node |= {"num_samples": a.n, "num_real": b.n}  # without a protocol to follow: all there is
    asked = {**node, **overrides}["num_samples"]
    overrides = {**overrides, "num_samples": min(asked, a.n) if isinstance(asked, int) else asked}
    evaluator = _build(
        node, overrides, dataset=SetFacts(b), cache_dir=Path(), device=_device(settings.get("device", "auto"))
    )
    figures, protocol = compare_sets(evaluator, a, b)
    return {**figures, "protocol": protocol_hash(protocol), "protocol_entries": protocol}


def evaluate_command(arguments: Sequence[str]) -> int:
    """Runs the command and prints its figures as JSON on stdout; raises UserError for what does not fit."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    settings, overrides = parse(arguments)
    if "run" in settings and not {"path_a", "path_b"} & settings.keys():
        result = evaluate_run(settings, overrides)
    elif {"path_a", "path_b"} <= settings.keys() and not {"run", "checkpoint", "data_dir"} & settings.keys():
        result = evaluate_paths(settings, overrides)
    else:
        raise UserError("give either run=DIR, or both path_a=PATH and path_b=PATH")
    print(json.dumps(result, indent=2))
    return 0
