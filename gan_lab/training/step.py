"""The two steps of adversarial training.

Recipes differ in what they plug in here (losses, penalties, norms, augmentation), never in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from gan_lab.builder import Experiment, Hyper
from gan_lab.distributed import collectives
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.nets.blocks import at_least_float32
from gan_lab.norms import advance_power_iteration, cached_weights
from gan_lab.schedules import value
from gan_lab.types import Batch, Penalty

Log = dict[str, Tensor]
Weights = Mapping[str, Tensor] | None  # the penalties' by name, where they are not to be computed from images seen


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
        return at_least_float32(x.D(seen))

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


def penalized(loss: Tensor, penalties: dict[str, Penalty], batch: Batch, log: Log, weights: Weights) -> Tensor:
    """`loss` plus every penalty at its weight, a lazy one times its interval."""
    for name, penalty in penalties.items():
        term = penalty(batch)
        log[f"penalty/{name}"] = term.detach()
        weight = value(penalty.weight, batch.images_seen) if weights is None else weights[name]
        loss = loss + term * (weight * penalty.interval)
    return loss


def set_hyper(optimizer: torch.optim.Optimizer, hyper: Hyper, lr_scale: float, images_seen: float) -> float:
    """Put the schedules' present values into the optimizer; returns the learning rate."""
    lr = value(hyper.lr, images_seen) * lr_scale
    for group in optimizer.param_groups:
        group["lr"] = lr
        if hyper.betas is not None:
            group["betas"] = (value(hyper.betas[0], images_seen), value(hyper.betas[1], images_seen))
    return lr


def copy_all_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target. Torch's function raises for empty lists, which nets without buffers give."""
    if targets:
        torch._foreach_copy_(targets, sources)


def reading_waits(flag: Tensor) -> bool:
    """Whether to read `flag` would stop the program until a device has caught up, which an update does not do."""
    return flag.device.type != "cpu"


@contextmanager
def undoable(x: Experiment) -> Iterator[Callable[[Tensor], None]]:
    """An update that may turn out not to count: yields `settle(counts)`, which else puts the buffers back.

    Forward passes change buffers (running statistics, a penalty's mean) long before it is known whether the gradient is
    finite. They come back for an exception too: parameters change last, so the update has then not happened.
    """
    before = [b.clone() for b in x.buffers]

    def settle(counts: Tensor) -> None:
        if reading_waits(counts):
            for buffer, old in zip(x.buffers, before, strict=True):
                buffer.copy_(torch.where(counts, buffer, old))
        elif not counts:
            copy_all_(x.buffers, before)

    try:
        yield settle
    except Exception:
        copy_all_(x.buffers, before)
        raise


@torch.no_grad()
def apply_gradients(x: Experiment, optimizer: torch.optim.Optimizer, log: Log, side: str) -> Tensor:
    """Average the gradients over ranks, and let the optimizer step if their norm is finite: a bool scalar.

    One flat all-reduce carries the gradients, the logged numbers and running statistics that are each rank's own.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if collectives.active():
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad  # the same set on every rank
    gradients = [p.grad for p in parameters if p.grad is not None]
    if collectives.active():
        collectives.average_([*gradients, *log.values(), *x.rank_statistics])
    norm = torch.nn.utils.get_total_norm(gradients)
    log[f"grad_norm/{side}"] = norm
    finite = torch.isfinite(norm)
    if not reading_waits(finite):
        if finite:
            optimizer.step()
    elif optimizer.defaults.get("fused") or isinstance(optimizer, AnnealedAdam):
        optimizer.found_inf, optimizer.grad_scale = (~finite).float(), None  # type: ignore[attr-defined]
        optimizer.step()
    else:
        step_or_undo(optimizer, [p for p in parameters if p.grad is not None], finite)
    log[f"skipped/{side}"] = (~finite).float()
    return finite


def step_or_undo(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], counts: Tensor) -> None:
    """An optimizer step that leaves parameters and state as they were unless `counts` (a bool scalar), without a wait.

    For optimizers that have no such switch of their own. Where the step does not count they are given zeros for
    gradients: state that is only made now must not become NaN.
    """
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.where(counts, p.grad, 0.0)  # type: ignore[arg-type]
    state = [v for p in parameters for v in optimizer.state.get(p, {}).values() if isinstance(v, Tensor)]
    changed = [*(p.detach() for p in parameters), *state]
    before = [t.clone() for t in changed]
    optimizer.step()
    for tensor, old in zip(changed, before, strict=True):
        tensor.copy_(torch.where(counts, tensor, old))
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient


def d_step(x: Experiment, real: Tensor, index: int, images_seen: float, weights: Weights = None) -> Log:
    """One update of D on a batch of reals (b c h w, in [-1, 1]); `index` counts the updates of D.

    G runs without a graph. Power iteration advances once, after the update, and the normalized weights are computed
    once for all forwards of the step. Inputs require a gradient only when a due penalty differentiates by them. An
    update whose gradient is not finite is skipped, which `skipped/d` in the log says.
    """
    D, penalties = judge(x), due(x, "d", index)
    wanted = frozenset().union(*(p.needs_input_grad for p in penalties.values()))
    with undoable(x) as settle:
        with precision(x):
            with torch.no_grad():
                z = x.G.sample_z(len(real), x.device)
                fake = at_least_float32(x.G(z))
            real = real.detach().requires_grad_("real" in wanted)
            fake = fake.detach().requires_grad_("fake" in wanted)
            with cached_weights(x.D):
                real_logits, fake_logits = logits_of_both(x, D, real, fake)
                loss = x.d_loss(real_logits, fake_logits)
                log = {"loss/d": loss.detach(), **facts_of(real_logits, fake_logits)}
                batch = Batch(x.G, D, real, fake, z, real_logits, fake_logits, images_seen)
                loss = penalized(loss, penalties, batch, log, weights)
        x.optimizer_d.zero_grad(set_to_none=True)
        loss.backward()
        counts = apply_gradients(x, x.optimizer_d, log, "d")
        for penalty in x.penalties.values():
            if hasattr(penalty, "after_step"):
                penalty.after_step(x.D)
        advance_power_iteration(x.D)  # here, so that the G step already sees the singular vectors of the new weights
        update = getattr(x.augment, "update", None)
        if update is not None:  # an augmentation that adapts its strength
            update(log["logits/real_sign"], len(real) * collectives.size())
        settle(counts)
    return log


@torch.no_grad()
def facts_of(real_logits: Tensor, fake_logits: Tensor) -> Log:
    """What D's logits say about the game: means, spreads and signs."""
    return {
        "logits/real": real_logits.mean(),
        "logits/fake": fake_logits.mean(),
        "logits/real_std": real_logits.std(correction=0),
        "logits/fake_std": fake_logits.std(correction=0),
        "logits/real_sign": real_logits.sign().mean(),
        "logits/fake_sign": fake_logits.sign().mean(),
    }


def g_step(x: Experiment, real: Tensor, index: int, images_seen: float, weights: Weights = None) -> Log:
    """One update of G with D frozen; D's normalized weights are computed once. Skipped like D's if not finite."""
    D, penalties = judge(x), due(x, "g", index)
    with undoable(x) as settle:
        with precision(x), frozen(x.D), cached_weights(x.D, x.G):
            z = x.G.sample_z(len(real), x.device)
            fake = at_least_float32(x.G(z))
            fake_logits = D(fake)
            with torch.no_grad():
                real_logits = D(real) if wants_reals(x) else None
            loss = x.g_loss(fake_logits, real_logits)  # type: ignore[arg-type]
            log = {"loss/g": loss.detach()}
            batch = Batch(x.G, D, real, fake, z, real_logits, fake_logits, images_seen)
            loss = penalized(loss, penalties, batch, log, weights)
            x.optimizer_g.zero_grad(set_to_none=True)
            loss.backward()  # inside: only D's weights are frozen, the way back to G goes through it
        counts = apply_gradients(x, x.optimizer_g, log, "g")
        advance_power_iteration(x.G)
        settle(counts)
    return log


def wants_reals(x: Experiment) -> bool:
    """Whether G's loss compares with the reals (relativistic); it says so with the attribute `wants_reals`."""
    function = getattr(x.g_loss, "func", x.g_loss)
    return bool(getattr(function, "wants_reals", False))
