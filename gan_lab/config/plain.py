"""Turn OmegaConf's configurations into plain data, and errors of Hydra and OmegaConf into one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException, ValidationError

from gan_lab.errors import UserError, useful_line


def _hydra_reason(error: Exception) -> str:
    """Return the useful line of the OmegaConf error behind a Hydra error, with its key if it is known."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, OmegaConfBaseException):
        cause = cause.__cause__
    key = getattr(cause, "full_key", None)
    if isinstance(cause, MissingMandatoryValue) and key:
        return f"{key} has no default: give {key}=..."
    reason = useful_line(cause)
    return f"{key}: {reason}" if key and isinstance(cause, ValidationError) else reason


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Raise any exception of a block as UserError: Hydra and OmegaConf raise nearly anything for bad input."""
    try:
        yield
    except Exception as error:
        raise UserError(f"bad configuration: {_hydra_reason(error)}") from error


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Convert to plain dictionaries with interpolations resolved. Raises UserError if one cannot be resolved."""
    with hydra_errors():
        container = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(k): v for k, v in container.items()}
