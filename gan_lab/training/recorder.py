"""What a run leaves behind while it trains: scalars, evaluations, sample grids, checkpoints and events."""

import logging
import time
from typing import Any

import torch
from torch import Tensor

from gan_lab.data.moved import description
from gan_lab.diagnostics.collapse import Event
from gan_lab.diagnostics.event_list import add_event
from gan_lab.diagnostics.extra import measure_extra
from gan_lab.diagnostics.measure import Diagnostics
from gan_lab.distributed import collectives
from gan_lab.errors import StorageError
from gan_lab.experiment import Experiment
from gan_lab.norms import spectral_sigmas
from gan_lab.runs import progress_gif, tensorboard
from gan_lab.runs.best import best_of_rows, is_comparable, update_best
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.training.divergence import check_skipped, check_weights, count_skipped
from gan_lab.training.evaluation import Check, evaluate, grids
from gan_lab.training.log_sums import add_scalars, means
from gan_lab.training.progress import Progress

log = logging.getLogger(__name__)


class Recorder:
    """Records a run from the present step on. Every process computes and decides alike; process 0 writes."""

    def __init__(self, exp: Experiment, run: RunDirectory, checkpoints: Checkpoints) -> None:
        self.exp, self.run, self.checkpoints = exp, run, checkpoints
        self.writes, self.opened = collectives.rank() == 0, False
        self.began = time.perf_counter() - exp.wall_seconds
        self.diagnostics = Diagnostics.of(exp)
        self.skipped = float(exp.skipped["total"])  # updates, up to the last row
        steps = (exp.step, exp.config.trainer.total_steps, exp.config.images_per_step)
        self.progress = Progress(*steps, quiet=not self.writes)

    def open(self) -> None:
        """Open the run directory for what follows the present step."""
        if not self.writes:
            return
        exp = self.exp
        fresh = exp.step == 0 and exp.substep == 0
        extra = [entry for own in exp.extra_diagnostics.values() for entry in own.diagnostics]
        self.run.open(exp.step, exp.evaluator.protocol if exp.evaluator else None, extra, fresh=fresh)
        self.opened = True
        if exp.best.get("step") not in {None, *self.checkpoints.steps()}:  # its file was removed
            exp.best = self._choose_again() if exp.evaluator else {}
            self.checkpoints.mark_best(exp.best.get("step"))
        if fresh and self.run.writer is not None:
            figures = [f.name for f in exp.evaluator.figures] if exp.evaluator else []
            tensorboard.describe_run(self.run.writer, exp.config.tree(), figures)

    def wall(self) -> float:
        """Seconds that the run has taken so far, over all its processes' lives."""
        return time.perf_counter() - self.began

    def add(self, values: dict[str, Tensor]) -> None:
        """Add up one update's scalars until the next row."""
        side = count_skipped(self.exp, values)
        add_scalars(self.exp.log_sums, {k: v for k, v in values.items() if not k.startswith("skipped/")})
        if self.exp.device.type == "cpu" and values[f"skipped/{side}"]:
            check_skipped(self.exp, values, self.checkpoints.folder)

    def log(self, real: Tensor, y: Tensor | None) -> Event | None:
        """Write a row of train.jsonl; real, y: the step's batch. Returns the event that stops the run, if any."""
        exp, row = self.exp, means(self.exp.log_sums)
        if exp.device.type != "cpu" and int(exp.skipped["d"] + exp.skipped["g"]):
            check_skipped(exp, {k: torch.tensor(v) for k, v in row.items()}, self.checkpoints.folder)
        row["skipped_updates"] = float(exp.skipped["total"])
        new = row["skipped_updates"] - self.skipped
        if new and exp.device.type != "cpu":  # a CPU tells of each as it happens
            log.warning("skipped %d of the updates up to step %d: a gradient was not finite", new, exp.step)
        self.skipped += new
        row["images_per_second"] = self.progress.end_interval() or 0.0
        row["lr/g"] = float(exp.optimizer_g.param_groups[0]["lr"])
        row["lr/d"] = float(exp.optimizer_d.param_groups[0]["lr"])
        row |= {f"sigma/{layer}": float(sigma["sigma"]) for layer, sigma in spectral_sigmas(exp.D).items()}
        own: dict[str, float] = {}  # apart, as what a user measures must not count as a collapse
        if self.diagnostics is not None and self.diagnostics.due(exp.step):
            with self.progress.pause():
                row |= collectives.from_first(self.diagnostics.measure(exp.step, real, y))
                own = collectives.from_first(measure_extra(exp, real, y))
        if self.writes:
            self.run.scalars(exp.step, exp.images_seen, row | own, self.wall())
            self.progress.report(exp.step, row)
        exp.log_sums = {}  # not before: what broke off above has written no row
        return self._report(exp.detector.observe(exp.step, row))

    def _report(self, events: list[Event]) -> Event | None:
        """Tell about events wherever people look; returns the one that stops the run, if any."""
        for event in events:
            add_event(self.exp.events, event)
            add_event(self.exp.pending_events, event)
            if self.writes:
                log.warning("%s at step %d: %s", event.severity, event.step, event.message)
                if self.run.writer is not None:
                    self.run.writer.add_text("events", event.markdown(), event.step)
        if not self.exp.config.stop_on_collapse:
            return None
        return next((e for e in events if e.severity == "collapse"), None)

    def evaluate(self, check: Check | None = None) -> tuple[bool, Event | None]:
        """Measure G and write the row; returns whether it is the best so far, and the event that stops the run."""
        exp, evaluator = self.exp, self.exp.evaluator
        assert evaluator is not None
        figures = evaluate(exp, check)
        chosen = evaluator.best_figure
        identity = self._identity()
        value, lower = figures[chosen.name], not chosen.higher_is_better
        stop = self._report(exp.detector.observe_evaluation(exp.step, value, lower, chosen.name, identity))
        exp.best, improved = update_best(self._best_there_is(), chosen, value, exp.step, identity)
        row: dict[str, Any] = {"step": exp.step, "images_seen": exp.images_seen}
        row |= {"wall_seconds": round(self.wall(), 3), **figures, "protocol": evaluator.protocol_hash}
        if exp.pending_events:
            row["events"], exp.pending_events = exp.pending_events, []
        if self.writes:
            self.run.metrics(row)
            log.info("step %d  %s", exp.step, "  ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        return improved, stop

    def _identity(self) -> str:
        """Return what values of the best figure depend on: protocol and dataset."""
        assert self.exp.evaluator is not None
        return f"{self.exp.evaluator.protocol_hash} {self.exp.dataset.sha256}"

    def _best_there_is(self) -> dict[str, Any]:
        """Return the best that the next evaluation is compared with: of the same identity, with a checkpoint."""
        exp = self.exp
        assert exp.evaluator is not None
        same = is_comparable(exp.best, exp.evaluator.best_figure, self._identity())

        def choose() -> dict[str, Any]:
            if not self.opened or (same and exp.best["step"] in self.checkpoints.steps()):
                return exp.best
            best = self._choose_again()
            self.checkpoints.mark_best(best.get("step"))
            return best

        return collectives.from_first(choose() if self.writes else {})

    def _choose_again(self) -> dict[str, Any]:
        assert self.exp.evaluator is not None
        figure, steps = self.exp.evaluator.best_figure, self.checkpoints.steps()
        return best_of_rows(self.run.metric_rows(), figure, self._identity(), steps)

    def grid(self) -> None:
        """Write the grid of fixed z, of the averaged G and, where they differ, of the raw one; once, of the reals."""
        if not self.writes:
            return
        exp, drawn = self.exp, grids(self.exp)
        self.run.grid(exp.step, drawn["samples"][0])
        if exp.config.ema.halflife_images != 0:
            self.run.grid(exp.step, drawn["raw"][0], "raw")
        if exp.step == 0:
            self.run.grid(exp.step, drawn["real"][0], "real")
        if self.run.writer is not None:
            batches = {"real": drawn["real"], "fake": drawn["raw"]}
            tensorboard.logit_histograms(self.run.writer, exp.step, exp.D, batches)

    def save(self, *, best: bool = False, must: bool = False) -> None:
        """Write a checkpoint; refused if a weight is not finite, so that the last good one stays the latest.

        Where it cannot be written, training goes on and the next interval tries again, unless it `must`.
        """
        exp = self.exp
        check_weights(exp, self.checkpoints.folder)
        if not self.writes:
            return
        exp.wall_seconds = self.wall()
        data = description(exp.dataset, bool(exp.G.num_classes or exp.D.num_classes))
        config = {k: v for k, v in exp.config.tree().items() if k not in ("run_dir", "resume")}
        content = {"state": exp.state_dict(), "config": config, "dataset": data}
        try:
            if self.opened:
                self.run.sync()
            content["unwritten"] = self.run.unwritten()
            self.checkpoints.save(content, exp.step, best=best)
        except StorageError as error:
            if must:
                rest = " The same command goes on from the last checkpoint." if self.checkpoints.steps() else ""
                raise StorageError(f"{error}{rest}") from error
            log.warning("%s Training goes on; the next checkpoint is tried at the next interval.", error)

    def close(self, status: str) -> None:
        """End the records of this process: TensorBoard's status, and summary.json."""
        self.progress.close()
        if not self.opened:
            return
        exp, rows = self.exp, self.run.metric_rows()
        trained = [row for row in rows if row["step"] > 0 or exp.step == 0]  # step 0 measures no training
        best = exp.best if exp.best.get("step") in self.checkpoints.steps() else {}
        may_hang = status == "failed" and collectives.active() and exp.device.type != "cpu"  # kernels of a lost one
        speed = self.progress.images_per_second(self.run.train_rows())
        summary = {
            "status": status,
            "step": exp.step,
            "images_seen": exp.images_seen,
            "wall_seconds": round(self.wall(), 3),
            "images_per_second": None if speed is None else round(speed, 1),
            "final": trained[-1] if trained else None,
            "best": best or None,
            "protocol": exp.evaluator.protocol_hash if exp.evaluator else None,
            "events": exp.events,
            "skipped_updates": None if may_hang else int(exp.skipped["total"]),
        }
        if self.run.writer is not None:
            tensorboard.end_run(self.run.writer, status)
        if status == "finished" and exp.config.trainer.progress_gif:
            progress_gif.write_if_possible(self.run.path)
        self.run.close(summary)
