"""LOGAN (arXiv:1912.00953): z is moved by a gradient step before G makes an image of it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from gan_lab.distributed.randomness import uniform
from gan_lab.nets.base import frozen
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class LatentOptimization(Penalty):
    """Give G z' = clip(z + dz) in the updates of one side, dz a step up f(z) = D(G(z)) with gradient g.

    - `natural`: dz = step_size * g / (damping + |g|^2), the natural gradient with the damped empirical Fisher matrix
      g g^T + damping I (arXiv:1912.00953, section 3.3). Else dz = step_size * g (equation 4).
    - `share`: each number of z is moved with this probability; the paper moves a part of z's elements.
    - z' is clipped to [-1, 1], which is meant for a generator with `z_prior=uniform`. `clip=false` leaves it as it is.

    The loss is differentiated through dz. In updates of G autograd does so by itself, and the term is the regularizer
    |dz|^2 (equation 17; `weight` is the paper's w_r). In updates of D the fakes are detached from z', so the term has
    the missing gradient: its value is the change of the loss by the step to first order, sum (dL/dz') (z' - z), and it
    is differentiated by z' only. There `weight` 1 is the paper, 0 stops the gradient.

    Evaluation and sampling do not move z. Deviations: the regularizer is in G's loss only. G is run again for D's term;
    where it draws noise, it draws other noise then. ValueError for a setting out of range.
    """

    def __init__(
        self,
        side: str,
        weight: Schedule = 1.0,
        *,
        step_size: float = 0.9,
        damping: float = 0.1,
        natural: bool = True,
        share: float = 0.8,
        clip: bool = True,
    ) -> None:
        super().__init__(weight, 1, side)
        if step_size <= 0 or damping <= 0:
            raise ValueError(f"step_size and damping must be above 0, got {step_size} and {damping}")
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share must be above 0 and at most 1, got {share}")
        self.step_size, self.damping, self.natural = step_size, damping, natural
        self.share, self.clip = share, clip
        self.needs_input_grad = frozenset({"fake"} if side == "d" else ())
        self._moved: tuple[Tensor, Tensor, Tensor] | None = None  # z, dz, z' of the present update

    def latents(self, batch: Batch) -> Tensor:
        assert batch.z is not None
        with torch.enable_grad(), self._without_weights(batch):
            z = batch.z.detach().requires_grad_()
            g = self.gradient(batch.logits(batch.images(z, batch.fake_y), batch.fake_y), z)  # b z_dim
            step = self.step_size * (g / (self.damping + g.square().sum(1, keepdim=True)) if self.natural else g)
            step = torch.where(uniform(z.shape, device=z.device) < self.share, step, 0.0)
            moved = (z + step).clamp(-1.0, 1.0) if self.clip else z + step
        self._moved = z, step, moved
        return moved if self.side == "g" else moved.detach()

    def _without_weights(self, batch: Batch) -> AbstractContextManager[None]:
        """In updates of D no gradient goes to G's weights."""
        return frozen(batch.G) if self.side == "d" and isinstance(batch.G, nn.Module) else nullcontext()

    def forward(self, batch: Batch) -> Tensor:
        """The term for the update whose z the last call of `latents` moved; RuntimeError without one."""
        if self._moved is None:
            raise RuntimeError("LatentOptimization: its term belongs to latents that it has moved; call latents first")
        (z, step, moved), self._moved = self._moved, None  # no graph is kept after the update
        if self.side == "g":
            return step.square().sum(1).mean()
        assert batch.loss is not None and batch.fake is not None
        if not batch.loss.requires_grad:  # loss=none
            return batch.loss.detach()
        (by_fake,) = torch.autograd.grad(batch.loss, batch.fake, retain_graph=True)
        start = moved.detach().requires_grad_()
        with self._without_weights(batch):
            (by_z,) = torch.autograd.grad(batch.images(start, batch.fake_y), start, by_fake)
        return (by_z * (moved - z.detach())).sum()
