"""`gan-lab VERB ...` and `python -m gan_lab VERB ...`: choose a verb and run it."""

import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from gan_lab import __version__
from gan_lab.cli.help import help_text
from gan_lab.cli.options import parse
from gan_lab.cli.warn import forget_shown, show_warnings_once
from gan_lab.config.messages import nearest
from gan_lab.errors import GanLabError, UserError
from gan_lab.files import reason

T = TypeVar("T")
HELP = ("--help", "-h", "help")
VERBS = {
    "train": "train a GAN, or sweep over settings",
    "sample": "draw images from a trained generator",
    "interpolate": "go from seed to seed, as a film or a strip",
    "mix-styles": "combine the styles of seeds (StyleGAN2)",
    "directions": "find and show directions of the latent space (SeFa)",
    "nearest": "compare samples with the training images nearest to them",
    "project": "find the latents of given images",
    "explore": "look at trained generators in the browser",
    "evaluate": "measure a trained generator, or one set of images against another",
    "export": "write a trained generator for others: Hugging Face layout, torch.export or ONNX",
    "report": "compare runs: tables, tests, curves and samples",
    "reconstruct": "measure how near a generator comes to test images",
    "plot-stability": "draw a run's gradients, weight variances and singular values",
    "dashboard": "show runs in TensorBoard",
    "prepare-data": "pack a dataset before training, or check one",
    "train-classifier": "train a classifier to be used as a metric's backbone",
}
"""Each verb is a module of gan_lab.cli with `Options` and `run(options)`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the verb that is the first of the words (default: the command line's). Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in HELP:
        print("usage: gan-lab VERB KEY=VALUE ...\n")
        print("\n".join(f"  {verb:18}{text}" for verb, text in VERBS.items()))
        print("\ngan-lab VERB --help explains the keys of a verb.")
        return 0 if words else 2
    verb, *words = words
    if verb == "--version":
        print(f"gan_lab {__version__}")
        return 0
    if verb not in VERBS:
        print(f"error: gan-lab has no command '{verb}'{nearest(verb, VERBS)}", file=sys.stderr)
        return 2
    module = import_module(f"gan_lab.cli.{verb.replace('-', '_')}")
    if verb == "train":  # Hydra parses its words
        return int(module.train_command(words))
    return guarded(lambda: run_command(f"gan-lab {verb}", module.Options, module.run, words))


def run_command(name: str, options: type[T], run: Callable[[T], Any], words: Sequence[str]) -> int:
    """Parse the words and call `run`, or print help. Returns the exit status of `run` (None: 0).

    A command that has required options prints its help and returns 2 if it gets no words. UserError for invalid words.
    """
    if words and (words[0] == "help" or any(word in ("--help", "-h") for word in words)):
        print(help_text(name, options))
        return 0
    try:
        given = parse(options, words)
    except UserError:
        if words:
            raise
        print(help_text(name, options))
        return 2
    return int(run(given) or 0)


def guarded(command: Callable[[], int]) -> int:
    """Call a command. Print a GanLabError as one sentence instead of a traceback, and return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    forget_shown()
    show_warnings_once()
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):  # None if whoever started us closed it
            sys.stdout.reconfigure(errors="backslashreplace")
        status = command()
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except GanLabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return 141  # as a shell reports a program that SIGPIPE ended
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        if error.filename is None:
            raise
        print(f"error: {UserError(f'{error.filename}: {reason(error)}; give another path')}", file=sys.stderr)
        return UserError.exit_status
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            print(f"error: {str(error.filename)[:60]}...: {reason(error)}; give a shorter path", file=sys.stderr)
            return UserError.exit_status
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        print(f"error: stdout cannot be written to ({reason(error)})", file=sys.stderr)
        return 1


def _nobody_reads() -> bool:
    """Whether the other end of stdout is closed, as by `| head`; if so, what is left goes nowhere."""
    try:
        print(flush=True)  # the text that failed may have left the buffer already
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def script(name: str, options: type[T], run: Callable[[T], Any]) -> int:
    """Run a separate program with options declared like those of a verb: `sys.exit(script(...))`."""
    return guarded(lambda: run_command(name, options, run, sys.argv[1:]))
