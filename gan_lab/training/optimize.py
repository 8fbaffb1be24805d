"""Taking an optimizer's step, or none where the gradient is not finite: such an update leaves no trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gan_lab.distributed import collectives
from gan_lab.experiment import Experiment
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.kernels.flat import flat_groups, keep, put_back

Log = dict[str, Tensor]


@torch.no_grad()
def apply_gradients(exp: Experiment, optimizer: torch.optim.Optimizer, log: Log, side: str) -> Tensor:
    """Average the gradients over processes, and let the optimizer step if their norm is finite: a bool scalar.

    One flat all-reduce carries the gradients, the logged numbers and running statistics that are each process's own.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if collectives.active():
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad  # the same set in every process
    gradients = [p.grad for p in parameters if p.grad is not None]
    if collectives.active():
        collectives.average_([*gradients, *log.values(), *exp.rank_statistics])
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


def reading_waits(flag: Tensor) -> bool:
    """Whether to read `flag` would stop the program until a device has caught up, which an update does not do."""
    return flag.device.type != "cpu"


def step_or_undo(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], counts: Tensor) -> None:
    """An optimizer step that leaves parameters and state as they were unless `counts` (a bool scalar), without a wait.

    For optimizers that have no such switch of their own. Where the step does not count they are given zeros for
    gradients: state that is only made now must not become NaN.
    """
    gradients = [p.grad for p in parameters]
    for p in parameters:
        p.grad = torch.where(counts, p.grad, 0.0)  # type: ignore[arg-type]
    state = [v for p in parameters for v in optimizer.state.get(p, {}).values() if isinstance(v, Tensor)]
    changed = flat_groups([*(p.detach() for p in parameters), *state])
    before = keep(changed)
    optimizer.step()
    put_back(changed, before, unless=counts)
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = gradient


@contextmanager
def undoable(exp: Experiment) -> Iterator[Callable[[Tensor], None]]:
    """An update that may turn out not to count: yields `settle(counts)`, which else puts the buffers back.

    Forward passes change buffers (running statistics, a penalty's mean) long before it is known whether the gradient is
    finite. They come back for an exception too: parameters change last, so the update has then not happened.
    """
    before = keep(exp.buffer_groups)

    def settle(counts: Tensor) -> None:
        if reading_waits(counts):
            put_back(exp.buffer_groups, before, unless=counts)
        elif not counts:
            put_back(exp.buffer_groups, before)

    try:
        yield settle
    except Exception:
        put_back(exp.buffer_groups, before)
        raise


def copy_all_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy each source into its target. Torch's function raises for empty lists, which nets without buffers give."""
    if targets:
        torch._foreach_copy_(targets, sources)
