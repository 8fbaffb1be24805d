"""Use modules of torchmetrics as metrics of an evaluation.

torchmetrics is not imported here, since that takes longer than importing torch. The caller has imported it.
"""

import inspect
import sys
from typing import Any

from gan_lab.errors import UserError
from gan_lab.metrics.base import Figure, Metric, Statistics, is_plain
from gan_lab.metrics.images import to_rgb

BATCH = 100
_OF_EVERY_MODULE = (
    "training", "compute_on_cpu", "dist_sync_on_step", "process_group", "dist_sync_fn", "distributed_available_fn",
    "sync_on_compute", "compute_with_cache",
)  # fmt: skip


class TorchMetric(Metric):
    """Wrap a torchmetrics module whose `update` takes images, or images and `real`. Without `real`, it gets the fakes.

    The figure has the name given in `metrics.extra`, and the module's `higher_is_better`. If the module computes
    several numbers (mean and standard deviation of KID), the first is used. Images are RGB: floats in [0, 1], or uint8
    if the module has `normalize=False` (FID, KID, inception score).
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
        module.sync_on_compute = False  # the images are already gathered from all ranks
        module.reset()
        sides = {True: real.images, False: fake.images} if "real.images" in self.needs else {None: fake.images}
        for is_real, images in sides.items():
            for part in to_rgb(images).split(BATCH):
                x = part if getattr(module, "normalize", None) is False else part.float() / 255
                module.update(x) if is_real is None else module.update(x, real=is_real)
        value = module.compute()
        return float(value[0] if isinstance(value, (tuple, list)) else value)

    def protocol(self) -> dict[str, Any]:
        """Return the module's class and its own plain attributes; lists and dicts are what it has collected."""
        own = {k: v for k, v in vars(self.module).items() if not k.startswith("_") and k not in _OF_EVERY_MODULE}
        return {"kind": self.kind, **{k: v for k, v in own.items() if is_plain(v) and not isinstance(v, (list, dict))}}


def adapted(name: str, metric: Any) -> Metric:
    """Convert an entry of `metrics.extra` to a Metric. UserError if it is neither a Metric nor of torchmetrics."""
    if isinstance(metric, Metric):
        return metric
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(metric, torchmetrics.Metric):
        return TorchMetric(name, metric)
    raise UserError(f"metrics.extra.{name} is no metric: give it a _target_ that makes a gan_lab.metrics.Metric, or a "
                    "module of torchmetrics")  # fmt: skip
