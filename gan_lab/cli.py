"""The command line: `python train.py ...` and `gan-lab train|sample|evaluate|prepare-data ...`.

Hydra runs the program; before it does, every job of the command is composed and checked here, so that a mistake is
told in one sentence with exit status 2 before anything starts.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import compose, config_dir, parse_overrides
from gan_lab.errors import GanLabError, InterruptedRun

log = logging.getLogger("gan_lab")

_VALUE_FLAGS = ("--config-dir", "-cd", "--package", "-p", "--config-name", "-cn", "--config-path", "-cp",
                "--cfg", "-c")  # fmt: skip
_SHOW_ONLY = ("--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc", "--info", "-i")

_job_statuses: list[int] = []


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Overrides, flags with their values, and the value of --config-dir, as Hydra's parser would see them."""
    overrides, flags, extra_dir = [], [], None
    words = iter(arguments)
    for word in words:
        flag, _, attached = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flags.append(word)
        if flag in _VALUE_FLAGS:
            value = attached
            if not attached:
                value = next(words, "")
                flags.append(value)
            if flag in ("--config-dir", "-cd"):
                extra_dir = value
    return overrides, flags, extra_dir


def sweep_jobs(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of every job of a sweep: the product of what is separated by commas, or a range."""
    choices = []
    for override in parse_overrides(overrides):
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([str(override.input_line)])
    return (list(job) for job in itertools.product(*choices))


def job_names(overrides: Sequence[str]) -> list[str]:
    """An override that keeps what all jobs have in common out of their directories' names."""
    setting = "hydra.job.config.override_dirname.exclude_keys"
    if any(word.startswith(setting) for word in overrides):
        return []
    common = [o.key_or_group for o in parse_overrides(overrides) if not o.is_sweep_override()]
    return [f"{setting}=[{','.join(common)}]"]


def preflight(arguments: Sequence[str]) -> None:
    """Compose, and unless the configuration is only to be shown check, every job; UserError for the first mistake."""
    overrides, flags, extra_dir = split_arguments(arguments)
    if any(flag in _SHOW_ONLY for flag in flags):
        return
    shown_only = any(flag.split("=")[0] in ("--cfg", "-c") for flag in flags)
    sweep = "-m" in flags or "--multirun" in flags
    if any(w.startswith(("hydra/sweeper=", "hydra.sweeper.")) for w in overrides):
        return  # another sweeper has a grammar of its own; each job is still checked when it runs
    for job in sweep_jobs(overrides) if sweep else [overrides]:
        cfg = compose(*job, config_path=extra_dir)
        if not shown_only:
            from gan_lab.lint import check  # imports torch: only where a run follows

            check(cfg)


def _run_job(cfg: DictConfig) -> float | None:
    """One Hydra job. A sweep logs a failing job in that job's log and goes on; a single run ends with its status."""
    logging.captureWarnings(True)
    OmegaConf.set_struct(cfg, False)
    cfg.run_dir = HydraConfig.get().runtime.output_dir
    single = HydraConfig.get().mode == RunMode.RUN
    try:
        from gan_lab.training import train

        path = train(cfg)
    except GanLabError as error:
        log.error("%s", error)
        if single or isinstance(error, InterruptedRun):
            sys.exit(error.exit_status)
        _job_statuses.append(error.exit_status)
        return None
    except Exception:
        if single:
            raise
        log.exception("this job failed; the sweep goes on")
        _job_statuses.append(1)
        return None
    if single:
        beside = Path(sys.executable).with_name("tensorboard")  # works when its environment is not activated
        command = os.path.relpath(beside) if beside.is_file() else "tensorboard"
        log.info("dashboard: %s --logdir %s", command, os.path.relpath(path))
    return None


def train_command(arguments: Sequence[str]) -> int:
    """`train.py`: returns the exit status (0 finished, 2 bad input, 3 diverged, 143 and 130 after a signal)."""
    sys.path.insert(0, os.getcwd())  # extensions= may name modules that lie beside the user
    try:
        preflight(arguments)
    except GanLabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    overrides, flags, _ = split_arguments(arguments)
    if "-m" in flags or "--multirun" in flags:
        overrides = [*overrides, *job_names(overrides)]
    sys.argv = [sys.argv[0], *flags, *overrides]  # Hydra's parser takes no override between or before its flags
    _job_statuses.clear()
    main = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(_run_job)
    main()
    return max(_job_statuses, default=0)


def guarded(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a command, telling a user's mistake in one sentence instead of a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return command(arguments)
    except GanLabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """`gan-lab COMMAND ...`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "train": train_command,
        "sample": _sample,
        "evaluate": _evaluate,
        "prepare-data": _prepare_data,
    }
    if not words or words[0] in ("-h", "--help"):
        print(f"use: gan-lab {{{','.join(commands)}}} ...\n     gan-lab train --help lists what can be configured")
        return 0 if words else 2
    if words[0] not in commands:
        from gan_lab.config import nearest

        print(f"error: gan-lab has no command '{words[0]}'{nearest(words[0], commands)}", file=sys.stderr)
        return 2
    command = commands[words[0]]
    return command(words[1:]) if command is train_command else guarded(command, words[1:])


def _sample(arguments: Sequence[str]) -> int:
    from gan_lab.training.sampling import sample_command

    return sample_command(arguments)


def _evaluate(arguments: Sequence[str]) -> int:
    from gan_lab.metrics.evaluate import evaluate_command

    return evaluate_command(arguments)


def _prepare_data(arguments: Sequence[str]) -> int:
    from gan_lab.data.prepare import main as prepare

    return prepare(arguments)


__all__ = ["guarded", "main", "preflight", "split_arguments", "sweep_jobs", "train_command"]
