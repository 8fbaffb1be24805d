"""Sweeps: plan the jobs of a command, run one job, and summarize all of them at the end.

Hydra's sweeper chooses the jobs. Its launcher starts them, in this process or in others (joblib, submitit). Each job
writes its outcome to `job.json` in its folder, wherever it ran. Nothing here imports torch before a job starts.
"""

import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gan_lab.config.compose import GROUPS, compose, parse_overrides, sweeper_settings
from gan_lab.errors import GanLabError, InterruptedRun, UserError, useful_line
from gan_lab.files import read_json_object, reason, write_json
from gan_lab.metrics.protocol import higher_is_better
from gan_lab.sweep import signals

log = logging.getLogger("gan_lab")

_PLUGINS = {"joblib": "joblib-launcher", "submitit": "submitit-launcher", "optuna": "optuna-sweeper 'optuna<3'"}
_RESULTS = {"finished": 0, "diverged": 3, "collapsed": 4}
"""The statuses of a run that count as its result, with their exit statuses. A run with another status is resumed."""


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep before it starts."""

    jobs: list[list[str]]  # overrides of each job; of a search, only jobs at the ends of its ranges
    words: list[str]  # overrides to give to Hydra
    search: bool  # whether the sweeper chooses jobs by the results of earlier ones


def sweep_jobs(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Yield the overrides of every job: the product of all comma-separated values and ranges."""
    return (list(job) for job in itertools.product(*(_choices(o) for o in parse_overrides(overrides))))


def _choices(override: Override) -> list[str]:
    """Return `key=value` for each value of an override, or for the two ends of an interval."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    return [f"{key}={word}" for word in override.sweep_string_iterator()]


def plan(overrides: Sequence[str], extra_dir: str | None = None) -> Plan:
    """Plan the jobs of `-m` with these overrides and those of the preset; the command line's win. Raises UserError."""
    parsed = parse_overrides(overrides)
    if any(o.key_or_group == "sweep" and o.is_sweep_override() for o in parsed):
        raise UserError("sweep= takes one preset; run one command for each")
    presets = [word for word in overrides if word.startswith("sweep=")]
    if presets:
        compose(*presets, config_path=extra_dir)  # raises UserError for an unknown preset
    settings = sweeper_settings(*overrides, config_path=extra_dir)
    keys = [o.get_key_element() for o in parsed]
    for override, key in zip(parsed, keys, strict=True):
        if override.is_sweep_override() and keys.count(key) > 1:  # Hydra would run fewer jobs than are planned
            raise UserError(f"{key} is given twice, and varied: give it once")
    params: dict[str, Any] = settings.get("params") or {}
    all_words = [*(f"{key}={value}" for key, value in params.items() if key not in keys), *overrides]
    search = not str(settings["_target_"]).endswith(".BasicSweeper")
    varied = [o for o in parse_overrides(all_words) if o.is_sweep_override()]
    jobs = list(sweep_jobs(all_words))
    twice = next((job for i, job in enumerate(jobs) if job in jobs[:i]), None)
    if twice and not search:
        raise UserError(f"the sweep has one job twice ({' '.join(twice)}): give each value once")
    if search:
        jobs = [jobs[0], jobs[-1]] if len(jobs) > 1 else jobs
    words = [*_defer_settings(parsed, varied), *_exclude_from_folder_names(parsed, {*params, "seed"})]
    return Plan(jobs, words, search)


def _defer_settings(parsed: Sequence[Override], varied: Sequence[Override]) -> list[str]:
    """Rewrite settings of a swept group so that Hydra applies them only when it composes a job.

    Hydra first composes without the swept overrides: with `norm=sn,bsn norm.scale=1.2` the norm is then none, which has
    no scale. Written as a choice of one value, the setting is swept too.
    """
    groups = {o.key_or_group for o in varied if o.key_or_group in GROUPS}
    if groups & {"recipe", "dataset"}:  # these choose the options of other groups
        groups |= set(GROUPS)
    out = []
    for override in parsed:
        group, _, setting = override.key_or_group.partition(".")
        deferred = setting and group in groups and not (override.is_sweep_override() or override.is_delete())
        key, _, value = str(override.input_line).partition("=")
        out.append(f"{key}=choice({value})" if deferred else str(override.input_line))
    return out


def _exclude_from_folder_names(parsed: Sequence[Override], kept: set[str]) -> list[str]:
    """Return an override that leaves settings common to all jobs out of the jobs' folder names.

    Keys in `kept` stay: they may be swept later in the same folder, and the existing jobs must keep their names.
    """
    setting = "hydra.job.config.override_dirname.exclude_keys"
    if any(str(o.input_line).startswith(setting) for o in parsed):
        return []
    common = [o.key_or_group for o in parsed if not o.is_sweep_override() and o.key_or_group not in kept]
    return [f"{setting}=[{','.join(common)}]"]


def plugin_hint(error: GanLabError) -> GanLabError:
    """Return the error, or one that says how to install the plugin if a plugin is missing."""
    for group, option in re.findall(r"hydra/(launcher|sweeper)/(\w+)'", str(error)):
        if plugin := _PLUGINS.get(option.partition("_")[0]):
            return UserError(f"hydra/{group}={option} needs a plugin: pip install hydra-{plugin}")
    return error


class SweepFolder(Callback):
    """A Hydra callback, named in conf/config.yaml, that records the folder of the sweep."""

    path: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        SweepFolder.path = Path(str(config.hydra.sweep.dir))
        signals.clear(SweepFolder.path)


@dataclass
class Outcome:
    """The outcome of one job."""

    status: str  # of the run, or refused (bad settings), failed, interrupted
    exit_status: int
    message: str = ""
    earlier: bool = False  # the run was complete before this sweep
    number: int = 0
    sweep: str = ""
    metric: str | None = None
    value: float | None = None
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        figure = f"{self.metric} {self.value:.4g}" if self.value is not None else ""
        return "  ".join(filter(None, (self.status + " earlier" * self.earlier, figure, self.message)))


def run_job(cfg: DictConfig) -> float:
    """Run one job and write its outcome to its log and job.json. Errors do not end the sweep.

    Returns the objective that a search minimizes: the final value of the metric that chooses the best checkpoint,
    negated if higher is better, or infinity if the run did not finish. A signal ends the sweep in the sweep's own
    process, and requeues the job in a process of submitit.
    """
    hydra_cfg, folder = HydraConfig.get(), Path(cfg.run_dir)
    stopped_by: int | None = None
    number, sweep = int(hydra_cfg.job.num), signals.sweep_identity()
    try:
        _check_own_folder(folder, number, sweep)
        with signals.stoppable_job(Path(str(hydra_cfg.sweep.dir))):
            outcome = _train(cfg)
    except InterruptedRun as error:
        stopped_by = error.exit_status - 128
        log.warning("%s", error)
        outcome = Outcome("interrupted", error.exit_status, str(error))
    except GanLabError as error:
        log.error("%s", error)
        status = {3: "diverged", 4: "collapsed", 2: "refused"}.get(error.exit_status, "failed")
        outcome = Outcome(status, error.exit_status, str(error))
    except Exception as error:
        log.exception("this job failed; the sweep continues")
        outcome = Outcome("failed", 1, f"{type(error).__name__}: {useful_line(error)}")
    outcome.number, outcome.sweep = number, sweep
    objective = _add_objective(outcome, folder)
    try:
        write_json(_outcome_file(outcome, folder), {k: v for k, v in vars(outcome).items() if k != "name"})
    except OSError as error:  # a full disk, or a folder that has gone; the sweep goes on
        log.error("cannot write the outcome of this job to %s (%s)", folder, reason(error))
    if stopped_by is not None:
        signals.end_or_requeue(stopped_by)
    return objective


def _is_anothers(job: Mapping[str, Any], number: int, sweep: str) -> bool:
    """Whether job.json is of another job of the same sweep."""
    return bool(job) and job.get("sweep") == sweep and job.get("number") != number


def _check_own_folder(folder: Path, number: int, sweep: str) -> None:
    """Raise UserError if the folder is that of another job, which `hydra.sweep.subdir` and `exclude_keys` can cause."""
    if _is_anothers(job := read_json_object(folder / "job.json"), number, sweep):
        raise UserError(f"{folder} is the folder of job {job.get('number')} of this sweep: give each job its own, by "
                        "hydra.sweep.subdir or hydra.job.config.override_dirname.exclude_keys")  # fmt: skip


def _outcome_file(outcome: Outcome, folder: Path) -> Path:
    """Return where to write an outcome: job.json, or a file beside it if that is of another job.

    A job that was refused because of the run that it found is another than the one that made the run.
    """
    job = read_json_object(folder / "job.json")
    refused = outcome.status == "refused" and job.get("status", "refused") != "refused"
    anothers = refused or _is_anothers(job, outcome.number, outcome.sweep)
    return folder / (f"job-{outcome.number}.json" if anothers else "job.json")


def _train(cfg: DictConfig) -> Outcome:
    """Train, or resume what was interrupted or failed. Does nothing if the folder holds a result of these settings."""
    from gan_lab.config.check import check
    from gan_lab.runs.directory import RunDirectory, choose_directory
    from gan_lab.training.train import train

    config = check(cfg)
    run = RunDirectory(choose_directory(config), config)
    finished = run.finished()  # raises UserError if the settings have changed
    status = run.summary().get("status")
    if status in _RESULTS and config.resume != "force" and finished == (status == "finished"):
        log.info("%s: already %s; nothing to do", run.path, status)
        return Outcome(status, _RESULTS[status], earlier=True)
    train(config)
    return Outcome("finished", 0)


def _add_objective(outcome: Outcome, folder: Path) -> float:
    """Put the run's metric into the outcome. Returns the objective that a search minimizes."""
    summary = read_json_object(folder / "summary.json")
    best, final = summary.get("best") or {}, summary.get("final") or {}
    number = final.get(best.get("metric"))
    if outcome.status not in _RESULTS or not isinstance(number, (int, float)):
        return math.inf
    outcome.metric, outcome.value = best["metric"], float(number)
    if outcome.status != "finished" or not math.isfinite(number):
        return math.inf
    higher = higher_is_better(read_json_object(folder / "protocol.json"), outcome.metric)
    return -outcome.value if higher else outcome.value


def run_sweep(main: Callable[[], Any], jobs: int | None = None) -> int:
    """Run `main`, Hydra's sweep of so many jobs (None: unknown); log the outcome of every job and write the report.

    Returns the exit status: the highest of the jobs', or 128 + n after signal n.
    """
    identity = signals.export_identity()
    SweepFolder.path = None
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a dependency of Optuna that logs on import
    status = 0
    try:
        with signals.forwarded_to_jobs(lambda: SweepFolder.path) as stop:
            main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    folder = SweepFolder.path
    if folder is None:
        return status
    signals.clear(folder)
    outcomes = _read_outcomes(folder, identity)
    counts = Counter(o.status for o in outcomes)
    if jobs is not None and jobs > len(outcomes):
        counts["not started"] = jobs - len(outcomes)
    log.info("sweep of %d jobs in %s: %s", counts.total(), folder, ", ".join(f"{n} {s}" for s, n in counts.items()))
    width = max((len(o.name) for o in outcomes), default=0)
    for outcome in outcomes:
        log.info("  %s  %s", outcome.name.ljust(width), outcome)
    status = max([status, *(o.exit_status for o in outcomes)])
    if stop.received is not None or status > 128:
        log.info("the same command with the same folder (name= or hydra.sweep.dir=) resumes from here")
        return status if stop.received is None else 128 + stop.received
    if outcomes:
        _report(folder)
    return status


def _read_outcomes(folder: Path, identity: str) -> list[Outcome]:
    """Read the outcomes of this sweep's jobs, in order. Files of other sweeps in the folder are left out."""
    found = []
    for file in sorted(folder.rglob("job*.json")):
        content = read_json_object(file)
        if content.get("sweep") == identity:
            found.append(Outcome(**content, name=str(file.parent.relative_to(folder))))
    return sorted(found, key=lambda o: o.number)


def _report(folder: Path) -> None:
    """Write the sweep's report. If that fails, only warn."""
    from gan_lab.reporting import write_report

    try:
        written = write_report([folder])
    except GanLabError as error:
        log.warning("no report: %s", error)
    except Exception as error:
        log.debug("the report failed", exc_info=True)
        log.warning("no report: %s: %s", type(error).__name__, useful_line(error))
    else:
        log.info("report: %s", written)
