"""Trackers: where a run's numbers and pictures go besides its own files. A failing tracker ends no run.

`tracker=[tensorboard,wandb]` chooses several. Their packages are imported when a run begins to write.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gan_lab.config.instantiate import Maker
from gan_lab.config.schema import Config
from gan_lab.config.tree import flatten
from gan_lab.errors import UserError, escaped, useful_line
from gan_lab.files import read_json_object, write_json
from gan_lab.runs.event_file import EventFile
from gan_lab.runs.tensorboard import Charts, add_image, grid_tag

__all__ = ["MLflow", "TensorBoard", "Tracker", "Trackers", "WandB"]

log = logging.getLogger(__name__)

IDENTITIES = "trackers.json"  # in the run directory: the names under which other programs know the run


class Tracker:
    """Base of trackers. One of your own overrides what it needs; only process 0 of a run calls it."""

    def open(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Begin, or go on after a resume. run: the run directory. step: the first to come; 0 is a start."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a row of train.jsonl."""

    def metrics(self, step: int, figures: Mapping[str, float]) -> None:
        """Take the figures of an evaluation. By default they are scalars `metrics/...`."""
        self.scalars(step, {f"metrics/{name}": number for name, number in figures.items()})

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Take a picture (uint8, h w 3): a grid of samples, raw, or real images."""

    def flush(self) -> None:
        """Write what is pending."""

    def close(self, status: str) -> None:
        """End. status: finished, collapsed, diverged, interrupted or failed."""


class TensorBoard(Tracker):
    """The event file in the run directory, also with histograms, texts and hyperparameters (`gan-lab dashboard`)."""

    writer: EventFile

    def open(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        self.writer = EventFile(run, step)
        self.averaged = config["ema"]["halflife_images"] != 0
        self.charts = Charts(self.writer, [])  # the run directory replaces it by one that knows what is written there

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.charts.scalars(values, step)

    def metrics(self, step: int, figures: Mapping[str, float]) -> None:
        self.charts.evaluation(figures, step)

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        add_image(self.writer, step, grid_tag(name, self.averaged), picture)

    def flush(self) -> None:
        self.writer.flush()

    def close(self, status: str) -> None:
        self.writer.close()


class WandB(Tracker):
    """Weights & Biases (`pip install wandb`). WANDB_MODE=offline writes into the run directory only."""

    def __init__(self, project: str = "gan_lab", entity: str | None = None, mode: str | None = None) -> None:
        self.project, self.entity, self.mode = project, entity, mode

    def open(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        wandb = _imported("wandb", "wandb", "wandb")
        self._image = wandb.Image
        name = _identity(run, "wandb", step) or _remember(run, "wandb", secrets.token_hex(8))
        self._run = wandb.init(
            project=self.project, entity=self.entity, mode=self.mode, dir=str(run), id=name, name=run.name,
            config=dict(config), resume="allow", settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        self._run.log({name: self._image(picture)}, step=step)

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=int(status != "finished"))


class MLflow(Tracker):
    """MLflow (`pip install mlflow-skinny`): of `uri`, else of MLFLOW_TRACKING_URI, else MLflow's own default."""

    def __init__(self, experiment: str = "gan_lab", uri: str | None = None) -> None:
        self.experiment, self.uri = experiment, uri

    def open(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        client = _imported("mlflow.tracking", "mlflow", "mlflow-skinny").MlflowClient(self.uri)
        if self.uri is not None:  # which may stand in a configuration that someone else wrote
            log.info("MLflow: settings and numbers go to %s", escaped(self.uri))
        entities = import_module("mlflow.entities")
        self._client, self._metric, name = client, entities.Metric, _identity(run, "mlflow", step)
        if name is None:
            found = client.get_experiment_by_name(self.experiment)
            experiment = found.experiment_id if found else client.create_experiment(self.experiment)
            name = _remember(run, "mlflow", client.create_run(experiment, run_name=run.name).info.run_id)
            settings = [entities.Param(key, str(value)[:500]) for key, value in flatten(dict(config)).items()]
            for start in range(0, len(settings), 100):  # the most that MLflow takes at once
                client.log_batch(name, params=settings[start : start + 100])
        else:
            client.update_run(name, status="RUNNING")
        self._name = name

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        rows = [self._metric(key, float(value), now, step) for key, value in values.items()]
        for start in range(0, len(rows), 1000):
            self._client.log_batch(self._name, metrics=rows[start : start + 1000])

    def image(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        self._client.log_image(self._name, picture, f"{name}-{step:08d}.png")

    def close(self, status: str) -> None:
        self._client.set_tag(self._name, "status", status)
        ends = {"finished": "FINISHED", "interrupted": "KILLED"}
        self._client.set_terminated(self._name, ends.get(status, "FAILED"))


class Trackers:
    """Calls every tracker. If one fails while training, this is logged once, and training goes on."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self.trackers, self._failed = dict(trackers), set[str]()

    @classmethod
    def of(cls, config: Config) -> Self:
        """Make the trackers of a configuration. UserError for one that is no `Tracker`."""
        make = Maker.of(config)
        made = {name: make(f"tracker.{name}", node) for name, node in config.tracker.items()}
        for name, tracker in made.items():
            if not isinstance(tracker, Tracker):
                raise UserError(f"tracker.{name}: {type(tracker).__name__} must be a subclass of "
                                "gan_lab.runs.trackers.Tracker")  # fmt: skip
        return cls(made)

    @property
    def tensorboard(self) -> TensorBoard | None:
        """TensorBoard, if it is among the trackers: it is also sent texts and histograms."""
        return next((t for t in self.trackers.values() if isinstance(t, TensorBoard)), None)

    def open(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Open all. UserError for one that cannot be opened; those before it are closed again."""
        chosen, self.trackers = self.trackers, {}
        for name, tracker in chosen.items():
            try:
                tracker.open(run, config, step)
            except Exception as error:  # the clients of services raise many types
                self.call("close", "failed")
                if isinstance(error, (UserError, OSError)):
                    raise
                raise UserError(f"tracker={name}: {useful_line(error)}; leave it out, or set it up first") from error
            self.trackers[name] = tracker

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method of all."""
        for name, tracker in self.trackers.items():
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                if name not in self._failed:
                    self._failed.add(name)
                    log.warning("tracker=%s fails (%s); training goes on", name, useful_line(error))


def _imported(module: str, tracker: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(f"tracker={tracker} needs a package: pip install {package}") from error


def _identity(run: Path, service: str, step: int) -> str | None:
    """Return the name under which a service knows the run; None for a run that starts."""
    return read_json_object(run / IDENTITIES).get(service) if step > 0 else None


def _remember(run: Path, service: str, name: str) -> str:
    write_json(run / IDENTITIES, {**read_json_object(run / IDENTITIES), service: name})
    return name
