"""The two steps of adversarial training.

Recipes differ in what they plug in here (losses, penalties, norms, augmentation), never in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.builder import Experiment, Hyper
from gan_lab.norms import advance_power_iteration
from gan_lab.schedules import value
from gan_lab.types import Batch, Penalty

Log = dict[str, Tensor]


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Compute no gradients for the parameters of `net` inside the block."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def precision(x: Experiment) -> AbstractContextManager[object]:
    """bf16 runs the convolutions in bf16; norms, losses and penalties keep fp32 wherever they ask for it."""
    if x.config["trainer"]["precision"] == "bf16":
        return torch.autocast(x.device.type, dtype=torch.bfloat16)
    return nullcontext()


def judge(x: Experiment) -> Callable[[Tensor], Tensor]:
    """D as it is trained: after the augmentation, with logits in fp32."""

    def D(images: Tensor) -> Tensor:
        seen = images if x.augment is None else x.augment(images)
        return x.D(seen).float()

    D.module = x.D  # type: ignore[attr-defined]  # for penalties on weights
    return D


def due(x: Experiment, side: str, index: int) -> dict[str, Penalty]:
    """The penalties of one side that this update pays for."""
    return {n: p for n, p in x.penalties.items() if p.side == side and index % p.interval == 0}


def logits_of_both(x: Experiment, D: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """One forward of both where no layer couples samples, else one for each, as BatchNorm needs it."""
    if x.joint_forward:
        both = D(torch.cat([real, fake]))
        return both[: len(real)], both[len(real) :]
    return D(real), D(fake)


def penalized(loss: Tensor, penalties: dict[str, Penalty], batch: Batch, log: Log) -> Tensor:
    """`loss` plus every penalty at its weight, a lazy one times its interval."""
    for name, penalty in penalties.items():
        term = penalty(batch)
        log[f"penalty/{name}"] = term.detach()
        loss = loss + term * (value(penalty.weight, batch.images_seen) * penalty.interval)
    return loss


def set_hyper(optimizer: torch.optim.Optimizer, hyper: Hyper, lr_scale: float, images_seen: float) -> float:
    """Put the schedules' present values into the optimizer; returns the learning rate."""
    lr = value(hyper.lr, images_seen) * lr_scale
    for group in optimizer.param_groups:
        group["lr"] = lr
        if hyper.betas is not None:
            group["betas"] = (value(hyper.betas[0], images_seen), value(hyper.betas[1], images_seen))
    return lr


def d_step(x: Experiment, real: Tensor, index: int, images_seen: float) -> Log:
    """One update of D on a batch of reals (b c h w, in [-1, 1]); `index` counts the updates of D.

    G runs without a graph. Power iteration advances once, after the update, and the normalized weights are computed
    once for all forwards of the step. Inputs require a gradient only when a due penalty differentiates by them.
    """
    D, penalties = judge(x), due(x, "d", index)
    wanted = frozenset().union(*(p.needs_input_grad for p in penalties.values()))
    with precision(x):
        with torch.no_grad():
            z = x.G.sample_z(len(real), x.device)
            fake = x.G(z).float()
        real = real.detach().requires_grad_("real" in wanted)
        fake = fake.detach().requires_grad_("fake" in wanted)
        with parametrize.cached():
            real_logits, fake_logits = logits_of_both(x, D, real, fake)
            loss = x.d_loss(real_logits, fake_logits)
            log = {
                "loss/d": loss.detach(),
                "logits/real": real_logits.detach().mean(),
                "logits/fake": fake_logits.detach().mean(),
                "logits/real_sign": real_logits.detach().sign().mean(),
            }
            batch = Batch(x.G, D, real, fake, z, real_logits, fake_logits, images_seen)
            loss = penalized(loss, penalties, batch, log)
    x.optimizer_d.zero_grad(set_to_none=True)
    loss.backward()
    x.optimizer_d.step()
    for penalty in x.penalties.values():
        if hasattr(penalty, "after_step"):
            penalty.after_step(x.D)
    advance_power_iteration(x.D)  # here, so that the G step already sees the singular vectors of the new weights
    update = getattr(x.augment, "update", None)
    if update is not None:  # an augmentation that adapts its strength
        update(log["logits/real_sign"], len(real))
    return log


def g_step(x: Experiment, real: Tensor, index: int, images_seen: float) -> Log:
    """One update of G with D frozen; D's normalized weights are computed once."""
    D, penalties = judge(x), due(x, "g", index)
    with precision(x), frozen(x.D), parametrize.cached():
        z = x.G.sample_z(len(real), x.device)
        fake = x.G(z).float()
        fake_logits = D(fake)
        with torch.no_grad():
            real_logits = D(real) if wants_reals(x) else None
        loss = x.g_loss(fake_logits, real_logits)  # type: ignore[arg-type]
        log = {"loss/g": loss.detach()}
        batch = Batch(x.G, D, real, fake, z, real_logits, fake_logits, images_seen)
        loss = penalized(loss, penalties, batch, log)
        x.optimizer_g.zero_grad(set_to_none=True)
        loss.backward()  # inside: only D's weights are frozen, the way back to G goes through it
    x.optimizer_g.step()
    advance_power_iteration(x.G)
    return log


def wants_reals(x: Experiment) -> bool:
    """Whether G's loss compares with the reals (relativistic); it says so with the attribute `wants_reals`."""
    function = getattr(x.g_loss, "func", x.g_loss)
    return bool(getattr(function, "wants_reals", False))
