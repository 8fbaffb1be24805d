"""Self-supervision: tasks without classes that D learns on reals, and G is to make its images good for.

Each is a penalty on each side, with weights of their own. They train a head of D (`nets/self_supervision.py`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.nets.self_supervision import FeaturesWithMaps
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class Rotation(Penalty):
    """SSGAN: cross-entropy of the quarter turns by which images were rotated (arXiv:1811.11212, section 3).

    D's: on reals, weight 1. G's: on fakes, weight 0.2. A quarter of the images goes to each of 0, 90, 180 and 270
    degrees, as in mimicry. It is a forward of D of its own, without augmentation, which may rotate images itself.
    """

    trains = ("self_supervision", "rotation")

    def __init__(self, side: str = "d", weight: Schedule = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval, side)

    def forward(self, batch: Batch) -> Tensor:
        D, images = self.trained_discriminator(batch), batch.real if self.side == "d" else batch.fake
        assert images is not None
        turns = quarter_turns(len(images), images.device)
        return F.cross_entropy(D.rotation_logits(rotated(images, turns)), turns)


def quarter_turns(n: int, device: torch.device) -> Tensor:
    """Return 0, 1, 2, 3, 0, ... (n, int64) along the whole batch, whose images of this rank are every size()-th."""
    return (torch.arange(n, device=device) * collectives.size() + collectives.rank()) % 4


def rotated(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate each square image (b c h h) by `turns` (b) quarter turns, counter-clockwise as `torch.rot90`."""
    turns = turns.view(-1, 1, 1, 1)
    images = torch.where(turns % 2 == 1, torch.rot90(images, 1, (2, 3)), images)
    return torch.where(turns >= 2, images.flip(2, 3), images)


class InfoMax(Penalty):
    """InfoMax-GAN: each image's features should find its own local features in the batch (arXiv:2007.04589).

    `info_nce` of D's projections, D's on reals, G's on fakes, weight 0.2 each, as in mimicry. Local features are the
    maps before D's last block. They come from the forward that gave the logits.
    """

    trains = ("self_supervision", "infomax")

    def __init__(self, side: str = "d", weight: Schedule = 0.2, interval: int = 1) -> None:
        super().__init__(weight, interval, side)

    def forward(self, batch: Batch) -> Tensor:
        D = self.trained_discriminator(batch)
        features = batch.real_features if self.side == "d" else batch.fake_features
        assert isinstance(features, FeaturesWithMaps)
        with torch.autocast(features.maps.device.type, enabled=False):
            vectors, local = D.infomax_vectors(features)
            return info_nce(collectives.differentiable_gather(vectors), collectives.differentiable_gather(local))


def info_nce(vectors: Tensor, local: Tensor) -> Tensor:
    """-log(exp(l_ip . v_i) / (exp(l_ip . v_i) + sum over j != i and q of exp(l_jq . v_i))), a mean over i and p.

    vectors v: b e; local l: b p e, p positions (arXiv:2007.04589, section 3). The negatives are all positions of the
    other images, as in mimicry, whose -10 for the own ones is left out here.
    """
    scores = (vectors @ local.flatten(0, 1).t()).unflatten(1, local.shape[:2])  # i j p
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)[:, :, None]
    lowest = torch.finfo(scores.dtype).min  # not -inf: an image without others has a gradient of 0, not NaN
    others = scores.masked_fill(own, lowest).flatten(1).logsumexp(1, keepdim=True)  # i 1
    return F.softplus(others - scores.diagonal().t()).mean()
