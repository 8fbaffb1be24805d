"""The training loop, top to bottom."""

import logging
from functools import partial

from torch import Tensor

from gan_lab.data import TrainingImages
from gan_lab.diagnostics.collapse import Event
from gan_lab.distributed import collectives
from gan_lab.errors import CollapsedError
from gan_lab.experiment import Experiment
from gan_lab.progress import duration
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.training.accelerate import Updates
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from gan_lab.training.ends import break_off_if_requested, ending, stop_if_requested
from gan_lab.training.evaluation import Check
from gan_lab.training.out_of_memory import check_fits
from gan_lab.training.progress import StopSignal
from gan_lab.training.recorder import Recorder
from gan_lab.training.resume import describe, resume

log = logging.getLogger(__name__)

Reals = tuple[Tensor, Tensor | None]  # b c h w, in [-1, 1]; their classes, b


def run_experiment(exp: Experiment, run: RunDirectory) -> None:
    """Train from the newest checkpoint to the end, and write summary.json however training ends."""
    settings = exp.config.trainer
    check_fits(exp)
    checkpoints = Checkpoints(run.path / "checkpoints", settings.keep_checkpoints, settings.keep_every_steps)
    resume(exp, run, checkpoints)
    clock, updates = Clock(exp), Updates(exp, settings.accelerate)
    ranks = {"rank": collectives.rank(), "ranks": collectives.size()}
    reals = TrainingImages(exp.dataset, exp.device, exp.config.seed, settings.batch_size, **ranks)
    recorder = Recorder(exp, run, checkpoints)
    recorder.open()
    log.info("%s", describe(exp, run))
    with StopSignal().installed() as signals, ending(exp, recorder, updates, reals):
        check = partial(break_off_if_requested, recorder, signals)  # called while an evaluation goes on
        if exp.step == exp.substep == 0:
            with recorder.progress.pause():
                if exp.evaluator is not None:
                    log.info("evaluating the untrained generator")
                    recorder.evaluate(check)
                recorder.grid()
        elif exp.substep == 0 and lacks_evaluation(exp, run):
            measure_step(exp, recorder, check)
        while exp.step < settings.total_steps:
            images, y = train_step(exp, clock, updates, reals, recorder)
            stop = recorder.log(images, y) if due(exp, settings.log_every_steps) else None
            measure_step(exp, recorder, check, stop)
            stop_if_requested(recorder, signals)
    log.info("finished in %s; results are in %s", duration(recorder.wall()), run.path)


def train_step(exp: Experiment, clock: Clock, updates: Updates, reals: TrainingImages, recorder: Recorder) -> Reals:
    """`n_dis` updates of D and one of G, then G's average; returns the last batch of reals and their classes.

    `exp.substep` counts the updates done, so that an interrupted step resumes at its next update.
    """
    n_dis, diagnostics = exp.config.trainer.n_dis, recorder.diagnostics
    if diagnostics is not None and exp.substep == 0:
        diagnostics.before_step(exp.step)
    while exp.substep <= n_dis:
        clock.tick()
        images, y = reals.batch(exp.step * n_dis + min(exp.substep, n_dis - 1))  # G sees the reals that D saw last
        recorder.add(updates.run("d" if exp.substep < n_dis else "g", images, y))
        exp.substep += 1
    exp.step, exp.substep = exp.step + 1, 0
    update_ema(exp.G_ema, exp.G, clock.ema_decay)
    if diagnostics is not None:
        diagnostics.after_step(exp.step)
    recorder.progress.advance()
    return images, y


def lacks_evaluation(exp: Experiment, run: RunDirectory) -> bool:
    """Whether the step that a run goes on from was saved although its evaluation broke off."""
    expected = exp.evaluator is not None and due(exp, exp.config.trainer.eval_every_steps)
    return expected and not collectives.from_first(run.was_evaluated(exp.step))


def due(exp: Experiment, every: int) -> bool:
    """Whether what has this interval happens after the present step; everything does after the last one."""
    return exp.step == exp.config.trainer.total_steps or (every > 0 and exp.step % every == 0)


def measure_step(exp: Experiment, recorder: Recorder, check: Check, stop: Event | None = None) -> None:
    """Evaluate, sample and save, each at its interval, or all for an event that stops the run: CollapsedError."""
    settings, improved = exp.config.trainer, False
    with recorder.progress.pause():
        if exp.evaluator is not None and (stop or due(exp, settings.eval_every_steps)):
            improved, collapse = recorder.evaluate(check if stop is None else None)
            stop = stop or collapse
        if stop or due(exp, settings.sample_every_steps):
            recorder.grid()
        if improved or stop or due(exp, settings.checkpoint_every_steps):
            recorder.save(best=improved, must=exp.step == settings.total_steps)
    if stop is not None:
        raise CollapsedError(
            f"training collapsed at step {exp.step}: {stop.message}; the best checkpoint is kept in "
            f"{recorder.checkpoints.folder}"
        )
