"""Adversarial losses: pairs of pure functions over logits, each a mean over the batch.

D minimizes `X_d(real_logits, fake_logits)`, G minimizes `X_g(fake_logits, real_logits)`. Logits (b) are any real
numbers; the nets have no sigmoid. A G loss whose `real_logits` has no default needs the reals: only for such a loss the
training step computes their logits.
"""

import inspect
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lab.errors import UserError
from gan_lab.schedules import Schedule, value

__all__ = [
    "hinge_d", "hinge_g", "least_squares_d", "least_squares_g", "minimax_d", "minimax_g",
    "none_d", "none_g", "nonsaturating_d", "nonsaturating_g", "relativistic_d", "relativistic_g",
    "wasserstein_d", "wasserstein_g",
]  # fmt: skip

DLoss = Callable[[Tensor, Tensor], Tensor]  # (real_logits, fake_logits) -> scalar
GLoss = Callable[..., Tensor]  # (fake_logits, real_logits or None) -> scalar


def one_number(key: str, value: Tensor) -> Tensor:
    """Return what a loss or penalty computed. UserError unless it is one number, which one of a user's own may miss."""
    if not (isinstance(value, Tensor) and value.numel() == 1):
        got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"{key} returns {got}: it must return a tensor of one number, such as a mean over the batch")
    return value


def nonsaturating_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Cross-entropy of real and fake: softplus(-D(x)) + softplus(D(G(z))) (arXiv:1406.2661, equation 1)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def nonsaturating_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """-log sigmoid(D(G(z))); its gradient does not vanish where D is confident (arXiv:1406.2661, section 3)."""
    return F.softplus(-fake_logits).mean()


def minimax_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The same cross-entropy as `nonsaturating_d`; the two differ in G's loss only."""
    return nonsaturating_d(real_logits, fake_logits)


def minimax_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """log(1 - sigmoid(D(G(z)))) = -softplus(D(G(z))): G minimizes what D maximizes (arXiv:1406.2661, equation 1)."""
    return -F.softplus(fake_logits).mean()


def hinge_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """relu(1 - D(x)) + relu(1 + D(G(z))) (arXiv:1802.05957, equation 16)."""
    return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()


def hinge_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """-D(G(z)) (arXiv:1802.05957, equation 17)."""
    return -fake_logits.mean()


def wasserstein_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """D(G(z)) - D(x): minus the estimate of the distance (arXiv:1701.07875, equation 3)."""
    return fake_logits.mean() - real_logits.mean()


def wasserstein_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """-D(G(z)) (arXiv:1701.07875, algorithm 1)."""
    return -fake_logits.mean()


def least_squares_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """((D(x) - 1)^2 + D(G(z))^2) / 2: targets 1 and 0 (arXiv:1611.04076, equation 9)."""
    return 0.5 * ((real_logits - 1.0).square().mean() + fake_logits.square().mean())


def least_squares_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """(D(G(z)) - 1)^2 / 2 (arXiv:1611.04076, equation 9)."""
    return 0.5 * (fake_logits - 1.0).square().mean()


def relativistic_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """softplus(-(D(x) - D(G(z)))) over pairs of a real and a fake (RpGAN; arXiv:2501.05441, equation 2)."""
    return F.softplus(fake_logits - real_logits).mean()


def relativistic_g(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """softplus(-(D(G(z)) - D(x))): D's loss with the roles exchanged (arXiv:1807.00734).

    Our loop compares with the reals that D saw last; R3GAN's code draws new ones for G.
    """
    return F.softplus(real_logits - fake_logits).mean()


def none_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """0: D has no adversarial loss, because a class loss takes its place (multi-hinge, arXiv:1912.04216).

    Its gradient is 0, too: it can be differentiated alone, as the diagnostics do.
    """
    return 0.0 * (real_logits + fake_logits).abs().sum()


def none_g(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """0, as `none_d`."""
    return 0.0 * fake_logits.abs().sum()


class TopK:
    """G's loss over the fakes that D rates highest, a `share` of the batch (top-k training, arXiv:2002.06224, eq. 3).

    loss: a G loss that is a mean over samples; with reals, over pairs of one each. share: a number or a schedule in
    (0, 1], whose present value the clock writes into the tensor `present`. k is share * batch, rounded, and at least 1.
    The paper lowers k by a factor of 0.99 an epoch, to half of the batch. Several processes each choose from their own
    part of the batch.
    """

    def __init__(self, loss: GLoss, share: Schedule, device: torch.device | str = "cpu") -> None:
        self.loss, self.share = loss, share
        self.present = torch.full((), value(share, 0.0), device=device)

    def __call__(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        if fake_logits.ndim != 1:
            raise ValueError(f"top-k takes logits of shape (b), not {tuple(fake_logits.shape)}")
        pairs = (fake_logits[:, None],) if real_logits is None else (fake_logits[:, None], real_logits[:, None])
        losses = torch.vmap(self.loss)(*pairs)  # b, each of a batch of one
        k = (self.present * len(fake_logits)).round().clamp_min(1.0)
        rank = fake_logits.detach().argsort(descending=True).argsort()  # 0: D's highest
        return torch.where(rank < k, losses, 0.0).sum() / k


def _parameters(loss: Callable[..., Tensor]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters)


def needs_reals(g_loss: GLoss) -> bool:
    """Return whether a G loss needs the logits of reals: whether `real_logits` has no default.

    Where neither kind of logits has its name, its second parameter counts.
    """
    parameters = _parameters(g_loss)
    named = [parameters["real_logits"]] if "real_logits" in parameters else []
    asked = named if "fake_logits" in parameters else named or [*parameters.values()][1:2]
    return any(p.default is inspect.Parameter.empty for p in asked)


def by_name(key: str, loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a loss that may be called with its logits in order: D's with reals first, G's with fakes first.

    So `real_logits` and `fake_logits` of a loss of one's own stand where they like, and a G loss need not have
    `real_logits`. Raises UserError for a class that was not instantiated, and for a module with state, as checkpoints
    do not hold losses.
    """
    if isinstance(loss, nn.Module) and loss.state_dict():
        raise UserError(f"{key}: {type(loss).__name__} has parameters or buffers, which no checkpoint would hold: "
                        "a loss keeps no state; write a penalty, whose buffers are kept")  # fmt: skip
    if inspect.isclass(getattr(loss, "func", loss)):
        raise UserError(f"{key}: {getattr(loss, 'func', loss).__name__} is a class: set {key}._partial_=false, so that "
                        "an instance of it is the loss")  # fmt: skip
    parameters = _parameters(loss)
    names = ["real_logits", "fake_logits"] if key.endswith("d") else ["fake_logits", "real_logits"]
    placed = [name for name, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    if names[0] not in parameters or placed[:2] == names:
        return loss

    def called(*logits: Tensor | None) -> Tensor:
        return loss(**{name: given for name, given in zip(names, logits, strict=False) if name in parameters})

    return called
