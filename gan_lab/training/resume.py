"""Taking over where an earlier process of the run stopped."""

import logging
from typing import Any

from gan_lab.data.moved import has_classes
from gan_lab.distributed import collectives
from gan_lab.errors import UserError, useful_line
from gan_lab.experiment import Experiment
from gan_lab.nets.stylegan2.layers import MinibatchStd
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory

log = logging.getLogger(__name__)


def resume(exp: Experiment, run: RunDirectory, checkpoints: Checkpoints) -> None:
    """Load the newest checkpoint, which process 0 reads for all; without one, process 0's weights go to all.

    UserError if it is of other images (unless `resume=force`) or does not fit the settings.
    """
    _warn_of_split_groups(exp)
    content = collectives.decided_by_first(lambda: _newest(exp, run, checkpoints))
    if content is not None:
        run.restore(content.get("unwritten", {}))
        drawn = {net: net.class_weights.clone() for net in (exp.G, exp.G_ema) if net.num_classes}
        try:
            exp.load_state_dict(content["state"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"the checkpoint in {checkpoints.folder} does not fit these settings: {useful_line(error)}"
            ) from error
        if not has_classes(exp.dataset, content["dataset"]):  # with resume=force
            for net, weights in drawn.items():
                net.class_weights.copy_(weights)
    if exp.step > exp.config.trainer.total_steps:
        raise UserError(
            f"{run.path} has trained {exp.step} steps already, more than trainer.total_steps="
            f"{exp.config.trainer.total_steps}; choose another name, or more steps"
        )
    nets = (exp.G, exp.D, exp.G_ema)
    collectives.broadcast_(t for net in nets for t in (*net.parameters(), *net.buffers()))


def _newest(exp: Experiment, run: RunDirectory, checkpoints: Checkpoints) -> dict[str, Any] | None:
    content = checkpoints.latest()
    if content is None:
        _check_begins(run)
        return None
    theirs, ours = content["dataset"], exp.dataset
    if theirs["sha256"] != ours.sha256 and exp.config.resume != "force":
        raise UserError(
            f"{run.path} was trained on other images ({theirs['name']}, sha256 {theirs['sha256'][:12]}) than "
            f"{ours.name}, sha256 {ours.sha256[:12]}; choose another name, or resume=force"
        )
    if theirs.get("num_train") not in (None, ours.num_train) and exp.config.resume != "force":
        raise UserError(f"{run.path} was trained on {theirs['num_train']} of the images of {ours.name}, of which now "
                        f"{ours.num_train} are for training; choose another name, or resume=force")  # fmt: skip
    if exp.G.num_classes and theirs["num_classes"] != ours.num_classes:
        raise UserError(f"{run.path} was trained with {theirs['num_classes']} classes but {ours.name} has "
                        f"{ours.num_classes}; choose another name")  # fmt: skip
    if exp.config.resume != "force" and not has_classes(ours, theirs):
        force = "" if ours.multi_label else ", or resume=force"
        raise UserError(f"{run.path} was trained on images with other classes than those of {ours.name}; choose "
                        f"another name{force}")  # fmt: skip
    return content


def _check_begins(run: RunDirectory) -> None:
    """Raise UserError before a start from step 0 drops the rows of a run whose checkpoints are gone.

    A finished run always left a checkpoint.
    """
    earlier = run.summary()
    if earlier.get("status") == "finished" and earlier.get("step") not in (None, 0):
        raise UserError(f"{run.path} holds a run of {earlier['step']} steps without a checkpoint to go on from: put "
                        "its checkpoints/ back, choose another name, or remove the folder to start over")  # fmt: skip


def describe(exp: Experiment, run: RunDirectory) -> str:
    """One line on what is about to be trained."""
    millions = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (exp.G, exp.D)]
    together = f", {collectives.size()} processes" if collectives.active() else ""
    settings, data = exp.config.trainer, exp.dataset
    return (
        f"{'resuming' if exp.step else 'training'}: {data.name} {data.resolution}px ({data.num_train} images, "
        f"{'mirrored at random' if data.hflip else 'not mirrored'}), "
        f"G {millions[0]:.2f}M and D {millions[1]:.2f}M parameters, steps {exp.step} to {settings.total_steps}, "
        f"batch {settings.batch_size}, on {exp.device}{together}, into {run.path}"
    )


def _warn_of_split_groups(exp: Experiment) -> None:
    """Several processes train what one would, but for a minibatch-std group that does not fall to one of them whole."""
    batch, world = exp.config.trainer.batch_size, collectives.size()
    groups = [m.group for m in exp.D.modules() if isinstance(m, MinibatchStd)]
    if collectives.active() and any(batch % (group * world) for group in groups):
        log.warning(
            "minibatch_std_group=%d does not divide a rank's share of %d samples: with %d processes its statistic is "
            "another than with one", groups[0], batch // world, world,
        )  # fmt: skip
