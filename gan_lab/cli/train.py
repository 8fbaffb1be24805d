"""`python train.py ...` and `gan-lab train ...`: one run, or a sweep.

Hydra runs the program. Before that, every job of the command is composed and checked here, so that a mistake ends in
one sentence and exit status 2 before anything starts.
"""

import difflib
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gan_lab import __version__
from gan_lab.cli.finished import closing_lines, from_here
from gan_lab.cli.hydra_main import hydra_main
from gan_lab.cli.main import HELP, guarded
from gan_lab.cli.train_help import show_help
from gan_lab.cli.warn import forget_shown, show_warnings_once
from gan_lab.config.compose import compose
from gan_lab.config.earlier import primary_config, with_config_word
from gan_lab.config.messages import did_you_mean
from gan_lab.config.paths import make_absolute
from gan_lab.config.words import as_typed
from gan_lab.distributed.launcher import ALONE, place
from gan_lab.errors import GanLabError, UserError
from gan_lab.files import expand_path
from gan_lab.sweep import jobs as sweeps
from gan_lab.sweep import signals

log = logging.getLogger("gan_lab")
_typed: list[str] = []  # the present command as it was given

_VALUE_FLAGS = ("--config-dir", "-cd", "--package", "-p", "--config-name", "-cn", "--config-path", "-cp",
                "--cfg", "-c")  # fmt: skip
_SHOW_ONLY = ("--hydra-help", "--shell-completion", "-sc", "--info", "-i")
_FLAGS = (*_VALUE_FLAGS, *_SHOW_ONLY, "--help", "-h", "--version", "--resolve", "--run", "-r", "--multirun", "-m")


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str], str | None]:
    """Split into overrides, flags with their values, and the value of --config-dir, as Hydra's parser does.

    Raises UserError for a flag that there is not.
    """
    overrides: list[str] = []
    flags: list[str] = []
    extra_dir = None
    words = iter(arguments)
    for word in words:
        flag, separator, value = word.partition("=")
        if not word.startswith("-"):
            overrides.append(word)
        elif flag not in _FLAGS:
            raise _unknown_flag(word)
        elif flag in _VALUE_FLAGS:
            if not separator:
                value = next(words, "")
            if flag in ("--config-dir", "-cd"):
                extra_dir = value = expand_path(value)
            flags += [f"{flag}={value}"] if separator else [flag, value]
        else:
            flags.append(word)
    if any(flag in ("--shell-completion", "-sc") for flag in flags) and not any(map(_COMPLETION.fullmatch, overrides)):
        raise UserError('--shell-completion needs a shell: eval "$(python train.py --shell-completion install=bash)", '
                        "or install=zsh, install=fish, and uninstall= to undo it")  # fmt: skip
    return overrides, flags, extra_dir


_COMPLETION = re.compile(r"(install|uninstall|query)=(bash|zsh|fish)")


def _unknown_flag(word: str) -> UserError:
    flag, separator, _ = word.partition("=")
    close = difflib.get_close_matches(flag, [f for f in _FLAGS if f.startswith("--")], n=1, cutoff=0.75)
    if separator and not close:
        return UserError(f"{word}: settings have no dashes; write {shlex.quote(word.lstrip('-'))}")
    hint = did_you_mean(close) or "; settings are written key=value, as in seed=3, and --help lists them"
    return UserError(f"{word}: there is no such option{hint}")


def preflight(arguments: Sequence[str]) -> list[str]:
    """Compose and check every job; only compose if the configuration is just shown. UserError for the first mistake.

    Returns the overrides for Hydra.
    """
    _composed.cache_clear()  # files may have changed since the last command of this process
    overrides, flags, extra_dir = split_arguments(arguments)
    if any(flag in _SHOW_ONLY for flag in flags):
        return overrides
    overrides = as_typed(overrides, sweep=_is_sweep(flags))
    shown_only = _shows_only(flags)
    if _is_sweep(flags) and any(re.match(r"(run|config)=", word) for word in overrides):
        raise UserError("run= and config= are for a single run: leave out -m, or name the settings to vary")
    if not _is_sweep(flags):
        if any(word.startswith("sweep=") for word in overrides) and not shown_only:
            raise UserError("sweep= varies settings over many runs: add -m")
        _check_job(overrides, extra_dir, shown_only, single=True)
        return overrides
    if shown_only:
        raise UserError("--cfg shows the configuration of one run: leave out -m")
    planned = sweeps.plan(overrides, extra_dir)
    checked = set()
    for job in planned.jobs:
        alike = tuple(word for word in job if not re.fullmatch(r"seed=\d+", word))
        if alike not in checked:
            checked.add(alike)
            cfg = _check_job(job, extra_dir, shown_only=False)
            if planned.search and cfg.metrics is None:
                raise UserError("a search needs a figure to go by, but metrics=none")
            inside = [o for o in overrides if o in ("hydra/launcher=joblib", "hydra/launcher=several")]
            if cfg.trainer.devices > 1 and inside:
                raise UserError(f"{inside[0]} cannot run jobs of several processes; set trainer.devices=1, "
                                "or use hydra/launcher=submitit_local")  # fmt: skip
    return planned.words


def _is_sweep(flags: Sequence[str]) -> bool:
    return "-m" in flags or "--multirun" in flags


def _shows_only(flags: Sequence[str]) -> bool:
    return any(flag.split("=")[0] in ("--cfg", "-c", *_SHOW_ONLY) for flag in flags)


@lru_cache(maxsize=1)
def _composed(words: tuple[str, ...], extra_dir: str | None) -> DictConfig:
    return compose(*words, config_path=extra_dir)


def _check_job(words: Sequence[str], extra_dir: str | None, shown_only: bool, single: bool = False) -> DictConfig:
    cfg = _composed(tuple(words), extra_dir)
    if not shown_only:
        from gan_lab.builder import check_fit  # imports torch: only where a run follows
        from gan_lab.config.check import check

        check_fit(check(cfg), here=single)
    return cfg


def _check_folder(overrides: Sequence[str], flags: Sequence[str], extra_dir: str | None) -> list[Path]:
    """Check that a single run can write to its directory. Hydra writes first, and would end in a traceback.

    Returns the folders that were made, the innermost first.
    """
    if flags:  # a sweep, or something to show
        return []
    from gan_lab.runs.files import check_takes_files, directory_error
    from gan_lab.runs.lock import refuse_links

    folder = _folder(_composed(tuple(overrides), extra_dir))
    try:
        made = [path.absolute() for path in (folder, *folder.parents) if not path.exists()]
    except OSError as error:  # a name that is too long
        raise directory_error(folder, error) from error
    refuse_links(folder)  # before Hydra appends to train.log
    check_takes_files(folder)
    return made


def _folder(cfg: DictConfig) -> Path:
    """Return the run's folder, or the one that its folder of today's date will be in."""
    return Path(cfg.run_dir) if cfg.run_dir else Path("runs") / (cfg.name or "")


def _first_command_kept(overrides: Sequence[str], extra_dir: str | None) -> list[str]:
    """Return the word with which Hydra leaves .hydra/ as it is, if the folder holds a run whose settings stay.

    Hydra writes before gan_lab can refuse the command, whose words would then name the run in reports.
    """
    cfg = _composed(tuple(overrides), extra_dir)
    folder = _folder(cfg)
    return ["hydra.output_subdir=null"] if cfg.resume != "force" and (folder / "config.yaml").is_file() else []


def _run_job(cfg: DictConfig) -> float | None:
    """Run one Hydra job. A single run exits with its status; a sweep continues however the job ends."""
    sweep = Path(str(HydraConfig.get().sweep.dir))
    show_warnings_once(lambda text: signals.is_new(sweep, text))
    sys.argv = list(_typed) or sys.argv  # what environment.json records
    logging.raiseExceptions = False  # on a full disk, lose lines of train.log without a traceback for each
    OmegaConf.set_struct(cfg, False)
    make_absolute(cfg, HydraConfig.get().runtime.cwd)  # with hydra.job.chdir=true this is another directory
    cfg.run_dir = HydraConfig.get().runtime.output_dir
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return sweeps.run_job(cfg)
    from gan_lab.runs.lock import remove_unbegun

    try:
        from gan_lab.training.train import train

        path = train(cfg)
    except GanLabError as error:
        log.error("%s", error)
        remove_unbegun(Path(cfg.run_dir))
        sys.exit(error.exit_status)
    except BaseException:
        remove_unbegun(Path(cfg.run_dir))
        raise
    elsewhere = HydraConfig.get().job.chdir
    for line in closing_lines(path if elsewhere else from_here(path), sys.argv):
        log.info("%s", line)
    return None


def train_command(arguments: Sequence[str]) -> int:
    """Run `train.py`. Returns the exit status; docs/reference/exit_status.md lists them."""
    if any(word in HELP for word in arguments):
        return guarded(lambda: show_help(arguments))
    if "--version" in arguments:
        print(f"gan_lab {__version__}")
        return 0
    try:
        return _train_command(arguments)
    except KeyboardInterrupt:  # before or after training, which has handlers of its own
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130


def _train_command(arguments: Sequence[str]) -> int:
    if any(re.match(r"\+*extensions=|--config-|-c[dpn]\b", word) for word in arguments):
        sys.path.append(os.getcwd())  # where they may lie; else nothing in the working directory is imported
    forget_shown()
    show_warnings_once()
    here, made, typed = ALONE, [], arguments
    try:
        here = place()
        arguments = with_config_word(arguments)
        overrides = preflight(arguments)
        _, flags, extra_dir = split_arguments(arguments)
        if here.rank == 0:
            made = _check_folder(overrides, flags, extra_dir)
        if _is_sweep(flags) and here.world > 1:
            raise UserError(
                "torchrun starts the processes of one run; for a sweep leave it out and set trainer.devices"
            )
    except GanLabError as error:
        if here.rank == 0:
            print(f"error: {sweeps.plugin_hint(error)}", file=sys.stderr)
        return error.exit_status
    if here.rank > 0:
        return _leave(guarded(lambda: _other_rank(overrides, extra_dir)))
    kept = [] if _is_sweep(flags) or _shows_only(flags) else _first_command_kept(overrides, extra_dir)
    primary, overrides = ("config", overrides) if _is_sweep(flags) else primary_config(overrides)
    if not any(word.startswith("hydra.output_subdir=") for word in overrides):
        overrides = [*overrides, *kept]
    _typed[:] = [sys.argv[0], *typed]
    sys.argv = [sys.argv[0], *flags, *overrides]  # Hydra's parser needs the flags first
    main = hydra_main(_run_job, primary)
    if _is_sweep(flags):
        planned = sweeps.plan(overrides, extra_dir)
        return sweeps.run_sweep(main, None if planned.search else len(planned.jobs))
    try:
        main()
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something
                folder.rmdir()
    return _leave(0)


def _leave(status: int) -> int:
    """Return the status, or under torchrun exit with it at once, after flushing all output.

    torch 2.15 with gloo aborted 3 of about 200 ranks while the interpreter shut down ("terminate called without an
    active exception"), which torchrun reports as a failed run.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _other_rank(overrides: Sequence[str], extra_dir: str | None) -> int:
    """Run a rank above 0 of torchrun. Only rank 0 runs Hydra, chooses the directory and writes."""
    logging.getLogger().setLevel(logging.WARNING)
    from gan_lab.training.train import train

    train(compose(*overrides, config_path=extra_dir))
    return 0
