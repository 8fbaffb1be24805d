"""When skipping updates does not help any more: the run has diverged."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gan_lab.errors import DivergedError
from gan_lab.experiment import Experiment

log = logging.getLogger(__name__)


def count_skipped(exp: Experiment, values: Mapping[str, Tensor]) -> str:
    """Count what one update logged as skipped, in all and in a row; returns the side ("d" or "g") it was of."""
    side = "d" if "skipped/d" in values else "g"
    skipped = values[f"skipped/{side}"]
    exp.skipped["total"] = exp.skipped["total"] + skipped
    exp.skipped[side] = (exp.skipped[side] + skipped) * skipped
    return side


def check_skipped(exp: Experiment, values: Mapping[str, Tensor], checkpoints: Path) -> None:
    """Warn of the first skipped update in a row; DivergedError if a weight is not finite or too many were skipped.

    values: what the update logged, whose terms that are not finite are named.
    """
    in_a_row = max(int(exp.skipped[side]) for side in ("d", "g"))
    check_weights(exp, checkpoints)
    terms = [k for k, v in values.items() if not k.startswith(("skipped/", "grad_norm/")) and not torch.isfinite(v)]
    where = f"{', '.join(terms) or 'a gradient'} became non-finite at step {exp.step + 1}"
    layer = _first_bad_gradient(exp)
    where += f", first in the gradient of {layer}" if layer else ""
    if in_a_row > exp.config.trainer.max_skipped_updates:
        raise DivergedError(
            f"training diverged: {where}, in {in_a_row} updates in a row; the weights are from before. Lower the "
            "learning rate, add a penalty or norm, or raise trainer.max_skipped_updates."
        )
    if in_a_row == 1:
        log.warning("skipped an update: %s", where)


def check_weights(exp: Experiment, checkpoints: Path) -> None:
    """DivergedError if a weight of G or D is not finite."""
    for name, p in [*exp.G.named_parameters("G"), *exp.D.named_parameters("D")]:
        if not bool(torch.isfinite(p).all()):
            raise DivergedError(
                f"training diverged: the weight {name} is non-finite at or before step {exp.step + 1}; the "
                f"checkpoints in {checkpoints} are from before"
            )


def _first_bad_gradient(exp: Experiment) -> str | None:
    nets = (("D", exp.D), ("G", exp.G))
    named = [(f"{net}.{name}", p.grad) for net, module in nets for name, p in module.named_parameters()]
    return next((name for name, grad in named if grad is not None and not torch.isfinite(grad).all()), None)
