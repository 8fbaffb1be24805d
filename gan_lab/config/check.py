"""Check a composed configuration once, before anything is built.

Every setting must lie in its range. Every `_target_` must be allowed, and its arguments must fit its signature (see
`targets`). Settings must be consistent with one another. Each error is one sentence that names the key.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from gan_lab.config.hints import not_chosen
from gan_lab.config.messages import nearest, similar
from gan_lab.config.options import group_options
from gan_lab.config.paths import expanded_paths
from gan_lab.config.plain import hydra_errors, plain
from gan_lab.config.ranges import BETAS, FEATURE, METRIC_RANGES, NOT_NEGATIVE, POSITIVE, Range, at_least, if_number
from gan_lab.config.schema import Config, leaf_settings
from gan_lab.config.targets import check_nodes
from gan_lab.config.tree import is_node, select
from gan_lab.errors import UserError

NODE_RANGES = {
    "optimizer.g.lr": POSITIVE,
    "optimizer.d.lr": POSITIVE,
    "optimizer.g.betas": BETAS,
    "optimizer.d.betas": BETAS,
    **{f"metrics.{name}": allowed for name, allowed in METRIC_RANGES.items()},
    "metrics.num_samples": if_number(at_least(2)),
    "metrics.feature": FEATURE,
}
"""Ranges of settings inside nodes, which the schema does not list."""
_ABSENT = object()


def check(cfg: DictConfig | dict[str, Any] | Config) -> Config:
    """Check everything that can be checked without building. A `Config` is checked already and returned as it is.

    Settings that an earlier version of gan_lab did not write get their defaults.
    Raises UserError, one sentence, for the first setting that is missing, out of range, of the wrong type or
    inconsistent with another.
    """
    if isinstance(cfg, Config):
        return cfg
    with hydra_errors():
        tree = plain(cfg if isinstance(cfg, DictConfig) else OmegaConf.create(cfg))
    _add_defaults(tree)
    if not isinstance(tree["extensions"], list):
        raise UserError(f"extensions={tree['extensions']!r}: must be a list of modules, as in extensions=[my_module]")
    for mapping, name, path in expanded_paths(tree):  # which may come from YAML files or from Python
        mapping[name] = path
    check_ranges(tree)
    _check_groups(tree)
    check_nodes(tree, tuple(tree["extensions"]))
    return Config.from_tree(tree)


def _add_defaults(tree: dict[str, Any]) -> None:
    """Add the settings that the tree lacks. UserError if a section holds something else: trainer=${generator}."""
    defaults = Config().tree()
    for key, _ in leaf_settings():
        section, _, name = key.rpartition(".")
        known = defaults[section] if section else defaults
        node = tree.setdefault(section, {}) if section else tree
        if not isinstance(node, dict) or (name not in node and not node.keys() <= known.keys()):
            raise UserError(f"{key} is missing: '{section}' was replaced by something without it")
        node.setdefault(name, known[name])


def check_ranges(tree: dict[str, Any]) -> None:
    """Raise UserError for the first setting that is out of its range or inconsistent with another."""
    ranges: dict[str, Range] = {key: f.metadata["range"] for key, f in leaf_settings() if f.metadata["range"]}
    for key, allowed in (ranges | NODE_RANGES).items():
        value = select(tree, key, _ABSENT)
        if value is not _ABSENT and not allowed.holds(value):
            hint = similar(value, allowed.choices) if isinstance(value, str) else ""
            raise UserError(f"{key}={value!r}: must be {allowed.text}{hint}")
    for name, node in tree["penalty"].items():
        if isinstance(node, dict) and "weight" in node and not NOT_NEGATIVE.holds(node["weight"]):
            raise UserError(f"penalty.{name}.weight={node['weight']!r}: must be {NOT_NEGATIVE.text}")
    _check_consistency(tree)


def _check_consistency(tree: dict[str, Any]) -> None:
    trainer, dataset = tree["trainer"], tree["dataset"]
    device, devices = trainer["device"], trainer["devices"]
    if trainer["precision"] == "tf32" and not device.startswith(("auto", "cuda")):
        raise UserError(f"trainer.precision=tf32 needs a GPU with CUDA but trainer.device={device}; use fp32 or bf16")
    if devices > 1 and device.startswith("cuda:"):
        raise UserError(f"trainer.devices={devices} with trainer.device={device}: each process takes a GPU of its own; "
                        "use trainer.device=cuda")  # fmt: skip
    if devices > 1 and device.startswith(("mps", "xpu")):
        raise UserError(f"trainer.devices={devices} with trainer.device={device}: several processes need "
                        "trainer.device=cuda or cpu")  # fmt: skip
    if dataset.get("name") == "folder" and not dataset.get("path"):
        raise UserError("dataset=folder needs dataset.path=, a folder or ZIP of images")
    if trainer["batch_size"] % devices:
        raise UserError(f"trainer.batch_size={trainer['batch_size']} cannot be shared equally by "
                        f"trainer.devices={devices}; choose a multiple")  # fmt: skip


def _check_groups(cfg: dict[str, Any]) -> None:
    """Raise UserError for a group without a `_target_`, and for a setting of a group that is switched off."""
    for key in ("generator", "discriminator", "dataset", "loss.d", "loss.g", "optimizer.g", "optimizer.d"):
        node = select(cfg, key)
        if not is_node(node):
            raise UserError(f"{key} has no _target_: choose an option of that group")
        if key.startswith("optimizer.") and "lr" not in node:
            raise UserError(f"{key}.lr is missing: the schedules need it")
    if "_target_" not in cfg["norm"]:
        stray = [k for k in cfg["norm"] if k != "generator"]
        if stray:
            raise UserError(f"norm.{stray[0]} is set but norm=none takes no settings; choose norm=sn, ssn, bsn or bssn")
    for name in ("metrics", "augment"):
        if cfg[name] is not None and "_target_" not in cfg[name]:
            raise UserError(f"{name}.{next(iter(cfg[name]), '?')} is set but {name}=none is chosen")
    for name, node in cfg["tracker"].items():
        if not is_node(node):
            raise UserError(f"unknown key 'tracker.{name}': no such tracker is chosen{nearest(name, cfg['tracker'])}")
    for name, node in cfg["monitor"]["extra"].items():
        if not is_node(node):
            raise UserError(f"monitor.extra.{name} has no _target_: name a class of your own")
    if cfg["monitor"]["extra"] and cfg["monitor"]["level"] == "off":
        raise UserError("monitor.extra is set but monitor=off measures nothing; choose monitor=light or full")
    for name, node in cfg["penalty"].items():
        if not is_node(node):
            if name in group_options("penalty"):
                settings = node.items() if isinstance(node, dict) else ()
                raise UserError(not_chosen(name, " ".join(f"penalty.{name}.{k}={v}" for k, v in settings)))
            raise UserError(f"unknown key 'penalty.{name}': no such penalty is chosen{nearest(name, cfg['penalty'])}")
