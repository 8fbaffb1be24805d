"""Build a generator from a configuration: what loading one needs, without Hydra, data or metrics."""

import inspect
from typing import Any, cast

import yaml

from gan_lab.config.instantiate import Maker
from gan_lab.config.messages import nearest
from gan_lab.config.options import config_dir, group_options
from gan_lab.config.schema import Config
from gan_lab.config.targets import check_nodes, locate
from gan_lab.config.tree import nodes
from gan_lab.errors import UserError
from gan_lab.nets.base import Generator
from gan_lab.norms import apply_weight_norm

_OF_NETS = ("gan_lab.nets.", "gan_lab.norms.", "torch.nn.")


def generator_norm(setting: str | None) -> dict[str, Any] | None:
    """Return the node that `norm.generator` names: an option of the norm group, with its default settings."""
    if setting in (None, "none"):
        return None
    options = group_options("norm")
    if setting not in options:
        raise UserError(f"norm.generator={setting}: no such norm{nearest(str(setting), options)}")
    node = cast(dict[str, Any], yaml.safe_load((config_dir() / "norm" / f"{setting}.yaml").read_text("utf-8")))
    return {k: v for k, v in node.items() if k != "generator"}


def build_generator(config: Config, properties: dict[str, Any], extensions: tuple[str, ...] = ()) -> Generator:
    """G alone, as a checkpoint's configuration describes it; `properties` are the data's resolution, channels, classes.

    The file may come from anywhere: it names a `Generator` of this package, or of the `extensions` that the caller
    trusts, whatever extensions it lists itself.
    """
    node = config.generator
    if _own(node["_target_"], config.extensions) and not _own(node["_target_"], extensions):
        raise UserError(f"the generator is {node['_target_']}, whose code would be run: if you trust it, repeat with "
                        f"extensions={','.join(config.extensions)}")  # fmt: skip
    check_nodes({"generator": node}, extensions)
    for key, inner in nodes(node, "generator"):
        if inner is not node:  # parts of a net; others could fetch data, or tell a server
            locate(inner["_target_"], key, extensions, _OF_NETS)
    found = locate(node["_target_"], "generator", extensions)
    if not (inspect.isclass(found) and issubclass(found, Generator)):
        raise UserError(f"generator._target_={node['_target_']} is not a generator")
    make = Maker.of(config, extensions)
    G: Generator = make("generator", node, **properties)
    norm = generator_norm(config.norm.get("generator"))
    return apply_weight_norm(G, make("norm", norm) if norm else None)  # type: ignore[return-value]


def _own(target: Any, extensions: Any) -> bool:
    return isinstance(target, str) and target.startswith(tuple(f"{name}." for name in extensions))
