"""What is wrong with a command or a YAML file, in a sentence; and configurations as plain data."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from gan_lab.errors import UserError


def nearest(word: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the short list of what there is, or nothing."""
    options = sorted(set(names))
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(options)}" if 0 < len(options) <= 25 else ""


def one_line(error: Exception) -> str:
    """The first telling line of a Hydra or OmegaConf error, with the key it is about."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = getattr(cause, "full_key", None)
    reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return f"{key}: {reason}" if key and isinstance(cause, ValidationError) else reason


@contextmanager
def hydra_errors() -> Iterator[None]:
    """What is wrong with the words or the YAML files makes Hydra and OmegaConf raise nearly anything."""
    try:
        yield
    except Exception as error:
        raise UserError(f"bad configuration: {one_line(error)}") from error


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries with interpolations resolved; UserError where one cannot be."""
    with hydra_errors():
        container = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items()}
