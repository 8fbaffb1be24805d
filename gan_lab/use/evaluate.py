"""Evaluate a trained generator under any protocol, or one set of images against another."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from gan_lab.builder import build_evaluator, check_truncation
from gan_lab.config.instantiate import Maker
from gan_lab.config.messages import nearest
from gan_lab.config.options import config_dir, group_options
from gan_lab.config.targets import check_nodes
from gan_lab.config.tree import check_size
from gan_lab.data.image_set import ImageSet, open_images
from gan_lab.data.moved import Known, find_packed, is_same, located, with_known_name
from gan_lab.distributed.device import pick_device, tf32
from gan_lab.errors import StorageError, UserError
from gan_lab.files import expand_path, write_json
from gan_lab.metrics import memory
from gan_lab.metrics.protocol import DIRECTIONS, protocol_hash
from gan_lab.metrics.reference import chosen_indices
from gan_lab.nets.sampling import sampler, with_standing_statistics
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.runs.files import append_row, storage_error
from gan_lab.runs.lock import refuse_links
from gan_lab.use.load import find_checkpoint, generator_of

IS_SEED = 2020  # the images of a folder may be sorted by class, so they are shuffled for the inception score
_GENERATOR_ENTRIES = ("truncation", "weights_of_G", "bn_mode", DIRECTIONS)


def evaluate(
    path: str | Path,
    against: str | Path | None = None,
    *,
    checkpoint: str | int | None = None,
    metrics: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_dir: str | Path | None = None,
    dataset_path: str | Path | None = None,
    device: str = "auto",
    extensions: Sequence[str] = (),
    max_unreadable: int = 0,
) -> dict[str, Any]:
    """Measure the generator of a run, or the images at `path` against those at `against`.

    Args:
        path: a run directory; with `against`, a folder of images, a ZIP or a packed dataset.
        checkpoint: "best", "latest" or a step of the run. None: the best, or the latest if there is none.
        metrics: a preset of conf/metrics. None: what the run used; for sets of images, "inception" on all images.
        settings: changes to the preset, as under `metrics.` in a configuration: {"num_samples": 1000}.
        data_dir: the directory of packed datasets. None: the one that the run used.
        dataset_path: of a run, where its images lie now, if they were moved. Other images are refused.
        device: "auto", "cpu" or "cuda".
        extensions: your own modules that the run or `settings` name; their code is executed.
        max_unreadable: for sets of images, how many broken files may be skipped in each.

    Returns:
        The figures and the hash of their protocol. For a run: the row that is appended to its metrics.jsonl. For sets
        of images: also how many were read and skipped, and the protocol as `protocol_entries`.

    Raises:
        UserError: a path, checkpoint, preset or setting cannot be used.
    """
    settings = settings or {}
    if against is not None:
        with (
            open_images(path, "path_a", max_unreadable) as fakes,
            open_images(against, "path_b", max_unreadable) as reals,
        ):
            return _evaluate_sets(fakes, reals, metrics, settings, device, extensions)
    run = Path(expand_path(os.fspath(path)))
    config, on = _read_config(run), pick_device(device, "device")
    file = find_checkpoint(run, checkpoint)
    node = preset(metrics) if metrics is not None else config.get("metrics") or preset("inception")
    node, content = {**node, **settings}, load_checkpoint(file)
    data_dir = data_dir or _data_dir_of(config, run)
    dataset = dataset_of(config, content["dataset"], data_dir, dataset_path, extensions)
    G = generator_of(content, file, ema=bool(node.get("ema", True)), extensions=extensions).to(on)
    evaluator = build_evaluator(
        node,
        extensions,
        dataset=dataset,
        device=on,
        cache_dir=Path(data_dir).expanduser() / "statistics",
        conditional=bool(G.num_classes),
        fake_labels=config["trainer"].get("fake_labels", "uniform"),  # version 0.1 had no such setting
    )
    check_truncation(evaluator.truncation, type(G))
    with tf32(config["trainer"].get("precision") == "tf32", on):  # as in training, whose figures these continue
        G = with_standing_statistics(G, evaluator.standing_statistics, evaluator.batch_size, evaluator.seed)
        draw = sampler(G, on, evaluator.truncation)
        memory.check(evaluator, draw)
        figures = evaluator(draw)
    return append_evaluation(run, file, content, figures, evaluator.protocol)


def preset(name: str) -> dict[str, Any]:
    """Read conf/metrics/<name>.yaml."""
    names = [option for option in group_options("metrics") if option != "none"]
    if name not in names:
        raise UserError(f"metrics={name}: no such preset{nearest(name, names)}")
    node = yaml.safe_load((config_dir() / "metrics" / f"{name}.yaml").read_text("utf-8"))
    return {key: None if value == "???" else value for key, value in node.items()}


def dataset_of(
    config: Mapping[str, Any],
    known: Known,
    data_dir: str | Path | None = None,
    path: str | Path | None = None,
    extensions: Sequence[str] = (),
) -> Any:
    """Open the images that a run was trained on, wherever they lie now.

    config: the run's. known: the `dataset` of its checkpoint. data_dir: the directory of packed datasets (None: the
    run's). path: of the images (None: the run's, else a packed copy with the same sha256). Only the caller's extensions
    are trusted, not those of the configuration, which may come from anywhere. UserError for other images.
    """
    node, where = config["dataset"], Path(data_dir or config["data_dir"]).expanduser()
    node = located(node, where, known) if path is None else {**node, "path": str(path)}
    check_nodes({"dataset": node}, tuple(extensions))
    make = partial(Maker(tuple(extensions)), "dataset", data_dir=where)
    dataset, expected = make(node), known.get("sha256")
    copy = None if path is not None or is_same(dataset, known) else find_packed(where, known)
    if copy is not None:  # the images at the run's own path have changed
        dataset = make({**node, "path": str(copy)})
    if expected not in (None, dataset.sha256):
        raise UserError(
            f"the run was trained on other images ({known.get('name')}, sha256 {str(expected)[:12]}) than those at "
            f"{node.get('path') or where / dataset.name} (sha256 {dataset.sha256[:12]}): give dataset.path= of the same"
        )
    if not is_same(dataset, known):
        raise UserError(f"the run was trained on the images at {node.get('path') or where / dataset.name} with other "
                        "classes, or another number of them: give dataset.path= of the same")  # fmt: skip
    return with_known_name(dataset, known)


def append_evaluation(
    run: Path, file: Path, content: Mapping[str, Any], figures: Mapping[str, Any], protocol: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the row of metrics.jsonl for a checkpoint file. If `run` is a directory, append it and write the protocol.

    content: of the checkpoint file. Raises StorageError if the run directory cannot be written to.
    """
    state, trainer, identity = content["state"], content["config"]["trainer"], protocol_hash(protocol)
    row = {
        "step": state["step"],
        "images_seen": state["step"] * trainer["batch_size"] * trainer["n_dis"],
        "wall_seconds": round(float(state["wall_seconds"]), 3),
        **figures,
        "protocol": identity,
        "checkpoint": file.name,
        "evaluated": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    if run.is_dir():
        refuse_links(run)
        try:
            write_json(run / f"protocol-{identity}.json", protocol)
            append_row(run / "metrics.jsonl", row)
        except OSError as error:
            measured = ", ".join(f"{key} {value:.6g}" for key, value in figures.items() if isinstance(value, float))
            raise StorageError(f"{storage_error(run / 'metrics.jsonl', error)}; measured: {measured}") from error
    return row


def _read_config(run: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"run={run}: config.yaml cannot be read ({error}); give a run directory") from error
    if not isinstance(config, dict) or "dataset" not in config:
        raise UserError(f"run={run}: config.yaml is not a run's configuration")
    check_size(config, f"run={run}: config.yaml")
    return config


def _data_dir_of(config: Mapping[str, Any], run: Path) -> Path:
    """Return a run's data_dir. Runs of version 0.1 wrote it relative to a folder above the run."""
    stated = Path(config["data_dir"]).expanduser()
    above = [folder / stated for folder in list(run.absolute().parents)[:3]]
    return next((path for path in (stated, *above) if path.is_dir()), stated)


def _evaluate_sets(
    fakes: ImageSet,
    reals: ImageSet,
    metrics: str | None,
    settings: Mapping[str, Any],
    device_name: str,
    extensions: Sequence[str],
) -> dict[str, Any]:
    """Compare `fakes` with `reals`. Returns figures and protocol; writes nothing."""
    node = preset(metrics or "inception")
    if metrics is None:
        node |= {"num_samples": fakes.num_train, "num_real": reals.num_train}  # all images
    node |= {"splits_seed": IS_SEED, **settings}
    if isinstance(node["num_samples"], int):  # else the evaluator refuses it
        node["num_samples"] = min(node["num_samples"], fakes.num_train)
    on = pick_device(device_name, "device")
    evaluator = build_evaluator(node, extensions, dataset=reals, cache_dir=Path(), device=on)
    sides = ((fakes, evaluator.num_samples), (reals, evaluator.reals))
    batches = [images.batches(chosen_indices(images.num_train, n), evaluator.batch_size) for images, n in sides]
    figures = evaluator.compare(*batches)
    protocol = {key: value for key, value in evaluator.protocol.items() if key not in _GENERATOR_ENTRIES}
    protocol |= {"resolution": "as stored", "fakes": fakes.name, "fakes_sha256": fakes.sha256}
    counts = {
        "fakes_read": evaluator.num_samples,
        "fakes_skipped": fakes.skipped,
        "reals_read": evaluator.reals,
        "reals_skipped": reals.skipped,
    }
    return {**figures, **counts, "protocol": protocol_hash(protocol), "protocol_entries": protocol}
