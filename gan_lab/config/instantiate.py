"""Make objects from config nodes, `{_target_: ..., argument: value}`, as `hydra.utils.instantiate` does.

It is not that function because importing Hydra takes a quarter of a second, which a program that only loads a
generator should not pay, and because every target here goes through `locate` and its list of what may be named.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self, TypeVar

from gan_lab.config.schema import Config
from gan_lab.config.targets import HYDRA_KEYS, locate
from gan_lab.errors import GanLabError, UserError

T = TypeVar("T")


class Maker:
    """Instantiate config nodes; errors name the config key.

    Properties of the run (`given`: resolution, channels, ...) are passed to constructors that accept them, `common`
    ones also to inner nodes such as schedules.
    """

    def __init__(self, extensions: tuple[str, ...], **common: Any) -> None:
        self.extensions, self.common = extensions, common

    @classmethod
    def of(cls, config: Config, extensions: tuple[str, ...] | None = None) -> Self:
        """A maker for the nodes of a run: any of them may ask for the batch size, and for the run's real images."""
        images = float(config.trainer.total_steps * config.images_per_step)
        allowed = tuple(config.extensions) if extensions is None else extensions
        return cls(allowed, over_images=images, batch_size=config.trainer.batch_size)

    def __call__(self, key: str, node: Mapping[str, Any], **given: Any) -> Any:
        partially = node.get("_partial_")
        try:
            made = self._prepare(key, node, {} if partially else given)
            return made if partially else made()
        except GanLabError:
            raise
        except (ValueError, TypeError) as error:
            raise UserError(f"{key}: {error}") from error

    def instance(self, key: str, node: Mapping[str, Any], base: type[T], **given: Any) -> T:
        """Make an object; UserError unless it is an instance of `base`, which its room exports."""
        made = self(key, node, **given)
        if not isinstance(made, base):
            name = f"{base.__module__.rpartition('.')[0]}.{base.__name__}"
            raise UserError(f"{key}._target_={node['_target_']}: it must be a subclass of {name}")
        return made

    def schedule(self, key: str, setting: Any) -> Any:
        """A number as it is, a node as the schedule it describes."""
        return self(key, setting, **self.common) if isinstance(setting, dict) else float(setting)

    def parameters(self, key: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return inspect.signature(locate(node["_target_"], key, self.extensions)).parameters

    def _prepare(self, key: str, node: Mapping[str, Any], given: Mapping[str, Any]) -> Callable[..., Any]:
        """The node's target, not yet called, with its arguments, and what it takes of `given` and does not state.

        Nodes among the arguments are made, of which each may ask for the common properties.
        """
        found = locate(node["_target_"], key, self.extensions)
        takes = inspect.signature(found).parameters
        arguments = {k: self._value(f"{key}.{k}", v) for k, v in node.items() if k not in HYDRA_KEYS}
        return partial(found, **{k: v for k, v in given.items() if k in takes and k not in node}, **arguments)

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._value(f"{key}.{i}", v) for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {k: self._value(f"{key}.{k}", v) for k, v in value.items()}
        made = self._prepare(key, value, self.common)
        if value.get("_partial_"):
            return made
        try:
            return made()
        except GanLabError:
            raise
        except Exception as error:  # a part of the user's own can raise anything
            raise UserError(f"{key}: {error}") from error
