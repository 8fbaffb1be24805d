"""The runs of detection_study.py: settings that learn on shapes in minutes, and ways to make them fail."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gan_lab.penalties import Batch, Penalty

HERE = __name__  # runs find the classes below by it
DETECTION = {"progress_steps": 150}  # the one setting that is not the default: the runs are very short


class Jump:
    """A schedule: `before`, and from `at_images` images on `after`."""

    def __init__(self, before: float, after: float, at_images: float) -> None:
        self.before, self.after, self.at_images = before, after, at_images

    def __call__(self, images_seen: float) -> float:
        return self.after if images_seen >= self.at_images else self.before


class NaNFrom(Penalty):
    """Nothing, and from `at_images` images on NaN."""

    def __init__(self, at_images: float) -> None:
        super().__init__(Jump(0.0, math.nan, at_images), 1, "d")

    def forward(self, batch: Batch) -> Any:
        assert batch.fake_logits is not None
        return batch.fake_logits.sum() * self.factor  # by the clock 0, then NaN


@dataclass(frozen=True)
class Base:
    """A setting that learns: overrides, steps, learning rate of both nets, batch size, updates of D per step."""

    words: tuple[str, ...]
    lr: float
    steps: int = 300
    batch: int = 32
    n_dis: int = 1


def _adam(beta1: float, beta2: float) -> tuple[str, ...]:
    return ("optimizer=adam", f"optimizer.g.betas=[{beta1},{beta2}]", f"optimizer.d.betas=[{beta1},{beta2}]")


PLAIN = (  # fixed here, so that a new default does not change the study
    "generator=dcgan", "discriminator=dcgan_plain", "norm=none", "loss=relativistic", "penalty=r1r2", "augment=none",
    "ema.halflife_images=20000",
)  # fmt: skip

BASES = {
    "relativistic": Base(_adam(0.0, 0.99), 2e-3),
    "sn_hinge": Base(("norm=sn", "loss=hinge", "penalty=none", *_adam(0.5, 0.999), "ema.halflife_images=2000"), 1e-3,
                     steps=400),
    "bssn_hinge": Base(("norm=bssn", "loss=hinge", "penalty=none", *_adam(0.5, 0.999)), 1e-3),
    "ns_r1": Base(("loss=nonsaturating", "penalty=r1", "penalty.r1.weight=1.0", "penalty.r1.interval=4",
                   *_adam(0.0, 0.99)), 2e-3),
    "minimax_r1r2": Base(("loss=minimax", *_adam(0.0, 0.99)), 2e-3),
    "hinge_gp0": Base(("loss=hinge", "penalty=gp_zero", *_adam(0.5, 0.99)), 1e-3),
    "ls_r1r2": Base(("loss=least_squares", *_adam(0.0, 0.99)), 1e-3),
    "wgan_gp": Base(("loss=wasserstein", "penalty=gp", *_adam(0.0, 0.9)), 1e-3, n_dis=2),
    "wn_r1r2": Base(("norm=wn", *_adam(0.0, 0.99)), 2e-3),
    "bssn_r1r2": Base(("norm=bssn", *_adam(0.0, 0.99)), 2e-3),
    "ortho": Base(("recipe=ortho", *_adam(0.5, 0.999)), 1e-3, steps=400),
    "dcgan": Base(("recipe=dcgan", *_adam(0.5, 0.999)), 1e-3),
    "wn_gan": Base(("recipe=wn_gan",), 5e-4, steps=400),
    "resnet_sn": Base(("recipe=sngan_resnet", "width=0.125", "optimizer.lr_scale=1.0", "ema.halflife_images=2000"),
                      2e-4, steps=450, batch=16, n_dis=2),
}  # fmt: skip


def _late(setting: str, before: float, after: float, images: float) -> str:
    return f"{setting}={{_target_: {HERE}.Jump, before: {before}, after: {after}, at_images: {images}}}"


FAULTS: dict[str, Callable[[Base, float], list[str]]] = {  # from a base and its images until half-way
    "lr x 100": lambda b, half: [f"optimizer.g.lr={100 * b.lr}", f"optimizer.d.lr={100 * b.lr}"],
    "lr x 100, half-way": lambda b, half: [_late("optimizer.lr_scale", 1.0, 100.0, half)],
    "D frozen": lambda b, half: ["optimizer.d.lr=1e-9"],
    "D frozen, half-way": lambda b, half: [_late("optimizer.d.lr", b.lr, 1e-9, half)],
    "mode collapse": lambda b, half: ["norm=none", "penalty=none", "trainer.n_dis=1", f"optimizer.g.lr={50 * b.lr}"],
    "NaN, half-way": lambda b, half: [f"+penalty.nan={{_target_: {HERE}.NaNFrom, at_images: {half}}}"],
    "dead D": lambda b, half: ["norm=none", "penalty=clip", "penalty.clip.bound=1e-5"],
    "penalty x 1e6": lambda b, half: ["penalty=r1", "penalty.r1.interval=1", "penalty.r1.weight=1e6"],
}


@dataclass(frozen=True)
class Case:
    """One run of the study; `fault` is None for one that should be healthy."""

    purpose: str  # tuning or test
    base: str
    fault: str | None
    seed: int

    @property
    def name(self) -> str:
        """Also the run's folder."""
        return "-".join([self.base, *(self.fault or "healthy").replace(",", "").split(), str(self.seed)])

    def overrides(self) -> list[str]:
        """The run's command, later words overruling earlier ones."""
        base = BASES[self.base]
        half = base.steps // 2 * base.batch * base.n_dis
        words = [
            "width=0.25", "metrics=shapes", "metrics.num_samples=1000", "metrics.precision_recall=false",
            "monitor=light", "monitor.every_steps=50", "stop_on_collapse=false", f"extensions=[{HERE}]",
            *(() if base.words[0].startswith("recipe=") else PLAIN), *base.words,
            f"optimizer.g.lr={base.lr}", f"optimizer.d.lr={base.lr}",
            f"trainer.batch_size={base.batch}", f"trainer.n_dis={base.n_dis}", f"trainer.total_steps={base.steps}",
            "trainer.eval_every_steps=50", "trainer.log_every_steps=10", "trainer.sample_every_steps=0",
            "trainer.checkpoint_every_steps=0", "trainer.threads=1", "trainer.device=cpu", f"seed={self.seed}",
            *(f"++monitor.detection.{key}={number}" for key, number in DETECTION.items()),
        ]  # fmt: skip
        changes = FAULTS[self.fault](base, half) if self.fault else []
        if any(word.startswith("penalty=") for word in changes):
            words = [word for word in words if not word.startswith("penalty")]
        return list({word.split("=", 1)[0]: word for word in [*words, *changes]}.values())


TUNED_ON = {  # fault: bases with seed 0, bases with seed 13
    "lr x 100": (("sn_hinge",), ("relativistic", "ns_r1", "wgan_gp", "dcgan")),
    "lr x 100, half-way": (("ns_r1",), ("relativistic", "minimax_r1r2", "hinge_gp0", "wn_r1r2")),
    "D frozen": (("sn_hinge",), ("bssn_hinge", "ns_r1", "wgan_gp", "dcgan")),
    "D frozen, half-way": (("relativistic",), ("sn_hinge", "ls_r1r2", "wgan_gp", "minimax_r1r2")),
    "mode collapse": (("relativistic",), ("relativistic", "ns_r1", "minimax_r1r2", "sn_hinge")),
    "NaN, half-way": (("relativistic",), ("wgan_gp", "dcgan", "bssn_hinge")),
    "dead D": (("relativistic",), ("ns_r1", "ls_r1r2", "hinge_gp0")),
    "penalty x 1e6": (("relativistic",), ("ns_r1", "bssn_hinge")),
}
NEW_LATER = ("bssn_r1r2", "ortho")  # bases that the first tuning set lacks
IMPOSSIBLE = (("penalty x 1e6", "dcgan"),)  # R1 is of single samples, which BatchNorm couples


def every_third(fault: str, offset: int) -> Iterator[str]:
    """A third of the bases, another one for each fault."""
    number = [*FAULTS].index(fault) + offset
    for place, base in enumerate(BASES):
        if (place + number) % 3 == 0 and (fault, base) not in IMPOSSIBLE:
            yield base


def cases() -> Iterator[Case]:
    """All runs. Those with seeds above 30 are the test set, which takes for each fault every third base."""
    for base in BASES:
        earlier = (21, 22) if base in NEW_LATER else (0, 11, 12, 21, 22)
        yield from (Case("tuning", base, None, seed) for seed in earlier)
        yield from (Case("test", base, None, seed) for seed in (31, 32))
    for fault in FAULTS:
        for bases, seed in zip(TUNED_ON[fault], (0, 13), strict=True):
            yield from (Case("tuning", base, fault, seed) for base in bases)
        yield from (Case("tuning", base, fault, 23) for base in every_third(fault, 0))
        yield from (Case("test", base, fault, 33) for base in every_third(fault, 1))
