"""Class losses: what trains the class head of a conditional discriminator (`nets/heads.py`), and G by it.

Each is a penalty on each side, with weights of their own: D's reads the features of reals and fakes, G's those of
fakes, of the same forward that gave the logits. All are means over the batch, of all ranks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.nets.heads import ClassOutputs
from gan_lab.nets.labels import require_classes
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


def multi_hinge(scores: Tensor, y: Tensor) -> Tensor:
    """Mean of relu(1 - scores[y] + max of the other scores) (Crammer and Singer; arXiv:1912.04216, section 3).

    scores: b k, y: b.
    """
    own = torch.eye(scores.shape[1], dtype=torch.bool, device=y.device)[y]
    others = scores.masked_fill(own, -math.inf).amax(1)
    return F.relu(1.0 - scores.gather(1, y[:, None]).squeeze(1) + others).mean()


def conditional_contrastive(embedding: Tensor, class_embeddings: Tensor, y: Tensor, temperature: float = 1.0) -> Tensor:
    """2C loss: a sample attracts its class's embedding and its class's samples (arXiv:2006.12681, equation 8).

    -log((exp(l_i . e_{y_i} / t) + sum over k != i with y_k = y_i of exp(l_i . l_k / t)) / (the same over all k != i)),
    with l (b e) and e (k e) of unit length; a mean over i.
    """
    samples, classes = F.normalize(embedding, dim=1), F.normalize(class_embeddings, dim=1)
    to_class = (samples * classes[y]).sum(1, keepdim=True) / temperature  # b 1
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    to_samples = (samples @ samples.t() / temperature).masked_fill(itself, -math.inf)  # b b
    same = y[:, None] == y[None]
    positive = torch.cat([to_class, to_samples.masked_fill(~same, -math.inf)], 1).logsumexp(1)
    return (torch.cat([to_class, to_samples], 1).logsumexp(1) - positive).mean()


def data_to_data_cross_entropy(
    embedding: Tensor,
    class_embeddings: Tensor,
    y: Tensor,
    temperature: float = 0.5,
    margin_positive: float = 0.98,
    margin_negative: float | None = None,
) -> Tensor:
    """D2D-CE: samples of other classes are the negatives, and easy pairs do not count (arXiv:2111.01118, equation 7).

    -log(p_i / (p_i + sum over k with y_k != y_i of exp(relu(f_i . f_k - m_n) / t))) with
    p_i = exp(-relu(m_p - f_i . v_{y_i}) / t); f (b e) and v (k e) have unit length; a mean over i. The negative margin
    m_n is 2 m_p^2 - 1 where it is None: the cosine between samples at m_p on either side of their class.
    The authors' code (StudioGAN) has 1 - m_p, which keeps classes much further apart. It also takes the largest cosine
    of a row off the row's negatives, but not off p_i; here both are as in the paper.
    """
    if margin_negative is None:
        margin_negative = 2.0 * margin_positive**2 - 1.0
    samples, classes = F.normalize(embedding, dim=1), F.normalize(class_embeddings, dim=1)
    positive = -F.relu(margin_positive - (samples * classes[y]).sum(1, keepdim=True)) / temperature  # b 1
    negative = F.relu(samples @ samples.t() - margin_negative) / temperature  # b b
    negative = negative.masked_fill(y[:, None] == y[None], -math.inf)
    return (torch.cat([positive, negative], 1).logsumexp(1) - positive.squeeze(1)).mean()


class ClassLoss(Penalty):
    """Base of class losses. `trains` names the discriminator's condition.

    A subclass defines `of_d(real, y, fake, fake_y, batch)` and `of_g(fake, fake_y, batch)`, given the outputs of the
    class head.
    ValueError without classes or a head.
    """

    def __init__(self, side: str = "d", weight: Schedule = 1.0, interval: int = 1) -> None:
        super().__init__(weight, interval, side)

    def forward(self, batch: Batch) -> Tensor:
        D = self.trained_discriminator(batch)
        fake_y = require_classes(batch.fake_y)
        assert batch.fake_features is not None
        with torch.autocast(fake_y.device.type, enabled=False):
            fake = D.class_outputs(batch.fake_features)
            if self.side == "g":
                return self.of_g(fake, fake_y, batch)
            assert batch.real_features is not None
            real = D.class_outputs(batch.real_features)
            return self.of_d(real, require_classes(batch.y), fake, fake_y, batch)

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        raise NotImplementedError

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        raise NotImplementedError


class AuxiliaryClassifier(ClassLoss):
    """AC-GAN: cross-entropy of the classifier (arXiv:1610.09585, equation 3).

    D's: on reals, and with `fakes` on fakes. G's: on fakes.
    """

    trains = ("condition", "ac")

    def __init__(self, side: str = "d", weight: Schedule = 1.0, interval: int = 1, fakes: bool = True) -> None:
        super().__init__(side, weight, interval)
        self.fakes = fakes

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        loss = _cross_entropy(real.logits, y)
        return loss + _cross_entropy(fake.logits, fake_y) if self.fakes else loss

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return _cross_entropy(fake.logits, fake_y)


class TwinClassifier(AuxiliaryClassifier):
    """TAC-GAN: a second classifier learns the classes of fakes, and G is paid for its errors (arXiv:1907.02690).

    D's: that of AC-GAN, plus the cross-entropy of the twin on fakes. G's: the classifier's minus the twin's, on fakes
    (equation 6). `fakes`: whether the first classifier sees fakes too; not in the authors' code.
    """

    trains = ("condition", "tac")

    def __init__(self, side: str = "d", weight: Schedule = 1.0, interval: int = 1, fakes: bool = False) -> None:
        super().__init__(side, weight, interval, fakes)

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return super().of_d(real, y, fake, fake_y, batch) + _cross_entropy(fake.twin_logits, fake_y)

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return super().of_g(fake, fake_y, batch) - _cross_entropy(fake.twin_logits, fake_y)


class DiscriminativeClassifier(ClassLoss):
    """ADC-GAN: a classifier of 2 K classes, K of reals and K of fakes (arXiv:2107.10060, equations 5 and 6).

    D's: cross-entropy of reals as y and of fakes as K + y. G's: that of fakes as y, minus that as K + y.
    """

    trains = ("condition", "adc")

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        assert fake.logits is not None
        return _cross_entropy(real.logits, y) + _cross_entropy(fake.logits, fake_y + fake.logits.shape[1] // 2)

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        assert fake.logits is not None
        generated = _cross_entropy(fake.logits, fake_y + fake.logits.shape[1] // 2)
        return _cross_entropy(fake.logits, fake_y) - generated


class ConditionalContrastive(ClassLoss):
    """ContraGAN: `conditional_contrastive`, in D on reals, in G on fakes (arXiv:2006.12681, algorithm 1)."""

    trains = ("condition", "2c")

    def __init__(self, side: str = "d", weight: Schedule = 1.0, interval: int = 1, temperature: float = 1.0) -> None:
        super().__init__(side, weight, interval)
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return self.of_g(real, y, batch)

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return self.loss(*_of_all_ranks(fake, fake_y))

    def loss(self, embedding: Tensor, class_embeddings: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a whole batch: embeddings b e and k e, classes b."""
        return conditional_contrastive(embedding, class_embeddings, y, self.temperature)


class DataToData(ConditionalContrastive):
    """ReACGAN: `data_to_data_cross_entropy`, in D on reals, in G on fakes (arXiv:2111.01118, algorithm 1)."""

    trains = ("condition", "d2dce")

    def __init__(
        self,
        side: str = "d",
        weight: Schedule = 1.0,
        interval: int = 1,
        temperature: float = 0.5,
        margin_positive: float = 0.98,
        margin_negative: float | None = None,
    ) -> None:
        super().__init__(side, weight, interval, temperature)
        self.margins = margin_positive, margin_negative

    def loss(self, embedding: Tensor, class_embeddings: Tensor, y: Tensor) -> Tensor:
        return data_to_data_cross_entropy(embedding, class_embeddings, y, self.temperature, *self.margins)


class MultiHinge(ClassLoss):
    """MHingeGAN: `multi_hinge` over K classes and a last one, generated, scored by minus D's logit (arXiv:1912.04216).

    D's: reals as y and fakes as generated. G's: fakes as y. It takes the place of the adversarial loss (`loss=none`).
    """

    trains = ("condition", "multihinge")

    def of_d(self, real: ClassOutputs, y: Tensor, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        of_real, of_fake = _with_generated(real, batch.real_logits), _with_generated(fake, batch.fake_logits)
        generated = torch.full_like(fake_y, of_fake.shape[1] - 1)
        return multi_hinge(of_real, y) + multi_hinge(of_fake, generated)

    def of_g(self, fake: ClassOutputs, fake_y: Tensor, batch: Batch) -> Tensor:
        return multi_hinge(_with_generated(fake, batch.fake_logits), fake_y)


def _cross_entropy(logits: Tensor | None, y: Tensor) -> Tensor:
    assert logits is not None
    return F.cross_entropy(logits, y)


def _with_generated(outputs: ClassOutputs, logits: Tensor | None) -> Tensor:
    """Return the scores b k + 1."""
    assert outputs.logits is not None and logits is not None
    return torch.cat([outputs.logits, -logits[:, None].to(outputs.logits.dtype)], 1)


def _of_all_ranks(outputs: ClassOutputs, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings, class embeddings and classes of the whole batch: pairs are formed across ranks."""
    assert outputs.embedding is not None and outputs.class_embeddings is not None
    everyone = collectives.differentiable_gather(y.float()).round().long()  # it divides and multiplies
    return collectives.differentiable_gather(outputs.embedding), outputs.class_embeddings, everyone
