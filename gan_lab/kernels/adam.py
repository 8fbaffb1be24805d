"""Adam whose betas follow schedules inside a CUDA graph, and moments in the memory order that fused kernels take."""

from typing import Any

import torch
from torch import Tensor


def _as_it_lies(tensor: Tensor, p: Tensor) -> Tensor:
    """`tensor`, or a copy of it, with its entries in memory in the order of those of `p`."""
    sizes = zip(p.shape, tensor.stride(), p.stride(), strict=True)
    return tensor if all(n == 1 or a == b for n, a, b in sizes) else torch.empty_like(p).copy_(tensor)


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """`optimizer.load_state_dict(state)` for a state that another kind of device may have saved.

    Which implementation computes the step (`fused`, `foreach`, `capturable`) is this optimizer's own choice, not the
    state's. Every moment is laid in memory as its parameter is: fused kernels take tensors of one order only.
    """
    own = [{k: group[k] for k in ("fused", "foreach", "capturable") if k in group} for group in optimizer.param_groups]
    groups = [{**saved, **kept} for saved, kept in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})
    indices = (index for group in state["param_groups"] for index in group["params"])
    for index, p in zip(indices, (p for group in optimizer.param_groups for p in group["params"]), strict=True):
        moments, saved = optimizer.state.get(p, {}), state["state"].get(index, {})
        for name, moment in moments.items():
            own = saved.get(name)
            if isinstance(own, Tensor) and own.dtype != moment.dtype:  # torch gave it that of p
                moments[name] = moment = own.to(moment.device, copy=True)
            if isinstance(moment, Tensor) and moment.shape == p.shape:
                moments[name] = _as_it_lies(moment, p)


class AnnealedAdam(torch.optim.Adam):
    """Adam whose lr and betas are read from tensors, so that a CUDA graph can follow schedules of both.

    The same update as `torch.optim.Adam` (arXiv:1412.6980, algorithm 1) with the present betas in the bias correction.
    Torch's own step takes the betas of a fused or multi-tensor update as Python numbers, which a graph would freeze.
    Like the fused step, it does nothing where `found_inf` (a float scalar) is not 0. No weight decay, no AMSGrad.
    """

    found_inf: Tensor | None = None

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, capturable=True)
        first = self.param_groups[0]["params"][0]
        self.betas = torch.zeros(2, device=first.device, dtype=torch.promote_types(first.dtype, torch.float32))
        self.fill_betas()

    def fill_betas(self) -> None:
        """Write the groups' present betas to where the step reads them."""
        for i, beta in enumerate(self.param_groups[0]["betas"]):
            self.betas[i].fill_(float(beta))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        beta1, beta2 = self.betas.unbind()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            if self.found_inf is not None:
                counts = self.found_inf == 0
                grads = [torch.where(counts, g, 0.0) for g in grads]  # type: ignore[arg-type]
                beta1, beta2 = torch.where(counts, beta1, 1.0), torch.where(counts, beta2, 1.0)
            steps, firsts, seconds = self._moments(params)
            one = torch.ones_like(steps[0]) if self.found_inf is None else counts.to(steps[0].dtype)
            torch._foreach_add_(steps, [one] * len(steps))
            torch._foreach_mul_(firsts, beta1)
            torch._foreach_add_(firsts, torch._foreach_mul(grads, 1.0 - beta1))
            torch._foreach_mul_(seconds, beta2)
            torch._foreach_add_(seconds, torch._foreach_mul(torch._foreach_mul(grads, grads), 1.0 - beta2))
            correction1, correction2 = 1.0 - self.betas[0] ** steps[0], 1.0 - self.betas[1] ** steps[0]
            rate = group["lr"] / correction1
            if self.found_inf is not None:
                rate = torch.where(counts, rate, 0.0)  # also where the first step does not count: 0 / 0
            lengths = torch._foreach_sqrt(seconds)
            torch._foreach_div_(lengths, correction2.sqrt().clamp_min(1e-30))
            torch._foreach_add_(lengths, group["eps"])
            torch._foreach_mul_(moved := torch._foreach_div(firsts, lengths), rate)
            torch._foreach_sub_(params, moved)

    def _moments(self, params: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        for p in params:
            if not self.state[p]:
                zeros = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
                self.state[p].update(step=torch.zeros_like(self.betas[0]), **zeros)
        found = [[self.state[p][name] for p in params] for name in ("step", "exp_avg", "exp_avg_sq")]
        return found[0], found[1], found[2]
