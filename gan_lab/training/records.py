"""What a run leaves behind while it trains: scalars, evaluations, sample grids, checkpoints, events."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.builder import Experiment
from gan_lab.data import to_float
from gan_lab.diagnostics.collapse import Event
from gan_lab.diagnostics.measure import Diagnostics
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import CollapsedError, DivergedError, StorageError
from gan_lab.experiment import TrainState
from gan_lab.norms import effective_weights, spectral_sigmas
from gan_lab.runs import tensorboard
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.training.progress import Progress

log = logging.getLogger(__name__)

GRID_IMAGES = 64


class Records:
    """Writes what is due after each step. Every rank computes and decides alike; rank 0 writes."""

    def __init__(self, x: Experiment, state: TrainState, run: RunDirectory, checkpoints: Checkpoints) -> None:
        self.x, self.state, self.run, self.checkpoints = x, state, run, checkpoints
        self.settings = x.config["trainer"]
        self.seed: int = x.config["seed"]
        self.writes = collectives.rank() == 0
        self.images_per_step: int = self.settings["batch_size"] * self.settings["n_dis"]
        self.opened = False
        self.monitor = _monitor(x)

    def begin(self, progress: Progress, wall: Callable[[], float]) -> None:
        """Open the run directory for what follows the present step."""
        self.progress, self.wall = progress, wall
        if self.writes:
            fresh = self.state.step == 0 and self.state.substep == 0
            self.run.open(self.state.step, self.x.evaluator.protocol if self.x.evaluator else None, fresh=fresh)
            self.opened = True
            if fresh:
                figures = [f.name for f in self.x.evaluator.figures] if self.x.evaluator else []
                tensorboard.describe_run(self.run.writer, self.x.config, figures, list(effective_weights(self.x.D)))

    def after(self, step: int, real: Tensor | None) -> None:
        """Whatever is due after `step` steps: scalars, evaluation, samples, checkpoint, in this order.

        `real` is the step's batch. Raises DivergedError, or CollapsedError under `stop_on_collapse`.
        """
        settings, last = self.settings, step == self.settings["total_steps"]

        def due(every: int) -> bool:
            return last or (every > 0 and step > 0 and step % every == 0)

        stop = None
        if real is not None and due(settings["log_every_steps"]):
            stop = self._scalars(step, real)
        with self.progress.pause():
            improved = False
            if self.x.evaluator is not None and (step == 0 or stop or due(settings["eval_every_steps"])):
                improved, worse = self._evaluate(step)
                stop = stop or worse
            if step == 0 or stop or due(settings["sample_every_steps"]):
                self._sample(step)
            if step > 0 and (improved or stop or due(settings["checkpoint_every_steps"])):
                self.save(best=improved, must=last)
        if stop is not None:
            raise CollapsedError(
                f"training collapsed at step {step}: {stop.message}; the best checkpoint is kept in "
                f"{self.checkpoints.folder}"
            )

    def collect(self, values: dict[str, Tensor]) -> None:
        """Add up one update's scalars on the device; nothing waits for them until the log interval.

        Numbers that are not finite belong to an update that was skipped, and are left out.
        """
        state = self.state
        side = "d" if "skipped/d" in values else "g"
        skipped = values[f"skipped/{side}"]
        state.skipped["total"] = state.skipped["total"] + skipped
        state.skipped[side] = (state.skipped[side] + skipped) * skipped
        shown = {k: v for k, v in values.items() if not k.startswith("skipped/")}
        numbers = torch.stack([v.detach().double() for v in shown.values()])
        finite = torch.isfinite(numbers)
        row = torch.stack([torch.where(finite, numbers, 0.0), finite.double()])  # sums, counts
        names = ",".join(shown)
        state.log_sums[names] = state.log_sums[names] + row if names in state.log_sums else row
        if self.x.device.type == "cpu" and skipped:
            self._judge_skips(values)

    def _judge_skips(self, values: dict[str, Tensor]) -> None:
        """Stop where skipping does not help: a weight is not finite, or it has lasted too long."""
        state, limit = self.state, self.settings["max_skipped_updates"]
        in_a_row = max(int(state.skipped[side]) for side in ("d", "g"))
        self._check_weights()
        terms = [k for k, v in values.items() if not k.startswith(("skipped/", "grad_norm/")) and not torch.isfinite(v)]
        where = f"{', '.join(terms) or 'a gradient'} became non-finite at step {state.step + 1}"
        layer = self._first_bad_gradient()
        where += f", first in the gradient of {layer}" if layer else ""
        if in_a_row > limit:
            raise DivergedError(
                f"training diverged: {where}, in {in_a_row} updates in a row; the weights are from before. Lower the "
                "learning rate, add a penalty or norm, or raise trainer.max_skipped_updates."
            )
        if in_a_row == 1:
            log.warning("skipped an update: %s", where)

    def _first_bad_gradient(self) -> str | None:
        nets = (("D", self.x.D), ("G", self.x.G))
        named = [(f"{net}.{name}", p.grad) for net, module in nets for name, p in module.named_parameters()]
        return next((name for name, grad in named if grad is not None and not torch.isfinite(grad).all()), None)

    def _check_weights(self) -> None:
        for name, p in [*self.state.G.named_parameters("G"), *self.state.D.named_parameters("D")]:
            if not bool(torch.isfinite(p).all()):
                raise DivergedError(
                    f"training diverged: the weight {name} is non-finite at or before step {self.state.step + 1}; the "
                    f"checkpoints in {self.checkpoints.folder} are from before"
                )

    def _means(self) -> dict[str, float]:
        sums: dict[str, Tensor] = {}
        for names, row in self.state.log_sums.items():
            for name, column in zip(names.split(","), row.cpu().T, strict=True):
                sums[name] = sums[name] + column if name in sums else column
        self.state.log_sums = {}
        return {name: float(total / count) if count else math.nan for name, (total, count) in sums.items()}

    def _scalars(self, step: int, real: Tensor) -> Event | None:
        """One row of train.jsonl; returns the event that stops the run, if there is one."""
        means = self._means()
        if self.x.device.type != "cpu" and int(self.state.skipped["d"] + self.state.skipped["g"]):
            self._judge_skips({k: torch.tensor(v) for k, v in means.items()})
        means["skipped_updates"] = float(self.state.skipped["total"])
        means["images_per_second"] = self.progress.images_per_second()
        means["lr/g"] = float(self.x.optimizer_g.param_groups[0]["lr"])
        means["lr/d"] = float(self.x.optimizer_d.param_groups[0]["lr"])
        for layer, sigma in spectral_sigmas(self.x.D).items():
            means[f"sigma/{layer}"] = float(sigma["sigma"])
        if self.monitor is not None and self.monitor.due(step):
            with self.progress.pause():
                means |= collectives.from_first(self.monitor.measure(step, real))
        if self.writes:
            self.run.scalars(step, step * self.images_per_step, means, self.wall())
            self.progress.report(step, means)
        return self._report(self.state.detector.observe(step, means))

    def _report(self, events: list[Event]) -> Event | None:
        """Tell about events wherever people look; returns the one that stops the run, if there is one."""
        for event in events:
            self.state.events.append(event.as_dict())
            self.state.pending_events.append(event.as_dict())
            if self.writes:
                log.warning("%s at step %d: %s", event.severity, event.step, event.message)
                self.run.writer.add_text("events", f"**{event.kind}** ({event.severity}): {event.message}", event.step)
        if not self.x.config["stop_on_collapse"]:
            return None
        return next((e for e in events if e.severity == "collapse"), None)

    @torch.no_grad()
    def _images(self, G: torch.nn.Module, z: Tensor, **settings: Any) -> Tensor:
        """G's images in evaluation mode, leaving its mode and weights as they were."""
        was_training = G.training
        G.eval()
        try:
            return G(z, **settings).float()  # type: ignore[no-any-return]
        finally:
            G.train(was_training)

    def _evaluate(self, step: int) -> tuple[bool, Event | None]:
        """Measure G; returns whether it is the best so far, and the event that stops the run, if there is one."""
        evaluator, state = self.x.evaluator, self.state
        G = state.G_ema if evaluator.use_ema else state.G
        truncated = {} if evaluator.truncation == 1.0 else {"truncation": evaluator.truncation}

        def sample(n: int) -> Tensor:
            return self._images(G, state.G.sample_z(n, self.x.device), **truncated)  # type: ignore[operator]

        figures = collectives.from_first(evaluator(sample, distributed=collectives.active()))
        stop, key = None, evaluator.best.name
        if step > 0 and key in figures:
            lower = not evaluator.best.higher_is_better
            stop = self._report(state.detector.observe_evaluation(step, figures[key], lower, key))
        row: dict[str, Any] = {"step": step, "images_seen": step * self.images_per_step}
        row |= {"wall_seconds": round(self.wall(), 3), **figures, "protocol": evaluator.protocol_hash}
        if state.pending_events:
            row["events"], state.pending_events = state.pending_events, []
        if self.writes:
            self.run.metrics(row)
            log.info("step %d  %s", step, "  ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        return self._is_best(step, figures), stop

    def _is_best(self, step: int, figures: dict[str, float]) -> bool:
        evaluator, best = self.x.evaluator, self.state.best
        key = evaluator.best.name
        if key not in figures or not math.isfinite(figures[key]):
            return False
        number, evaluations = figures[key], int(best.get("evaluations", 0)) + 1
        improved = "value" not in best or evaluator.best.improves(number, best["value"])
        if improved:
            self.state.best = {"metric": key, "value": number, "step": step, "evaluations": evaluations}
        else:
            self.state.best = {**best, "evaluations": evaluations}
        return improved

    def _sample(self, step: int) -> None:
        """The grid of fixed z, of the averaged G and, where they differ, of the raw one; once, of the reals."""
        if not self.writes:
            return
        state, x = self.state, self.x
        with own_randomness(mix(self.seed, "grid"), x.device):
            z = state.G.sample_z(GRID_IMAGES, x.device)  # type: ignore[operator]
            self.run.grid(step, self._images(state.G_ema, z))
            raw = self._images(state.G, z)
        if x.config["ema"]["halflife_images"] != 0:
            self.run.grid(step, raw, "raw")
        chosen = torch.arange(min(GRID_IMAGES, x.dataset.num_train))
        reals = to_float(x.dataset.images("train", chosen))
        if step == 0:
            self.run.grid(step, reals, "real")
        tensorboard.logit_histograms(self.run.writer, step, x.D, real=reals.to(x.device), fake=raw)

    def save(self, *, best: bool = False, must: bool = False) -> None:
        """A checkpoint; refused if a weight is not finite, so that the last good one stays the latest.

        Where it cannot be written, training goes on and the next interval tries again, unless it `must`.
        """
        self._check_weights()
        if not self.writes:
            return
        state, x, kept = self.state, self.x, ("run_dir", "resume")
        state.wall_seconds = self.wall()
        facts = {k: getattr(x.dataset, k) for k in ("name", "resolution", "channels", "num_classes", "sha256")}
        content = {
            "state": state.state_dict(),
            "config": {k: v for k, v in x.config.items() if k not in kept},
            "dataset": facts,
        }
        try:
            if self.opened:
                self.run.sync()
            content["unwritten"] = self.run.unwritten()
            self.checkpoints.save(content, state.step, best=best)
        except StorageError as error:
            if must:
                raise StorageError(f"{error} The same command goes on from the last checkpoint.") from error
            log.warning("%s Training goes on; the next checkpoint is tried at the next interval.", error)

    def summary(self, status: str) -> dict[str, Any]:
        """What summary.json holds."""
        rows = self.run.metric_rows()
        return {
            "status": status,
            "step": self.state.step,
            "images_seen": self.state.step * self.images_per_step,
            "wall_seconds": round(self.wall(), 3),
            "images_per_second": round(self.progress.images_per_second(), 1),
            "final": rows[-1] if rows else None,
            "best": self.state.best or None,
            "protocol": self.x.evaluator.protocol_hash if self.x.evaluator else None,
            "events": self.state.events,
            "skipped_updates": int(self.state.skipped["total"]),
        }


def _monitor(x: Experiment) -> Diagnostics | None:
    """The diagnostics, due at log intervals only."""
    settings, log_every = x.config["monitor"], x.config["trainer"]["log_every_steps"]
    if settings["level"] == "off":
        return None
    every = math.ceil(settings["every_steps"] / log_every) * log_every
    return Diagnostics(x, settings["level"], every, x.config["seed"])
