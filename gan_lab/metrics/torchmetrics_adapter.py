"""Modules of torchmetrics as metrics of an evaluation, for what gan_lab has no form of its own.

torchmetrics is not imported here: that takes longer than importing torch. Who makes a module has imported it.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from gan_lab.errors import UserError
from gan_lab.metrics.base import Figure, Metric, Statistics
from gan_lab.metrics.images import to_rgb

BATCH = 100


class TorchMetric(Metric):
    """A torchmetrics module of images, fed with the fakes, and with the reals where its `update` tells them apart.

    Its figure has the name it was given in `metrics.extra`, and its direction is the module's `higher_is_better`. Of
    several numbers (KID's mean and standard deviation) the first counts. Images are RGB; floats in [0, 1], or uint8
    for modules that take these unless `normalize` is set (FID, KID, inception score).
    """

    def __init__(self, name: str, module: Any) -> None:
        parameters = inspect.signature(module.update).parameters
        if len(parameters) - ("real" in parameters) != 1:
            raise UserError(f"metrics.extra.{name}: {type(module).__name__} is updated with "
                            f"{', '.join(parameters)}, not with images, or images and real")  # fmt: skip
        self.module, self.kind = module, f"torchmetrics {type(module).__name__}"
        self.figures = (Figure(name, module.higher_is_better),)
        self.needs = ("fake.images", "real.images") if "real" in parameters else ("fake.images",)

    def compute(self, fake: Statistics, real: Statistics) -> float:
        module = self.module.to(fake.images.device)
        module.sync_on_compute = False  # the images are those of all ranks already
        module.reset()
        sides = {True: real.images, False: fake.images} if "real.images" in self.needs else {None: fake.images}
        for is_real, images in sides.items():
            for part in to_rgb(images).split(BATCH):
                x = part if getattr(module, "normalize", None) is False else part.float() / 255
                module.update(x) if is_real is None else module.update(x, real=is_real)
        value = module.compute()
        return float(value[0] if isinstance(value, (tuple, list)) else value)


def adapted(name: str, metric: Any) -> Metric:
    """An entry of `metrics.extra` as a Metric; UserError for what is none."""
    if isinstance(metric, Metric):
        return metric
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(metric, torchmetrics.Metric):
        return TorchMetric(name, metric)
    raise UserError(f"metrics.extra.{name} is no metric: give it a _target_ that makes a gan_lab.metrics.Metric, or a "
                    "module of torchmetrics")  # fmt: skip
