#!/usr/bin/env python3
"""Trains the classifier behind metrics=classifier: python scripts/train_feature_net.py dataset=NAME"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.cli.train_classifier import train_feature_net  # noqa: E402

if __name__ == "__main__":
    sys.exit(guarded(train_feature_net, sys.argv[1:]))
