"""Compose every option of every group and every recipe, and check each against the code it names."""

import sys
from dataclasses import dataclass
from typing import ClassVar

from gan_lab.cli.main import script
from gan_lab.config.check import check
from gan_lab.config.compose import GROUPS, compose
from gan_lab.config.options import group_options
from gan_lab.errors import UserError

EXTRA = {"folder": "dataset.path=images", "classifier": "metrics.weights=net.safetensors"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compose every option of every group and every recipe, and check each against the code it names.

    Exit status 1 if one does not fit.
    """

    examples: ClassVar[tuple[str, ...]] = ("",)


def run(options: Options) -> int:
    """Print every misfit and how many there are."""
    failures = count = 0
    for group in GROUPS:
        for name in group_options(group):
            words = [f"{group}={name}", *([EXTRA[name]] if name in EXTRA else [])]
            count += 1
            try:
                check(compose(*words))
            except UserError as error:
                failures += 1
                print(f"{' '.join(words)}: {error}", file=sys.stderr)
    print(f"{count} configurations, {failures} with errors")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(script("python -m scripts.lint_configs", Options, run))
