"""The command line: `python train.py ...` and `gan-lab VERB ...`."""

from gan_lab.cli.train import guarded, main, preflight, split_arguments, sweep_jobs, train_command

__all__ = ["guarded", "main", "preflight", "split_arguments", "sweep_jobs", "train_command"]
