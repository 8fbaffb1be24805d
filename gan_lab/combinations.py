"""Combinations of parts that do not go together, though each fits its own settings."""

import logging

from gan_lab.augment.adaptive import Adaptive
from gan_lab.config.schema import Config
from gan_lab.data import Dataset
from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.experiment import Experiment
from gan_lab.losses import TopK
from gan_lab.nets import Discriminator, Generator
from gan_lab.penalties import LatentOptimization

log = logging.getLogger(__name__)

_NO_ZERO = frozenset({"relativistic_d", "wasserstein_d", "least_squares_d", "none_d"})
"""Losses of D under which 0 does not part reals from fakes; least squares has one half there."""


def check_classes(dataset: Dataset, G: Generator, D: Discriminator) -> None:
    """A conditional net needs data of at least two classes, and a conditional D fakes that have one."""
    if D.num_classes and not G.num_classes:
        raise UserError("a conditional discriminator needs a conditional generator: its fakes must have classes")
    if dataset.multi_label and G.num_classes and not G.takes_label_vectors:
        raise UserError(f"dataset={dataset.name} has several labels an image, which {type(G).__name__} does not take; "
                        "choose generator=stylegan2, r3gan or biggan, or dataset.labels=false")  # fmt: skip
    if dataset.multi_label and D.class_loss is not None:
        raise UserError(f"discriminator.condition={D.class_loss} needs one class an image, and dataset={dataset.name} "
                        "has several labels; choose projection or none")  # fmt: skip
    if G.num_classes and dataset.num_classes < 2:
        raise UserError(
            f"a conditional net needs classes, but dataset={dataset.name} has one: sort its images into one folder a "
            "class or list them in a labels.csv, or choose an unconditional generator and discriminator"
        )
    if G.num_classes and not D.num_classes:
        log.warning("G is given classes that D does not see (discriminator.condition=none): images need not fit theirs")


def check_sense(config: Config, exp: Experiment) -> None:
    """Say what trains, but not as its paper means it. UserError for what has no effect."""
    loss = str(config.loss.d["_target_"]).rpartition(".")[2]
    if loss == "none_d" and isinstance(exp.g_loss, TopK):
        raise UserError("loss=none leaves loss.top_k without effect, as it chooses among the terms of G's adversarial "
                        "loss; leave it out")  # fmt: skip
    if collectives.rank() > 0:
        return
    if isinstance(exp.augment, Adaptive) and exp.augment.strength is None and loss in _NO_ZERO:
        log.warning("the adaptive augmentation goes by the sign of D's logits for reals, and %s has no zero between "
                    "reals and fakes: set augment.p to a number, or loss=nonsaturating", loss)  # fmt: skip
    clipped = [name for name, p in exp.penalties.items() if isinstance(p, LatentOptimization) and p.clip]
    if clipped and exp.G.z_prior != "uniform":
        log.warning(
            "the clipping of penalty=logan puts z in [-1, 1], where samples do not stay: set "
            "generator.z_prior=uniform, or %s",
            " ".join(f"penalty.{name}.clip=false" for name in clipped),
        )
