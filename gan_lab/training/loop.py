"""The training loop, top to bottom."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from gan_lab.builder import Experiment, build
from gan_lab.config import check as lint
from gan_lab.data import TrainingImages
from gan_lab.distributed import collectives
from gan_lab.distributed import launch as processes
from gan_lab.distributed.precision import use_tf32
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import CollapsedError, DivergedError, InterruptedRun, LostRankError, UserError
from gan_lab.experiment import TrainState
from gan_lab.nets.stylegan2.layers import MinibatchStd
from gan_lab.runs import tensorboard
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory, choose_directory
from gan_lab.schedules import value
from gan_lab.training import memory
from gan_lab.training.accelerate import Updates
from gan_lab.training.ema import ema_decay, update_ema
from gan_lab.training.progress import Progress, StopSignal, clock
from gan_lab.training.records import Records
from gan_lab.training.step import set_hyper

log = logging.getLogger(__name__)

_ENDS = (DivergedError, CollapsedError, InterruptedRun)
_STATUS = dict(zip(_ENDS, ("diverged", "collapsed", "interrupted"), strict=True))


def train(cfg: DictConfig) -> Path:
    """Train what `cfg` describes, from the start or from where a run in the same directory stopped.

    In one process, in `trainer.devices` of them that are started here, or as one rank of torchrun. Returns the run
    directory. Raises UserError for what does not fit, DivergedError for non-finite numbers, CollapsedError under
    `stop_on_collapse`, and InterruptedRun after a signal, when a checkpoint has been written.
    """
    tree = lint.check(cfg)
    with processes.joined(cfg, tree):
        return _train(cfg, tree)


def _train(cfg: DictConfig, tree: dict[str, Any]) -> Path:
    run: RunDirectory | None = None

    def take() -> tuple[Path, bool]:
        nonlocal run
        run = RunDirectory(choose_directory(tree), tree)
        run.lock()
        return run.path, run.finished()

    try:
        path, finished = collectives.decided_by_first(take)
        if finished:
            log.info("%s is already finished; nothing to do", path)
            return path
        use_tf32(tree["trainer"]["precision"] == "tf32")
        choose_kernels(tree["trainer"]["deterministic"])
        with processes.first_before_others():  # it may have to make the data
            x = build(cfg)
        if x.device.type == "cpu":
            memory.keep_freed_memory()
        return Trainer(x, run or RunDirectory(path, tree)).run_to_the_end()
    finally:
        if run is not None:
            run.unlock()


def choose_kernels(deterministic: bool) -> None:
    """Let cuDNN try its kernels for each shape and keep the fastest, or take only kernels that are deterministic.

    Those of a CPU are deterministic anyway.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


class Trainer:
    """One run: an experiment, its changing state, and its directory."""

    def __init__(self, x: Experiment, run: RunDirectory) -> None:
        self.x, self.run, self.settings = x, run, x.config["trainer"]
        self.seed: int = x.config["seed"]
        self.state = TrainState.start(x)
        self.checkpoints = Checkpoints(
            run.path / "checkpoints", self.settings["keep_checkpoints"], self.settings["keep_every_steps"]
        )
        self._resume()
        _warn_of_split_groups(x)
        nets = (self.state.G, self.state.D, self.state.G_ema)
        collectives.broadcast_(t for net in nets for t in (*net.parameters(), *net.buffers()))
        self.everyone = collectives.introduce()
        self.updates = Updates(x, self.settings["accelerate"])
        self.records = Records(x, self.state, run, self.checkpoints)

    def run_to_the_end(self) -> Path:
        """Train, and write the summary however it ends."""
        state, total, records = self.state, self.settings["total_steps"], self.records
        batch = self.settings["batch_size"]
        where = {"rank": collectives.rank(), "ranks": collectives.size()}
        self.reals = TrainingImages(self.x.dataset, self.x.device, self.seed, batch, **where)
        progress = Progress(state.step, total, records.images_per_step, quiet=not records.writes)
        began = time.perf_counter() - state.wall_seconds
        records.begin(progress, lambda: time.perf_counter() - began)
        log.info("%s: %s", "resuming" if state.step else "training", self._describe())
        status = "failed"
        try:
            with StopSignal().installed() as stop:
                if state.step == 0 and state.substep == 0:
                    records.after(0, None)
                while state.step < total:
                    real = self._one_step()
                    progress.advance()
                    records.after(state.step, real)
                    self._heed(collectives.highest(stop.received or 0))
            status = "finished"
        except LostRankError:
            self._rescue()
            raise
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not memory.ran_out(error):
                raise
            memory.release(error)
            self.updates.drop_graphs()
            self._rescue()
            raise memory.explained(self.x, self.reals.batch(0)) from error
        except _ENDS as error:
            status = _STATUS[type(error)]
            raise
        finally:
            progress.close()
            if records.opened:
                tensorboard.end_run(self.run.writer, status)
                self.run.close(records.summary(status))
        log.info("finished in %s; results are in %s", clock(records.wall()), self.run.path)
        return self.run.path

    def _one_step(self) -> torch.Tensor:
        """`n_dis` updates of D and one of G; returns the last batch of reals.

        `state.substep` counts the updates done, so that a step that breaks off is taken up where it stood.
        """
        x, state, n_dis, records = self.x, self.state, self.settings["n_dis"], self.records
        seen = float(state.step * records.images_per_step)
        lr_scale = value(x.lr_scale, seen)
        set_hyper(x.optimizer_d, x.hyper_d, lr_scale, seen)
        set_hyper(x.optimizer_g, x.hyper_g, lr_scale, seen)
        if records.monitor is not None and state.substep == 0:
            records.monitor.before_step(state.step)
        for update in range(state.substep, n_dis + 1):
            index = state.step * n_dis + min(update, n_dis - 1)  # G sees the reals that D saw last
            real = self.reals.batch(index)
            set_clock = getattr(x.augment, "set_clock", None)
            if set_clock is not None:
                set_clock((state.step * n_dis + update) * self.settings["batch_size"])
            with step_randomness(self.seed, state.step, update, x.device):
                if update < n_dis:
                    records.collect(self.updates.d(real, index, seen))
                else:
                    records.collect(self.updates.g(real, state.step, seen))
            state.substep = update + 1
        state.step, state.substep = state.step + 1, 0
        halflife = value(x.ema_halflife_images, seen)
        images = records.images_per_step
        decay = ema_decay(halflife, images, seen + images, x.config["ema"]["rampup"])
        update_ema(state.G_ema, state.G, decay)
        if records.monitor is not None:
            records.monitor.after_step(state.step)
        return real

    def _resume(self) -> None:
        """Take over the newest checkpoint, which rank 0 reads for all."""
        content = collectives.decided_by_first(self._checkpoint)
        if content is None:
            return
        self.run.restore(content.get("unwritten", {}))
        try:
            self.state.load_state_dict(content["state"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoint in {self.checkpoints.folder} does not fit these settings: {str(error).splitlines()[0]}"
            ) from error

    def _checkpoint(self) -> dict[str, Any] | None:
        content = self.checkpoints.latest()
        if content is None:
            return None
        theirs, ours = content["dataset"], self.x.dataset
        if theirs["sha256"] != ours.sha256 and self.x.config["resume"] != "force":
            raise UserError(
                f"{self.run.path} was trained on other images ({theirs['name']}, sha256 {theirs['sha256'][:12]}) than "
                f"{ours.name}, sha256 {ours.sha256[:12]}; choose another name, or resume=force"
            )
        return content

    def _heed(self, number: int) -> None:
        """Checkpoint and stop if any rank was asked to by a signal."""
        if number == 0 or self.state.step == self.settings["total_steps"]:
            return
        self.records.save(must=True)
        raise InterruptedRun(
            number, f"stopped by signal {number} at step {self.state.step}; the same command goes on from there"
        )

    def _rescue(self) -> None:
        """A checkpoint after a rank was lost or memory ran out: the update that broke off has left no trace.

        On a GPU a lost rank may leave kernels that never end, so there the last checkpoint has to do.
        """
        nothing_new = self.state.step == 0 and self.state.substep == 0
        if nothing_new or (collectives.active() and self.x.device.type != "cpu"):
            return
        self.records.writes = collectives.is_heir(self.everyone)
        try:
            if self.records.writes:
                self.run.lock()
            self.records.save()
        except Exception as error:  # the first error is the one to tell
            log.warning("no checkpoint could be written after it: %s", error)

    def _describe(self) -> str:
        x, s = self.x, self.settings
        millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (x.G, x.D)]
        together = f", {collectives.size()} processes" if collectives.active() else ""
        return (
            f"{x.dataset.name} {x.dataset.resolution}px ({x.dataset.num_train} images), G {millions[0]:.2f}M and "
            f"D {millions[1]:.2f}M parameters, steps {self.state.step} to {s['total_steps']}, batch {s['batch_size']}, "
            f"on {x.device}{together}, into {self.run.path}"
        )


def _warn_of_split_groups(x: Experiment) -> None:
    """Several processes train what one would, but for a minibatch-std group that does not fall to one rank whole."""
    batch, world = x.config["trainer"]["batch_size"], collectives.size()
    groups = [m.group for m in x.D.modules() if isinstance(m, MinibatchStd)]
    if collectives.active() and any(batch % (group * world) for group in groups):
        log.warning(
            "minibatch_std_group=%d does not divide a rank's share of %d samples: with %d processes its statistic is "
            "another than with one", groups[0], batch // world, world,
        )  # fmt: skip
