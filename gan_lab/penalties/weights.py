"""Penalties and constraints on weights: WGAN's clipping, orthogonal regularization."""

import torch
from torch import Tensor, nn

from gan_lab.norms.base import effective_weights, out_dim
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class WeightClip(Penalty):
    """WGAN's constraint: every parameter of D in [-bound, bound] (arXiv:1701.07875, algorithm 1).

    Not a term of the loss (its value is 0): the weights are clipped in `after_step`.
    """

    def __init__(self, bound: float = 0.01) -> None:
        super().__init__(0.0, 1, "d")
        if bound <= 0:
            raise ValueError(f"bound must be above 0, got {bound}")
        self.bound = bound

    def forward(self, batch: Batch) -> Tensor:
        assert batch.fake_logits is not None
        return batch.fake_logits.new_zeros(())

    @torch.no_grad()
    def after_step(self, D: nn.Module) -> None:
        """Clip all parameters of D, biases and norms' gains included, in place."""
        for parameter in D.parameters():
            parameter.clamp_(-self.bound, self.bound)


class Orthogonal(Penalty):
    """Sum over layers of the distance of W W^T from the identity; W has one row per filter (output channel).

    - form="soft": |W W^T - I|^2, or |W^T W - I|^2 where there are more filters than inputs and W W^T cannot be the
      identity (arXiv:1609.07093; "orthonormal" in arXiv:1802.05957).
    - form="off_diagonal": |W W^T * (1 - I)|^2, only the angles between filters (BigGAN, arXiv:1809.11096, equation 3).

    The norms are squared Frobenius norms, of the weights that the forward uses. `side`: "d" or "g", whose weights.
    """

    def __init__(self, form: str = "soft", weight: Schedule = 1e-4, interval: int = 1, side: str = "d") -> None:
        super().__init__(weight, interval, side)
        if form not in ("soft", "off_diagonal"):
            raise ValueError(f"form must be soft or off_diagonal, got {form!r}")
        self.form = form

    def forward(self, batch: Batch) -> Tensor:
        net = self.net(batch)
        terms = [self.distance(_filters(net.get_submodule(n), w)) for n, w in effective_weights(net).items()]
        if not terms:
            raise ValueError(f"{type(net).__name__} has no weight layers to make orthogonal")
        return torch.stack(terms).sum()

    def distance(self, matrix: Tensor) -> Tensor:
        """Return the penalty of one matrix that has a row per filter."""
        with torch.autocast(matrix.device.type, enabled=False):
            if self.form == "soft" and matrix.shape[0] > matrix.shape[1]:
                matrix = matrix.t()
            gram = matrix @ matrix.t()
            eye = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
            return (gram - eye if self.form == "soft" else gram * (1.0 - eye)).square().sum()


def _filters(layer: nn.Module, weight: Tensor) -> Tensor:
    return (weight.transpose(0, 1) if out_dim(layer) == 1 else weight).flatten(1)
