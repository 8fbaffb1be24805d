"""Draw images from a trained run: `python scripts/sample.py run=runs/NAME out=samples.png n=64`."""

import sys

from gan_lab.cli import main

if __name__ == "__main__":
    sys.exit(main(["sample", *sys.argv[1:]]))
