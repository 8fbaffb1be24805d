"""Statistics of D's logits over the whole batch, of which each process has a part."""

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.training.optimize import Log

_MEANS = "logits/means"  # 2 processes: each process's own, which are gone once the deviations are known


@torch.no_grad()
def logit_statistics(real_logits: Tensor, fake_logits: Tensor) -> Log:
    """Means, standard deviations and mean signs of D's logits (b), of as many reals as fakes.

    Of several processes, variances stand in place of the deviations until `over_processes` has been called.
    """
    both = torch.stack([real_logits, fake_logits])  # 2 b
    means, signs = both.mean(1), both.sign().mean(1)
    log = {
        "logits/real": means[0],
        "logits/fake": means[1],
        "logits/real_std": real_logits.std(correction=0),
        "logits/fake_std": fake_logits.std(correction=0),
        "logits/real_sign": signs[0],
        "logits/fake_sign": signs[1],
    }
    if collectives.active():
        log |= {key: log[key].square() for key in ("logits/real_std", "logits/fake_std")}
        log[_MEANS] = means.new_zeros(2, collectives.size())
        log[_MEANS][:, collectives.rank()] = means
    return log


@torch.no_grad()
def over_processes(log: Log) -> None:
    """Compute the deviations of the whole batch in place, once the log has been averaged over processes.

    Its variance is the mean of the processes' variances, plus the variance of their means.
    """
    if _MEANS in log:
        between = (log.pop(_MEANS) * collectives.size()).var(1, correction=0)
        for key, further in zip(("logits/real_std", "logits/fake_std"), between, strict=True):
            log[key] = (log[key] + further).sqrt()
