"""`train`: from a configuration to a run directory, in one process or as one of several."""

import logging
import threading
from pathlib import Path

import torch
from omegaconf import DictConfig

from gan_lab.builder import build
from gan_lab.config.changes import allowed_changes, changed_settings
from gan_lab.config.check import check
from gan_lab.config.paths import make_absolute
from gan_lab.config.schema import Config
from gan_lab.data.moved import Known, located
from gan_lab.distributed import collectives, launch
from gan_lab.distributed.device import choose_kernels, plain_precision, switches_kept, use_tf32
from gan_lab.errors import UserError
from gan_lab.experiment import Experiment
from gan_lab.kernels.malloc import keep_freed_memory
from gan_lab.runs.directory import RunDirectory, choose_directory
from gan_lab.runs.lock import remove_unbegun
from gan_lab.training.loop import run_experiment

log = logging.getLogger(__name__)


def train(cfg: DictConfig | Config) -> Path:
    """Train what `cfg` describes, from the start or from where a run in the same directory stopped.

    In one process, in `trainer.devices` of them that are started here, or as one rank of torchrun. Returns the run
    directory. Raises UserError for what does not fit, DivergedError for non-finite numbers, CollapsedError under
    `stop_on_collapse`, and InterruptedRun after a signal, when a checkpoint has been written (before the first step
    there is none to write). One training runs in a process at a time, as its updates seed torch's random numbers.
    """
    made = torch.empty(0)
    if (made.dtype, made.device.type) != (torch.float32, "cpu"):
        raise UserError(f"training takes torch's default dtype to be float32 and its default device the CPU, and they "
                        f"are {made.dtype} and {made.device}: put them back before")  # fmt: skip
    tree = check(cfg).tree()
    make_absolute(tree)  # so that config.yaml means the same from another directory
    config = Config.from_tree(tree)
    if not _running.acquire(blocking=False):
        raise UserError("another training runs in this process, and their random numbers would mix: wait for it, or "
                        "start a process for each")  # fmt: skip
    try:
        with (
            switches_kept(),
            torch.inference_mode(False),
            torch.enable_grad(),
            plain_precision(),
            launch.joined(config, train_here),
        ):
            return train_here(config)
    finally:
        _running.release()


_running = threading.Lock()


def train_here(config: Config) -> Path:
    """Train as one process of those that `train` started, or as the only one."""
    run: RunDirectory | None = None

    def take() -> tuple[Path, bool, Known]:
        nonlocal run
        run = RunDirectory(choose_directory(config), config)
        run.lock()
        finished = run.finished()
        return run.path, finished, {} if finished else run.earlier_data()

    def make() -> Experiment:
        config.dataset = located(config.dataset, Path(config.data_dir), known)
        return build(config, known)

    try:
        path, finished, known = collectives.decided_by_first(take)
        if finished:
            log.info("%s is already finished; nothing to do", path)
            return path
        use_tf32(config.trainer.precision == "tf32")
        choose_kernels(config.trainer.deterministic)
        exp = collectives.first_before_others(make)  # the first packs the data if need be; the others then find it
        check_agreement(config, exp)
        if exp.device.type == "cpu":
            keep_freed_memory()
        run_experiment(exp, run or RunDirectory(path, config))
        return path
    finally:
        if run is not None:
            run.unlock()
            if run.made:
                remove_unbegun(run.path)


def check_agreement(config: Config, exp: Experiment) -> None:
    """Raise UserError on all processes if one of them, started by hand, has other settings or images than the first."""
    ours = config.tree()
    theirs, images = collectives.from_first((ours, exp.dataset.sha256))
    # Also when something is logged or measured: all processes take part in that.
    found = [*changed_settings(theirs, ours), *allowed_changes(theirs, ours)] if theirs != ours else []
    if images != exp.dataset.sha256:
        found.append(f"dataset: sha256 {images[:12]} -> {exp.dataset.sha256[:12]}")
    if collectives.highest(len(found)):
        told = "; ".join(found) or "see their messages"
        raise UserError(f"the processes of this run do not agree on what to train ({told}): start all of them with the "
                        "same words, and run= or config= instead of name= alone")  # fmt: skip
