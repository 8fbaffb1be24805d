#!/usr/bin/env python3
"""Packs a dataset ahead of training: python scripts/prepare_data.py NAME [KEY=VALUE ...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli.prepare_data import main  # noqa: E402

sys.exit(main())
