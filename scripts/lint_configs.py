"""Compose every option of every group and every recipe, and check each against the code it names."""

import sys

from gan_lab.config.check import check
from gan_lab.config.compose import GROUPS, compose
from gan_lab.config.options import config_dir
from gan_lab.errors import UserError


def main() -> int:
    failures = 0
    count = 0
    for group in GROUPS:
        for path in sorted((config_dir() / group).glob("*.yaml")):
            words = [f"{group}={path.stem}"]
            if path.stem == "folder":
                words.append("dataset.path=images")
            if path.stem == "classifier":
                words.append("metrics.weights=net.safetensors")
            count += 1
            try:
                check(compose(*words))
            except UserError as error:
                failures += 1
                print(f"{' '.join(words)}: {error}", file=sys.stderr)
    print(f"{count} configurations, {failures} with errors")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
