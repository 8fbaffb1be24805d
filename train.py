"""Train a GAN: `python train.py norm=bssn dataset=cifar10`. `--help` lists what can be configured."""

import sys

from gan_lab.cli.train import train_command

if __name__ == "__main__":
    sys.exit(train_command(sys.argv[1:]))
