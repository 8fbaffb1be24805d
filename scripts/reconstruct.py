#!/usr/bin/env python3
"""WN-GAN's reconstruction error of a trained run: python scripts/reconstruct.py run=DIR"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.cli.reconstruct import reconstruct_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(guarded(reconstruct_command, sys.argv[1:]))
