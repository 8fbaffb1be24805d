"""`gan_lab.train`: training from a notebook or a script of your own."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from gan_lab.config.check import check
from gan_lab.config.schema import Config
from gan_lab.errors import InterruptedRun
from gan_lab.training import train as training

log = logging.getLogger(__name__)
PACKAGE = logging.getLogger("gan_lab")


def train(cfg: DictConfig | Config) -> Path:
    """Train what `cfg` describes, from the start or from where a run in the same directory stopped.

    In one process, in `trainer.devices` of them that are started here, or as one rank of torchrun. What training logs
    is shown, unless the program sets the level of the logger "gan_lab" itself. A bar is shown on a terminal and in a
    notebook. The stop button of a notebook, or Ctrl-C, ends the run with a checkpoint after the present step.

    Returns:
        The run directory, also of a run that was stopped by Ctrl-C: its summary.json has the status "interrupted".

    Raises:
        UserError: something does not fit.
        OutOfMemoryError: it does not fit into memory.
        DivergedError: numbers are not finite.
        CollapsedError: under `stop_on_collapse`.
        InterruptedRun: another signal, such as SIGTERM, stopped the run; a checkpoint has been written, unless the
            first step had not been done.
    """
    config = check(cfg)
    with shown():
        try:
            return training.train(config)
        except InterruptedRun as stop:
            if stop.signal_number != signal.SIGINT or stop.path is None:
                raise
            log.warning("%s", stop)
            return stop.path


class _BesideBar(logging.Handler):
    """Write lines above the bar, if one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def shown() -> Iterator[None]:
    """Show what gan_lab logs in a block, at the level INFO, unless the program has chosen a level for it.

    If the program has handlers of its own, they get the lines.
    """
    if PACKAGE.level != logging.NOTSET or (PACKAGE.isEnabledFor(logging.INFO) and PACKAGE.hasHandlers()):
        yield
        return
    own = None if PACKAGE.hasHandlers() else _BesideBar()
    PACKAGE.setLevel(logging.INFO)
    if own is not None:
        PACKAGE.addHandler(own)
    try:
        yield
    finally:
        PACKAGE.setLevel(logging.NOTSET)
        if own is not None:
            PACKAGE.removeHandler(own)
