"""Show warnings as plain sentences, each once, without the place in a library that Python would print."""

import logging
import warnings
from collections.abc import Callable
from typing import Any

log = logging.getLogger("gan_lab.warnings")
_shown: set[str] = set()


def show_warnings_once(is_new: Callable[[str], bool] = lambda text: True) -> None:
    """From now on log warnings, each text once in this process, and only if `is_new(text)`."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in _shown:
            _shown.add(text)
            if is_new(text):
                log.warning("%s", text)

    warnings.showwarning = show


def forget_shown() -> None:
    """Show again what was shown: a new command begins."""
    _shown.clear()
