"""The clock: the one place where training reads schedules, once before each update."""

import torch

from gan_lab.experiment import Experiment
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.losses import TopK
from gan_lab.schedules import value
from gan_lab.training.ema import ema_decay


class Clock:
    """Write the present value of every schedule to where it is read: into tensors, so that CUDA graphs follow.

    Learning rates go into the optimizers' groups, betas too, as numbers unless the optimizer takes tensors; a penalty's
    weight times its interval into its `factor`; an augmentation's strength into its `p`; top-k's share into its
    `present`; the factor of G's average into `ema_decay`. Schedules are functions of the real images that D has seen
    before the present step; an augmentation's, before the present update.
    """

    def __init__(self, exp: Experiment) -> None:
        self.exp = exp
        kind = torch.float64 if exp.device.type == "cpu" else torch.float32  # a GPU's fused kernels read fp32
        self.lr = {side: torch.zeros((), dtype=kind, device=exp.device) for side in ("g", "d")}
        self.ema_decay = torch.zeros((), dtype=torch.float64)

    def tick(self) -> None:
        """Set everything for the next update."""
        exp, seen = self.exp, float(self.exp.images_seen)
        scale = value(exp.schedules.lr_scale, seen)
        for side, optimizer, of in (("g", exp.optimizer_g, exp.schedules.g), ("d", exp.optimizer_d, exp.schedules.d)):
            self.lr[side].fill_(value(of.lr, seen) * scale)
            for group in optimizer.param_groups:
                group["lr"] = self.lr[side]
                if of.betas is not None:
                    group["betas"] = (value(of.betas[0], seen), value(of.betas[1], seen))
            if isinstance(optimizer, AnnealedAdam):
                optimizer.fill_betas()
        for penalty in exp.penalties.values():
            penalty.factor.fill_(value(penalty.weight, seen) * penalty.interval)  # type: ignore
        if exp.augment is not None and exp.augment.strength is not None:
            now = seen + exp.substep * exp.config.trainer.batch_size
            exp.augment.p.fill_(min(max(value(exp.augment.strength, now), 0.0), exp.augment.largest))
        if isinstance(exp.g_loss, TopK):
            exp.g_loss.present.fill_(value(exp.g_loss.share, seen))
        images, halflife = exp.config.images_per_step, value(exp.schedules.ema_halflife_images, seen)
        self.ema_decay.fill_(ema_decay(halflife, images, seen + images, exp.config.ema.rampup))
