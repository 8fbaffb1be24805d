"""Walk nested configurations: plain dictionaries and lists."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from gan_lab.errors import UserError

MAX_VALUES = 100_000  # of a configuration


def walk(tree: Any, key: str = "", *, into_lists: bool = True) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, node) for `tree` itself and everything inside it, parents first. List items count from 0."""
    yield key, tree
    children: Any = ()
    if isinstance(tree, dict):
        children = tree.items()
    elif into_lists and isinstance(tree, (list, tuple)):
        children = enumerate(tree)
    for name, child in children:
        yield from walk(child, f"{key}.{name}" if key else str(name), into_lists=into_lists)


def check_size(tree: Any, where: str) -> None:
    """UserError for a tree of too many values: a file of a few lines can refer to the same values again and again."""
    if next(islice(walk(tree), MAX_VALUES, None), None) is not None:
        raise UserError(f"{where} holds more than {MAX_VALUES:,} values; no configuration of a run does")


def is_node(value: Any) -> bool:
    """Whether a value is a node: a mapping with a `_target_`."""
    return isinstance(value, dict) and "_target_" in value


def nodes(tree: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (dotted key, node) of every node in `tree`."""
    return ((at, node) for at, node in walk(tree, key) if is_node(node))


def select(tree: Any, key: str, default: Any = None) -> Any:
    """Return the value at a dotted key of nested mappings, plain or OmegaConf's; "" is `tree` itself."""
    for part in filter(None, key.split(".")):
        if not isinstance(tree, Mapping) or part not in tree:
            return default
        tree = tree[part]
    return tree


def flatten(tree: Any) -> dict[str, Any]:
    """Dotted key -> value of every leaf. Lists and empty mappings are leaves."""
    return {key: node for key, node in walk(tree, into_lists=False) if not (isinstance(node, dict) and node)}


def all_keys(tree: Any) -> set[str]:
    """Every dotted key of a nested mapping, those of inner mappings included."""
    return {key for key, _ in walk(tree, into_lists=False) if key}
