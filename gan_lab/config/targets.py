"""Check that every `_target_` is allowed and that its arguments fit its signature, without calling it."""

import contextlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from gan_lab.config.messages import nearest
from gan_lab.config.tree import is_node, nodes, walk
from gan_lab.errors import UserError

ALLOWED_PREFIXES = (
    "gan_lab.augment.", "gan_lab.data.", "gan_lab.losses.", "gan_lab.metrics.", "gan_lab.nets.", "gan_lab.norms.",
    "gan_lab.penalties.", "gan_lab.schedules.", "gan_lab.runs.trackers.", "torch.optim.", "torch.nn.",
)  # fmt: skip
"""Prefixes that a node's `_target_` may have. Only the parts of a run that these modules define may be named, nothing
that writes files or runs commands."""
_LARGEST = sys.float_info.max
_KINDS: dict[type, tuple[type, ...]] = {
    type(None): (type(None),), bool: (bool,), int: (int,), float: (int, float), str: (str,),
}  # fmt: skip
"""Type hint of plain data -> types of the values that fit it. A bool, which Python counts as an int, fits only bool."""

INJECTED: dict[str, frozenset[str]] = {
    "dataset": frozenset({"data_dir", "before_packing"}),
    "generator": frozenset({"resolution", "channels", "num_classes"}),
    "discriminator": frozenset({"resolution", "channels", "num_classes"}),
    "loss.d": frozenset({"real_logits", "fake_logits"}),
    "loss.g": frozenset({"real_logits", "fake_logits"}),
    "metrics": frozenset({"dataset", "cache_dir", "device", "conditional", "fake_labels"}),
    "optimizer.g": frozenset({"params"}),
    "optimizer.d": frozenset({"params"}),
}
"""Arguments that the builder passes to the callable of each node. A YAML file must not set them."""
INJECTED_ANYWHERE = frozenset({"over_images", "epoch_images", "batch_size", "resolution"})
"""Arguments that the builder passes to any inner node, such as a schedule, that does not set them."""

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_"})
_NODE_EXTRAS = {"norm": frozenset({"generator"})}


def locate(
    target: str,
    key: str,
    extensions: tuple[str, ...] = (),
    prefixes: tuple[str, ...] = ALLOWED_PREFIXES,
    name: str = "_target_",
) -> Callable[..., Any]:
    """Return the callable that a `_target_` names. Raises UserError if it is not allowed or does not exist.

    It must also be defined in an allowed module: through what those modules import, anything could be reached.
    """
    own = tuple(f"{extension}." for extension in extensions)
    allowed, setting = prefixes + own, f"{key}.{name}"
    if not isinstance(target, str) or not target.startswith(allowed):
        raise UserError(
            f"{setting}={target!r}: only targets in {', '.join(allowed)} may be named; "
            "list a module of your own in extensions=[my_module] to allow it"
        )
    module_name, _, attribute = target.rpartition(".")
    try:
        module = import_module(module_name)
    except Exception as error:  # a user's module can raise anything
        raise UserError(f"{setting}={target}: cannot import '{module_name}' ({error})") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        names = [n for n in dir(module) if not n.startswith("_")]
        raise UserError(f"{setting}={target}: '{module_name}' has no '{attribute}'{nearest(attribute, names)}")
    home = f"{getattr(found, '__module__', None)}."
    if target.startswith(own):
        return found  # type: ignore[no-any-return]
    if not home.startswith((*prefixes, "logging.")):
        raise UserError(f"{setting}={target} is defined in {home[:-1]}: only what {', '.join(prefixes)} define may be "
                        "named")  # fmt: skip
    room = next((prefix.rstrip(".") for prefix in ALLOWED_PREFIXES if home.startswith(prefix)), None)
    if room and not _is_part(found, room):
        raise UserError(f"{setting}={target}: it is not one of the parts of {room} that may be named")
    return found  # type: ignore[no-any-return]


def _is_part(found: Callable[..., Any], room: str) -> bool:
    """Whether an object of an allowed module is a part of a run. Other functions there read, write or fetch files."""
    module = import_module(room)
    if room.startswith("torch."):
        base = module.Module if room == "torch.nn" else module.Optimizer
        return (inspect.isclass(found) and issubclass(found, base)) or found.__module__ == "torch.nn.functional"
    if room == "gan_lab.data":
        return found is module.load
    return (inspect.isclass(found) or room == "gan_lab.losses") and any(
        getattr(module, name) is found for name in module.__all__
    )


def hints_of(found: Callable[..., Any]) -> dict[str, Any]:
    source = found.__init__ if inspect.isclass(found) else found  # type: ignore[misc]
    try:
        return typing.get_type_hints(source)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return {}


def _matches(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits a type hint. Hints of other than plain data accept everything but text."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, h) for h in arguments)
    if origin is typing.Literal:
        return value in arguments
    if isinstance(hint, type) and hint in _KINDS:
        return isinstance(value, _KINDS[hint]) and (hint is bool or not isinstance(value, bool))
    if origin in (list, tuple) or hint in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return False
        inner = [a for a in arguments if a is not Ellipsis]
        if len(inner) == 1:
            return all(_matches(v, inner[0]) for v in value)
        return not inner or (len(inner) == len(value) and all(map(_matches, value, inner)))
    if origin is not None and "Callable" in str(origin):
        return isinstance(value, dict)  # a node that builds the callable
    return not isinstance(value, str)


def _describe(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")


def check_node(key: str, node: dict[str, Any], extensions: tuple[str, ...] = ()) -> None:
    """Raise UserError unless a node's arguments fit the signature of its target. Makes 1e5 an int where one is due."""
    found = locate(node["_target_"], key, extensions)
    extras = _NODE_EXTRAS.get(key, frozenset())
    given = {k: v for k, v in node.items() if k not in HYDRA_KEYS and k not in extras}
    injected = INJECTED.get(key, frozenset()) | INJECTED_ANYWHERE
    try:
        parameters = inspect.signature(found).parameters
    except ValueError as error:  # some of torch's built-in functions
        raise UserError(f"{key}._target_={node['_target_']} has no signature to check its settings against") from error
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    settable = [n for n in parameters if n not in injected or n in INJECTED_ANYWHERE]
    hints = hints_of(found)
    for name, value in given.items():
        full = f"{key}.{name}"
        if name not in parameters and not open_ended:
            raise UserError(f"unknown key '{full}': {node['_target_']} does not take '{name}'"
                            f"{nearest(name, [*settable, *extras])}")  # fmt: skip
        if name in INJECTED.get(key, frozenset()):
            raise UserError(f"{full} cannot be set: it is a property of the data, passed in by gan_lab")
        if is_node(value):
            continue  # checked as a node of its own
        if name in hints and isinstance(value, float) and value.is_integer() and not _matches(value, hints[name]):
            value = node[name] = int(value)  # 1e5
        if name in hints and not _matches(value, hints[name]):
            raise UserError(f"{full}={value!r} is of the wrong type: expected {_describe(hints[name])}")
        if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
            raise UserError(f"{full}={value!r}: must be a finite number")
    missing = [
        n for n, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and n not in given and n not in injected
    ]  # fmt: skip
    if missing and not (node.get("_partial_") and key not in INJECTED):  # a partial schedule is given its images later
        raise UserError(f"{key}.{missing[0]} is missing: {node['_target_']} needs it")


def known_parameters(
    tree: dict[str, Any], extensions: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, Any], Mapping[str, inspect.Parameter]]]:
    """Yield (dotted key, node, parameters of its target) for every node of `tree` that has these."""
    for key, node in nodes(tree):
        with contextlib.suppress(UserError, ValueError):  # nothing to call there, or a built-in without a signature
            yield key, node, inspect.signature(locate(node["_target_"], key, extensions)).parameters


def check_nodes(tree: dict[str, Any], extensions: tuple[str, ...] = ()) -> None:
    """Check every node that `instantiate` would call.

    Text that still holds an interpolation is refused: `instantiate` would resolve it to a node that was not checked.
    """
    for key, value in walk(tree):
        if isinstance(value, str) and "${" in value:
            raise UserError(f"{key}={value!r}: a value must not hold '${{' once it is resolved")
    for name in extensions:
        if not (isinstance(name, str) and all(part.isidentifier() for part in name.split("."))):
            raise UserError(f"extensions: {name!r} is not the name of a module")
    for key, node in nodes(tree):
        check_node(key, node, extensions)
