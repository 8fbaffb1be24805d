"""The two steps of adversarial training.

Recipes differ in what they plug in here (losses, penalties, norms, augmentation), never in this file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.experiment import Experiment
from gan_lab.losses import one_number
from gan_lab.nets.base import at_least_float32, frozen
from gan_lab.norms import advance_power_iteration, cached_weights
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.training.logits import logit_statistics, over_processes
from gan_lab.training.optimize import Log, apply_gradients, undoable


def d_step(exp: Experiment, real: Tensor, y: Tensor | None = None) -> Log:
    """One update of D on a batch of reals (b c h w, in [-1, 1]) and their classes (b).

    G runs without a graph. Power iteration advances once, after the update, and the normalized weights are computed
    once for all forwards of the step. Inputs require a gradient only when an active penalty differentiates by them. An
    update whose gradient is not finite is skipped, which `skipped/d` in the log says.
    """
    D, penalties = exp.augmented_discriminator(), exp.active_penalties("d")
    wanted = frozenset().union(*(p.needs_input_grad for p in penalties.values()))
    with undoable(exp) as settle:
        with exp.autocast():
            with torch.no_grad():
                z, fake_y = exp.draw_latents(len(real), D, penalties)
                fake = at_least_float32(exp.G(z, fake_y))
            if exp.ahead is not None:
                exp.ahead.start()
            real = real.detach().requires_grad_("real" in wanted)
            fake = fake.detach().requires_grad_("fake" in wanted)
            with cached_weights(exp.D):
                of_real, of_fake = exp.logits_of_both(D, real, fake, y, fake_y)
                loss = one_number("loss.d", exp.d_loss(of_real[0], of_fake[0]))
                log = {"loss/d": loss.detach(), **logit_statistics(of_real[0], of_fake[0])}
                batch = Batch(exp.G, D, real, fake, z, of_real[0], of_fake[0], y, fake_y, of_real[1], of_fake[1])
                loss = add_penalties(loss, penalties, batch, log)
        exp.optimizer_d.zero_grad(set_to_none=True)
        loss.backward()
        finite = apply_gradients(exp, exp.optimizer_d, log, "d")
        over_processes(log)
        for penalty in exp.penalties.values():
            penalty.after_step(exp.D)  # type: ignore[operator]
        advance_power_iteration(exp.D)  # here, so that the G step already sees the singular vectors of the new weights
        if exp.augment is not None:
            exp.augment.observe(log["logits/real_sign"], len(real) * collectives.size())
        settle(finite)
    return log


def g_step(exp: Experiment, real: Tensor, y: Tensor | None = None) -> Log:
    """One update of G with D frozen; D's normalized weights are computed once. As in `d_step`, an
    update whose gradient is not finite is skipped."""
    D, penalties = exp.augmented_discriminator(), exp.active_penalties("g")
    with undoable(exp) as settle:
        with exp.autocast(), frozen(exp.D), cached_weights(exp.D, exp.G):
            z, fake_y = exp.draw_latents(len(real), D, penalties)
            fake = at_least_float32(exp.G(z, fake_y) if exp.ahead is None else exp.ahead.take(z, fake_y))
            fake_logits, fake_features = D.with_features(fake, fake_y)
            with torch.no_grad():
                real_logits, real_features = D.with_features(real, y) if exp.g_loss_needs_reals else (None, None)
            loss = one_number("loss.g", exp.g_loss(fake_logits, real_logits))
            log = {"loss/g": loss.detach()}
            batch = Batch(exp.G, D, real, fake, z, real_logits, fake_logits, y, fake_y, real_features, fake_features)
            loss = add_penalties(loss, penalties, batch, log)
            exp.optimizer_g.zero_grad(set_to_none=True)
            loss.backward()  # inside `frozen`: the gradient of G flows through D, whose weights get none
        finite = apply_gradients(exp, exp.optimizer_g, log, "g")
        advance_power_iteration(exp.G)
        settle(finite)
    return log


def add_penalties(loss: Tensor, penalties: dict[str, Penalty], batch: Batch, log: Log) -> Tensor:
    """`loss` plus every penalty at its present weight, a lazy one times its interval."""
    batch.loss = loss
    for name, penalty in penalties.items():
        term = one_number(f"penalty.{name}", penalty(batch))
        log[f"penalty/{name}"] = term.detach()
        loss = loss + term * penalty.factor
    return loss
