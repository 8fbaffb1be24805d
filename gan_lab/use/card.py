"""What may be told of a generator: its description, and the model card made from it. Nothing private is among it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import gan_lab
from gan_lab.config.schema import Config
from gan_lab.errors import escaped
from gan_lab.files import read_json_object
from gan_lab.metrics.protocol import DIRECTIONS, protocol_hash
from gan_lab.nets import Generator
from gan_lab.runs.files import measurements, read_rows
from gan_lab.use.exported import FORMAT

NAMES_SHOWN = 100  # of classes, on a card
_RUNNING = "running statistics"  # of batch norms, in a protocol
_RECIPE = ("recipe", "discriminator", "norm", "loss", "penalty", "augment", "optimizer", "ema")
_TRAINER = ("total_steps", "batch_size", "n_dis", "fake_labels", "precision")


def describe(G: Generator, content: Mapping[str, Any], file: Path, ema: bool) -> dict[str, Any]:
    """Describe a checkpoint's generator: what is needed to build it, its recipe, and its figures with their protocol.

    content: of the checkpoint `file`. The figures are those of the run's last evaluation of this step with these
    weights, if the file lies in a run directory.
    """
    data, state = content["dataset"], content["state"]
    config = Config.from_tree(content["config"]).tree()  # an earlier version had fewer settings
    trainer = config["trainer"]
    average = config["ema"]["halflife_images"] != 0  # else both kinds of weights are the same
    weights = ("ema", "raw") if not average else ("ema",) if ema else ("raw",)
    figures, protocol = _figures(file.resolve().parent.parent, state["step"], weights)
    return {
        "gan_lab_format": FORMAT,
        "gan_lab": gan_lab.__version__,
        "model_type": "gan_lab",
        "generator": public(config["generator"]),
        "extensions": [e for e in config["extensions"] if config["generator"]["_target_"].startswith(f"{e}.")],
        "resolution": G.resolution,
        "channels": G.channels,
        "num_classes": int(data["num_classes"]),
        "z_dim": G.z_dim,
        "z_prior": G.z_prior,
        "class_names": public(list(G.class_names)),
        "class_weights": G.class_weights.tolist() if G.num_classes else [],
        "supports_truncation": G.supports_truncation,
        "dataset": public(data["name"]),
        "step": state["step"],
        "images_seen": state["step"] * trainer["batch_size"] * trainer["n_dis"],
        "weights": "moving average" if ema and average else "raw",
        "recipe": public({k: config[k] for k in _RECIPE if config.get(k)} | {k: trainer[k] for k in _TRAINER}),
        "figures": figures,
        "protocol": public(protocol),
    }


def public(value: Any) -> Any:
    """Copy a nested structure, with `...` for every text that could be a path."""
    if isinstance(value, Mapping):
        return {k: public(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(v) for v in value]
    return "..." if isinstance(value, str) and ("/" in value or "\\" in value) else value


def _figures(run: Path, step: int, weights: tuple[str, ...]) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the figures of the run's last evaluation at this step, and their protocol; ({}, {}) if there is none.

    One of other weights does not count, nor does `reconstruct`, whose protocol names none, nor one with a truncation or
    standing statistics: those are figures of other images.
    """
    for row in reversed(read_rows(run / "metrics.jsonl")):
        if row.get("step") != step:
            continue
        files = (run / f"protocol-{row.get('protocol')}.json", run / "protocol.json")
        found = (read_json_object(file) for file in files)
        protocol = next((p for p in found if p and protocol_hash(p) == row.get("protocol")), {})
        plain = protocol.get("truncation", 1.0) == 1.0 and protocol.get("bn_mode", _RUNNING) == _RUNNING
        if protocol.get("weights_of_G") not in weights or not plain:
            continue
        return measurements(row), {"hash": row["protocol"], **{k: v for k, v in protocol.items() if k != DIRECTIONS}}
    return {}, {}


def model_card(G: Generator, description: Mapping[str, Any], images: int) -> str:
    """Write the README.md of an exported folder. `images`: how many its picture shows."""
    environment = Environment(
        loader=PackageLoader("gan_lab.use"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    recipe = yaml.safe_dump({"generator": description["generator"], **description["recipe"]}, sort_keys=False)
    shown = [f"`{escaped(name).replace('`', chr(39))}`" for name in public(G.class_names[:NAMES_SHOWN])]
    names = ", ".join([*shown, "..."] if len(G.class_names) > NAMES_SHOWN else shown)
    values = {"d": description, "names": names, "G": G, "family": type(G).__name__, "images": images, "recipe": recipe}
    return environment.get_template("model_card.md").render(values)
