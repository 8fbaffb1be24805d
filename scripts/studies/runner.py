"""Run a study: train what is missing, measure it, and keep its small files. Every run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from filelock import Timeout

from gan_lab.errors import InterruptedRun, UserError, handling, signal_name
from gan_lab.files import read_json_object, write_atomically, write_json
from gan_lab.locks import acquire_lock
from gan_lab.runs.files import read_rows
from scripts.studies.study import REPOSITORY, Study

ENDED = ("finished", "collapsed", "diverged")
_STOPPED = 143
_ENVIRONMENT = ("gan_lab", "git_commit", "python", "versions", "device", "cuda", "threads")  # no paths, no command


def run_study(
    study: Study,
    out: Path,
    results: Path,
    data_dir: Path | None = None,
    weights: Path | None = None,
    minutes: float | None = None,
) -> bool:
    """Train and measure the runs of a study in its order. Returns whether all are done.

    A run whose small files are in `results` already, and say that it is done, is not run again on another machine. One
    that another process has begun in the same `out` is left to it, so several processes share the runs.

    Args:
        out: the folder of the run directories.
        results: the folder that gets each run's small files, in a folder of its own.
        data_dir: where packed datasets live; None: gan_lab's default.
        weights: of Inception; None: gan_lab's default.
        minutes: stop after so long, with a checkpoint; None: never.
    """
    deadline = time.monotonic() + 60 * minutes if minutes else None
    environment = os.environ | ({"GAN_LAB_INCEPTION": str(weights.resolve())} if weights else {})
    environment |= {"GAN_LAB_DATA": str(data_dir.resolve())} if data_dir else {}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))}
    out.mkdir(parents=True, exist_ok=True)
    elsewhere = []
    for cell, seed in study.runs():
        directory = out.resolve() / f"{cell}-{seed}"
        kept = results / directory.name
        if _complete(study, kept) and not directory.is_dir():  # another machine has run it
            continue
        try:
            file = directory.with_name(f"{directory.name}.lock")
            lock = acquire_lock(file, wait=False, consequence="a second process would begin the same run")
        except Timeout:
            elsewhere.append(directory)
            print(f"{directory.name} is left to the process that has begun it")
            continue
        try:
            ended = _run(study, cell, seed, directory, kept, environment, deadline)
        finally:
            lock.release()
        if not ended:
            print(f"{directory.name} goes on at the next call")
            return False
    return all(_complete(study, directory) for directory in elsewhere)


def _run(
    study: Study,
    cell: str,
    seed: int,
    directory: Path,
    kept: Path,
    environment: dict[str, str],
    deadline: float | None,
) -> bool:
    """Train and measure one run, and keep its small files. Returns whether it came to its end."""
    if status_of(directory) not in ENDED:
        own = _classifier(study, directory.parent, kept.parent, environment, deadline)
        words = [*study.words(cell, seed), *own, f"hydra.run.dir={directory}"]
        _call(["train", *words], environment, deadline, directory.with_name(f"{directory.name}.log"))
    ended = status_of(directory) in ENDED
    for checkpoint in _unmeasured(study, directory) if ended else ():
        verb, *measuring = study.evaluations
        _call([verb, f"run={directory}", f"checkpoint={checkpoint}", *measuring], environment, None)
    if _reached(directory) < (further := _reached(kept)):
        print(f"{kept} stays as it is: it is of a run that reached step {further:,}")
    elif (directory / "config.yaml").is_file():
        keep_small_files(directory, kept, study.kept_row)
    return ended


def _classifier(
    study: Study, out: Path, results: Path, environment: dict[str, str], deadline: float | None
) -> list[str]:
    """Return the setting that names the study's own classifier, if it has one, which is trained where it is missing.

    Runs that stand beside those of another study are measured by its classifier, else their figures would not compare.
    """
    if not study.classifier:
        return []
    other = study.beside[0].name if study.beside else None
    weights = (out.with_name(other) if other else out) / "classifier.safetensors"
    if weights.is_file():
        return [f"metrics.weights={weights}"]
    if other and begun(results.with_name(other)):
        raise UserError(
            f"{weights} is missing, by which the runs of {other} were measured; put it there, as figures "
            f"by another classifier would not compare, or run the study {other} anew in another results="
        )
    print(f"{weights.name} is needed, and trained by one process")
    weights.parent.mkdir(parents=True, exist_ok=True)
    lock = acquire_lock(weights.with_suffix(".lock"), wait=True, consequence="each process would train a classifier")
    try:
        if not weights.is_file():
            log = weights.with_suffix(".log")
            _call(["train-classifier", *study.classifier, f"out={weights}"], environment, deadline, log)
    finally:
        lock.release()
    return [f"metrics.weights={weights}"]


def _call(words: Sequence[str], environment: dict[str, str], deadline: float | None, log: Path | None = None) -> None:
    """Run a verb of gan-lab. At the deadline it is stopped by SIGTERM, at which training saves a checkpoint."""
    print("gan-lab", *words, flush=True)
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    process: subprocess.Popen[bytes] | None = None
    early: list[InterruptedRun] = []

    def stop(number: int, frame: FrameType | None) -> None:
        error = InterruptedRun(number, f"stopped by {signal_name(number)}; the same command goes on")
        if process is not None:
            raise error
        early.append(error)  # not inside Popen, whose process nobody would then stop

    # A batch system that stops the study stops its run, too.
    with handling([signal.SIGTERM], stop), open(log or os.devnull, "ab") as output:
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "gan_lab", *words], env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            for error in early:
                raise error
            status = process.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            _stop(process)
            return
        except BaseException:
            _stop(process)
            raise
    if status not in (0, 3, 4, _STOPPED):  # 3 and 4: diverged and collapsed, which are results
        where = f"; see {log}" if log else ""
        raise UserError(f"gan-lab {words[0]} ended with exit status {status}{where}: gan-lab {' '.join(words)}")


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.send_signal(signal.SIGTERM)
        process.wait()


def begun(kept: Path) -> bool:
    """Whether a run of a study has got so far that something was kept of it, and a page can be written."""
    return any(kept.glob("*/config.yaml"))


def status_of(directory: Path) -> str | None:
    """Return the status that a run's summary states; None if there is none."""
    return read_json_object(directory / "summary.json").get("status")


def _complete(study: Study, folder: Path) -> bool:
    """Whether a run has ended and been measured, by its directory or by the small files that were kept of it.

    Small files need the figure at the end only, and none of a run that failed, which enters no mean: their checkpoints
    are gone, and to measure the best one the whole run would be trained again. The page says how many lack it.
    """
    status = status_of(folder)
    if status not in ENDED or not study.evaluations:
        return status in ENDED
    if _checkpoints(folder):
        return not _unmeasured(study, folder)
    return status != "finished" or end_and_best(folder)[0] in measured_again(folder)


def _unmeasured(study: Study, directory: Path) -> list[str]:
    """Return which of a run's checkpoints, "latest" and "best", are still to be measured. One that is both: once."""
    done = {row["checkpoint"] for row in read_rows(directory / "metrics.jsonl") if "checkpoint" in row}
    found = _checkpoints(directory)
    files = {found[name]: name for name in ("best", "latest") if name in found}
    return [files[file] for file in reversed(files) if study.evaluations and file not in done]


def _checkpoints(directory: Path) -> dict[str, str]:
    """Return the files of a run's checkpoints, by "latest" and "best"; without an index those that its summary says."""
    folder = directory / "checkpoints"
    if index := read_json_object(folder / "index.json"):
        return {name: file for name in ("latest", "best") if isinstance(file := index.get(name), str)}
    steps = zip(("latest", "best"), end_and_best(directory), strict=True)
    files = {name: f"step-{step:08d}.pt" for name, step in steps if step is not None}
    return {name: file for name, file in files.items() if (folder / file).is_file()}


def end_and_best(folder: Path) -> tuple[int | None, int | None]:
    """Return the steps at which a run ended and was best, by its summary; None where it states none."""
    summary = read_json_object(folder / "summary.json")
    return summary.get("step"), (summary.get("best") or {}).get("step")


def _reached(folder: Path) -> int:
    """Return the last step of the rows that a run, or what was kept of it, has; -1 if it has none."""
    rows = (row for name in ("train", "metrics") for row in read_rows(folder / f"{name}.jsonl"))
    return max((int(row["step"]) for row in rows if "step" in row), default=-1)


def measured_again(folder: Path) -> dict[int, dict[str, float]]:
    """Return step of the checkpoint -> the figures that were measured of it after a run's training."""
    figures, found = ("fid", "is_mean", "reconstruction_error"), dict[int, dict[str, float]]()
    for row in read_rows(folder / "metrics.jsonl"):
        if "checkpoint" in row and "step" in row:
            own = {key: value for key, value in row.items() if key.startswith(figures) and value is not None}
            found.setdefault(row["step"], {}).update(own)
    return found


def keep_small_files(run: Path, to: Path, every: int) -> None:
    """Copy what a page needs: settings, protocols, figures, summary, versions, and every so many rows of train.jsonl.

    Paths are cut to their last part, as they say where something lay on one machine.
    """
    to.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    write_atomically(to / "config.yaml", yaml.safe_dump(_without_paths(config), sort_keys=False).encode())
    for path in sorted([*run.glob("protocol*.json"), run / "summary.json"]):
        if path.is_file():
            write_json(to / path.name, _without_paths(json.loads(path.read_text("utf-8"))))
    if (run / "environment.json").is_file():
        environment = read_json_object(run / "environment.json")
        write_json(to / "environment.json", {key: environment.get(key) for key in _ENVIRONMENT})
    _keep_rows(run / "metrics.jsonl", to, 1)
    _keep_rows(run / "train.jsonl", to, every)


def _keep_rows(path: Path, to: Path, every: int) -> None:
    if path.is_file():
        rows = read_rows(path)
        kept = [_without_paths(row) for i, row in enumerate(rows, 1) if i % every == 0 or i == len(rows)]
        write_atomically(to / path.name, "".join(json.dumps(row) + "\n" for row in kept).encode())


def _without_paths(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_paths(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_paths(value) for value in content]
    return Path(content).name if isinstance(content, str) and content.startswith(("/", "~")) else content
