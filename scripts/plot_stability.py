#!/usr/bin/env python3
"""A run's gradients, weight variances and singular values as a picture: python scripts/plot_stability.py run=DIR"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.reporting.stability import plot_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(guarded(plot_command, sys.argv[1:]))
