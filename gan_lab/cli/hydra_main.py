"""Hydra's entry point, also on a Python that is newer than Hydra."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hydra

from gan_lab.config.options import config_dir


def hydra_main(job: Callable[[Any], Any], primary: str) -> Callable[[], None]:
    """Return a function that runs `job` as Hydra does, by the words in sys.argv and the primary configuration."""
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=primary)(job)

    def run() -> None:
        with _unchecked_help():
            main()

    return run


@contextmanager
def _unchecked_help() -> Iterator[None]:
    """Accept options whose help is made when it is shown, as that of Hydra 1.3's --shell-completion.

    Since Python 3.14 a parser checks the text as soon as an option is added (facebookresearch/hydra#3121).
    """
    check = getattr(ArgumentParser, "_check_help", None)
    if check is None:
        yield
        return
    setattr(ArgumentParser, "_check_help", lambda parser, action: None)  # noqa: B010  # typeshed does not know it
    try:
        yield
    finally:
        setattr(ArgumentParser, "_check_help", check)  # noqa: B010
