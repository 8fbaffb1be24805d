#!/usr/bin/env python3
"""Puts runs side by side in one page: python scripts/report.py RUNS... [out=DIR] [metric=NAME] [step=N]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.reporting import report_command  # noqa: E402

if __name__ == "__main__":
    sys.exit(guarded(report_command, sys.argv[1:]))
