"""The training loop, top to bottom."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab import lint
from gan_lab.builder import Experiment, build
from gan_lab.data import TrainingImages
from gan_lab.errors import DivergedError, InterruptedRun, UserError
from gan_lab.norms import spectral_sigmas
from gan_lab.randomness import mix, own_randomness
from gan_lab.schedules import value
from gan_lab.training.checkpoint import Checkpoints
from gan_lab.training.ema import ema_decay, update_ema
from gan_lab.training.progress import Progress, StopSignal, clock
from gan_lab.training.run_directory import RunDirectory, choose_directory
from gan_lab.training.state import TrainState
from gan_lab.training.step import d_step, g_step, set_hyper

log = logging.getLogger(__name__)

GRID_IMAGES = 64


def train(cfg: DictConfig) -> Path:
    """Train what `cfg` describes, from the start or from where a run in the same directory stopped.

    Returns the run directory. Raises UserError for what does not fit, DivergedError for non-finite numbers, and
    InterruptedRun after a signal, when a checkpoint has been written.
    """
    tree = lint.check(cfg)
    run = RunDirectory(choose_directory(tree), tree)
    if run.finished():
        log.info("%s is already finished; nothing to do", run.path)
        return run.path
    if tree["trainer"]["threads"]:
        torch.set_num_threads(tree["trainer"]["threads"])
    if tree["trainer"]["precision"] == "tf32":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return Trainer(build(cfg), run).run_to_the_end()


class Trainer:
    """One run: an experiment, its changing state, and its directory."""

    def __init__(self, x: Experiment, run: RunDirectory) -> None:
        settings = x.config["trainer"]
        self.x, self.run, self.settings = x, run, settings
        self.seed: int = x.config["seed"]
        self.state = TrainState.start(x)
        self.checkpoints = Checkpoints(run.path / "checkpoints", settings["keep_checkpoints"])
        self.images_per_step: int = settings["batch_size"] * settings["n_dis"]
        self._resume()

    def run_to_the_end(self) -> Path:
        """Train, and write the summary however it ends."""
        x, state, total = self.x, self.state, self.settings["total_steps"]
        self.reals = TrainingImages(x.dataset, x.device, self.seed, self.settings["batch_size"])
        self.run.open(state.step, x.evaluator.protocol if x.evaluator else None)
        self.began = time.perf_counter() - state.wall_seconds
        self.progress = Progress(state.step, total, self.images_per_step)
        log.info("%s: %s", "resuming" if state.step else "training", self._describe())
        status = "failed"
        try:
            with StopSignal().installed() as stop:
                if state.step == 0:
                    self._outputs(0)
                while state.step < total:
                    self._one_step()
                    self._outputs(state.step)
                    if stop.received is not None and state.step < total:
                        self._interrupt(stop.received)
            status = "finished"
        except DivergedError:
            status = "diverged"
            raise
        except InterruptedRun:
            status = "interrupted"
            raise
        finally:
            self.progress.close()
            self.run.close(self._summary(status))
        log.info("finished in %s; results are in %s", clock(self._wall()), self.run.path)
        return self.run.path

    def _one_step(self) -> None:
        x, state, n_dis = self.x, self.state, self.settings["n_dis"]
        torch.manual_seed(mix(self.seed, 0, state.step))
        seen = float(state.step * self.images_per_step)
        lr_scale = value(x.lr_scale, seen)
        set_hyper(x.optimizer_d, x.hyper_d, lr_scale, seen)
        set_hyper(x.optimizer_g, x.hyper_g, lr_scale, seen)
        for i in range(n_dis):
            update = state.step * n_dis + i
            real = self.reals.batch(update)
            self._collect(d_step(x, real, update, seen))
        self._collect(g_step(x, real, state.step, seen))
        state.step += 1
        halflife = value(x.ema_halflife_images, seen)
        rampup = x.config["ema"]["rampup"]
        decay = ema_decay(halflife, self.images_per_step, seen + self.images_per_step, rampup)
        update_ema(state.G_ema, state.G, decay)
        self.progress.advance()

    def _outputs(self, step: int) -> None:
        """Whatever is due after `step` steps: scalars, evaluation, samples, checkpoint, in this order."""
        settings, last = self.settings, step == self.settings["total_steps"]

        def due(every: int) -> bool:
            return last or (every > 0 and step > 0 and step % every == 0)

        if step > 0 and due(settings["log_every_steps"]):
            self._log_scalars(step)
        with self.progress.pause():
            improved = False
            if self.x.evaluator is not None and (step == 0 or due(settings["eval_every_steps"])):
                improved = self._evaluate(step)
            if step == 0 or due(settings["sample_every_steps"]):
                self._sample(step)
            if step > 0 and (improved or due(settings["checkpoint_every_steps"])):
                self._save(best=improved)

    def _collect(self, values: dict[str, Tensor]) -> None:
        """Add up scalars on the device; nothing waits for them until the log interval."""
        sums = self.state.log_sums
        for name, number in values.items():
            total, count = sums.get(name, (torch.zeros_like(number), 0))
            sums[name] = (total + number, count + 1)

    def _log_scalars(self, step: int) -> None:
        means = {name: float(total) / count for name, (total, count) in self.state.log_sums.items()}
        self.state.log_sums = {}
        bad = [name for name, number in means.items() if not math.isfinite(number)]
        if bad:
            raise DivergedError(
                f"training diverged: {', '.join(bad)} became non-finite at or before step {step}; the checkpoints "
                f"in {self.checkpoints.folder} are from before. Lower the learning rate or add a penalty or norm."
            )
        means["images_per_second"] = self.progress.images_per_second()
        means["lr/g"] = float(self.x.optimizer_g.param_groups[0]["lr"])
        means["lr/d"] = float(self.x.optimizer_d.param_groups[0]["lr"])
        for layer, sigma in spectral_sigmas(self.x.D).items():
            means[f"sigma/{layer}"] = float(sigma["sigma"])
        self.run.scalars(step, step * self.images_per_step, means, self._wall())
        self.progress.report(step, means)

    @torch.no_grad()
    def _images(self, G: torch.nn.Module, z: Tensor, **settings: Any) -> Tensor:
        """G's images in evaluation mode, leaving its mode and weights as they were."""
        was_training = G.training
        G.eval()
        try:
            return G(z, **settings).float()  # type: ignore[no-any-return]
        finally:
            G.train(was_training)

    def _evaluate(self, step: int) -> bool:
        """Measure G; returns whether it is the best so far by the evaluator's chosen metric."""
        evaluator, state = self.x.evaluator, self.state
        G = state.G_ema if evaluator.use_ema else state.G
        truncated = {} if evaluator.truncation == 1.0 else {"truncation": evaluator.truncation}

        def sample(n: int) -> Tensor:
            return self._images(G, state.G.sample_z(n, self.x.device), **truncated)  # type: ignore[operator]

        figures = evaluator(sample)
        row = {"step": step, "images_seen": step * self.images_per_step, "wall_seconds": round(self._wall(), 3)}
        self.run.metrics({**row, **figures, "protocol": evaluator.protocol_hash})
        log.info("step %d  %s", step, "  ".join(f"{k} {v:.4g}" for k, v in figures.items()))
        return self._is_best(step, figures)

    def _is_best(self, step: int, figures: dict[str, float]) -> bool:
        evaluator, best = self.x.evaluator, self.state.best
        key = evaluator.best_metric
        if key not in figures or not math.isfinite(figures[key]):
            return False
        number, sign = figures[key], 1.0 if evaluator.best_is_lower else -1.0
        evaluations = int(best.get("evaluations", 0)) + 1
        improved = "value" not in best or sign * number < sign * best["value"]
        if improved:
            self.state.best = {"metric": key, "value": number, "step": step, "evaluations": evaluations}
        else:
            self.state.best = {**best, "evaluations": evaluations}
        return improved

    def _sample(self, step: int) -> None:
        """The grid of fixed z, of the averaged G and, where they differ, of the raw one; once, of the reals."""
        state, x = self.state, self.x
        with own_randomness(mix(self.seed, "grid"), x.device):
            z = state.G.sample_z(GRID_IMAGES, x.device)  # type: ignore[operator]
            self.run.grid(step, self._images(state.G_ema, z))
            if x.config["ema"]["halflife_images"] != 0:
                self.run.grid(step, self._images(state.G, z), "raw")
            if step == 0:
                chosen = torch.arange(min(GRID_IMAGES, x.dataset.num_train))
                self.run.grid(step, x.dataset.images("train", chosen).float() / 127.5 - 1, "real")

    def _save(self, *, best: bool = False) -> None:
        """A checkpoint; refused if a weight is not finite, so that the last good one stays the latest."""
        state = self.state
        for name, p in [*state.G.named_parameters("G"), *state.D.named_parameters("D")]:
            if not bool(torch.isfinite(p).all()):
                raise DivergedError(f"training diverged: the weight {name} is not finite at step {state.step}")
        state.wall_seconds = self._wall()
        x, kept = self.x, ("run_dir", "resume")
        facts = {k: getattr(x.dataset, k) for k in ("name", "resolution", "channels", "num_classes", "sha256")}
        content = {
            "state": state.state_dict(),
            "config": {k: v for k, v in x.config.items() if k not in kept},
            "dataset": facts,
        }
        self.checkpoints.save(content, state.step, best=best)
        self.run.writer.flush()

    def _resume(self) -> None:
        content = self.checkpoints.latest()
        if content is None:
            return
        theirs, ours = content["dataset"], self.x.dataset
        if theirs["sha256"] != ours.sha256 and self.x.config["resume"] != "force":
            raise UserError(
                f"{self.run.path} was trained on other images ({theirs['name']}, sha256 {theirs['sha256'][:12]}) than "
                f"{ours.name}, sha256 {ours.sha256[:12]}; choose another name, or resume=force"
            )
        try:
            self.state.load_state_dict(content["state"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"the checkpoint in {self.checkpoints.folder} does not fit these settings: {str(error).splitlines()[0]}"
            ) from error

    def _interrupt(self, number: int) -> None:
        self._save()
        raise InterruptedRun(
            number, f"stopped by signal {number} at step {self.state.step}; the same command goes on from there"
        )

    def _wall(self) -> float:
        return time.perf_counter() - self.began

    def _describe(self) -> str:
        x, s = self.x, self.settings
        millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (x.G, x.D)]
        return (
            f"{x.dataset.name} {x.dataset.resolution}px ({x.dataset.num_train} images), G {millions[0]:.2f}M and "
            f"D {millions[1]:.2f}M parameters, steps {self.state.step} to {s['total_steps']}, batch {s['batch_size']}, "
            f"on {x.device}, into {self.run.path}"
        )

    def _summary(self, status: str) -> dict[str, Any]:
        rows = self.run.metric_rows()
        return {
            "status": status,
            "step": self.state.step,
            "images_seen": self.state.step * self.images_per_step,
            "wall_seconds": round(self._wall(), 3),
            "images_per_second": round(self.progress.images_per_second(), 1),
            "final": rows[-1] if rows else None,
            "best": self.state.best or None,
            "protocol": self.x.evaluator.protocol_hash if self.x.evaluator else None,
        }
