"""The experiment: what is trained, what trains it, and everything that training changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gan_lab.augment.base import Augment
from gan_lab.config.schema import Config
from gan_lab.data import Dataset
from gan_lab.errors import UserError
from gan_lab.kernels.adam import load_state
from gan_lab.kernels.flat import flat_groups, keep, put_back
from gan_lab.linalg import float64_device
from gan_lab.losses import DLoss, GLoss
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.nets.base import Discriminator, Generator, at_least_float32
from gan_lab.nets.self_supervision import Features
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


@runtime_checkable
class Stateful(Protocol):
    """What a checkpoint asks of its parts."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> Any: ...


class CollapseDetector(Stateful, Protocol):
    """What the loop asks of collapse detection; see `gan_lab.diagnostics.collapse.Detector`."""

    def observe(self, step: int, values: Any) -> list[Any]: ...

    def observe_evaluation(
        self, step: int, figure: float, lower_is_better: bool, name: str, identity: str = ""
    ) -> list[Any]: ...


class OwnDiagnostic(Protocol):
    """An object of `monitor.extra`: what it measures (`gan_lab.diagnostics.catalogue.Diagnostic`), and how.

    `measure` is given the reals of a step and new fakes; it returns key -> number (or scalar tensor), the same keys on
    every rank. It keeps nothing between calls: checkpoints do not hold it.
    """

    diagnostics: Sequence[Any]

    def measure(self, batch: Batch) -> Mapping[str, Tensor | float]: ...


@dataclass
class OptimizerSchedules:
    """The scheduled settings of one optimizer; `betas` is None for optimizers without them."""

    lr: Schedule
    betas: tuple[Schedule, Schedule] | None = None


@dataclass
class Schedules:
    """Every schedule of a run but those that parts carry themselves: penalties' weights, an augmentation's strength."""

    g: OptimizerSchedules
    d: OptimizerSchedules
    lr_scale: Schedule
    ema_halflife_images: Schedule


def changes(**how: Any) -> Any:
    """A field that training changes, and a checkpoint holds."""
    return field(metadata={"changes": True}, **how)


class Ahead(Protocol):
    """Makes the images for G's update while D is updated (`gan_lab.training.ahead`)."""

    def start(self) -> None:
        """Begin, where it is D's last update before G's."""

    def take(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return G(z, y) with its graph."""

    def close(self) -> None:
        """End what it has begun."""


@dataclass
class Experiment:
    """Everything that a run works with, on its device. Its `state_dict` walks the fields that training changes."""

    config: Config
    device: torch.device
    dataset: Dataset
    d_loss: DLoss
    g_loss: GLoss
    g_loss_needs_reals: bool
    schedules: Schedules
    evaluator: Evaluator | None
    joint_forward: bool  # reals and fakes may share one forward of D: no layer couples samples
    extra_diagnostics: dict[str, OwnDiagnostic]  # of monitor.extra

    G: Generator = changes()
    D: Discriminator = changes()
    G_ema: Generator = changes()  # the average of G's weights
    optimizer_g: torch.optim.Optimizer = changes()
    optimizer_d: torch.optim.Optimizer = changes()
    penalties: nn.ModuleDict = changes()  # name -> Penalty
    augment: Augment | None = changes()
    detector: CollapseDetector = changes()
    skipped: dict[str, Tensor] = changes()  # updates that were not finite: total, and in a row for d and g
    step: int = changes(default=0)  # updates of G so far
    substep: int = changes(default=0)  # updates done in the step that is under way
    wall_seconds: float = changes(default=0.0)
    best: dict[str, Any] = changes(default_factory=dict)  # see `gan_lab.runs.best`
    log_sums: dict[str, Tensor] = changes(default_factory=dict)  # "name,name": sums and counts since the last row
    events: list[dict[str, Any]] = changes(default_factory=list)  # what the detector reported
    pending_events: list[dict[str, Any]] = changes(default_factory=list)  # of these, not yet in an evaluation's row

    ahead: Ahead | None = None  # where the updates are run with an idle core

    def __post_init__(self) -> None:
        parts = [self.G, self.D, self.augment, *self.penalties.values()]
        self.buffers = [b for part in parts if part is not None for b in _persistent_buffers(part)]
        self.buffer_groups = flat_groups(self.buffers)  # the same memory
        self.rank_statistics: list[Tensor] = []  # running statistics that each process gathers for itself

    @property
    def images_seen(self) -> int:
        """Real images that D has seen before the present step: where the schedules stand."""
        return self.step * self.config.images_per_step

    def active_penalties(self, side: str) -> dict[str, Penalty]:
        """The penalties of one side that the next update of it pays for."""
        index = self.step if side == "g" else self.step * self.config.trainer.n_dis + self.substep
        found: dict[str, Any] = dict(self.penalties.items())
        return {name: p for name, p in found.items() if p.side == side and index % p.interval == 0}

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 runs the convolutions in bf16; norms, losses and penalties keep fp32 wherever they ask for it."""
        if self.config.trainer.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def augmented_discriminator(self) -> AugmentedDiscriminator:
        """D as it is trained."""
        return AugmentedDiscriminator(self.D, self.augment)

    def reals_of_d(self, real: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What an update of D takes for reals: the reals (b c h w) and their classes (b), some replaced by APA."""
        return (real, y) if self.augment is None else self.augment.reals(real, y, self._draw_fakes)

    def draw_latents(
        self, n: int, D: AugmentedDiscriminator, penalties: Mapping[str, Penalty]
    ) -> tuple[Tensor, Tensor | None]:
        """Draw z (n z_dim) and classes (n) for the fakes of an update; one of its penalties may move z (LOGAN)."""
        batch = Batch(self.G, D, z=self.G.sample_z(n, self.device), fake_y=self.G.sample_y(n, self.device))
        for penalty in penalties.values():
            batch.z = penalty.latents(batch)
        assert batch.z is not None
        return batch.z, batch.fake_y

    @torch.no_grad()
    def _draw_fakes(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Images of G as it is trained (n c h w) and their classes (n); G's running statistics stay."""
        before = keep(self.buffer_groups)
        z, y = self.G.sample_z(n, self.device), self.G.sample_y(n, self.device)
        with self.autocast():
            fake = at_least_float32(self.G(z, y))
        put_back(self.buffer_groups, before)
        return fake, y

    def logits_of_both(
        self, D: AugmentedDiscriminator, real: Tensor, fake: Tensor, y: Tensor | None, fake_y: Tensor | None
    ) -> tuple[tuple[Tensor, Features], tuple[Tensor, Features]]:
        """(logits, features) of reals and of fakes: one forward of both where no layer couples samples, else two."""
        if not self.joint_forward:
            return D.with_features(real, y), D.with_features(fake, fake_y)
        labels = None if y is None or fake_y is None else torch.cat([y, fake_y])
        logits, features = D.with_features(torch.cat([real, fake]), labels)
        n = len(real)
        return (logits[:n], features[:n]), (logits[n:], features[n:])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that `torch.load(weights_only=True)` reads it."""
        values = {name: getattr(self, name) for name in self._changing()}
        return {name: value.state_dict() if isinstance(value, Stateful) else value for name, value in values.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take every changing field over; KeyError for a missing one, torch's error for tensors that do not fit."""
        for name in self._changing():
            current = getattr(self, name)
            if current is None:  # an augmentation that has been switched off since
                continue
            if isinstance(current, torch.optim.Optimizer):
                load_state(current, state[name])
            elif isinstance(current, Stateful):
                current.load_state_dict(state[name])
            else:
                setattr(self, name, _onto(self.device, state[name]))

    @classmethod
    def _changing(cls) -> list[str]:
        return [f.name for f in fields(cls) if f.metadata.get("changes")]


@dataclass(frozen=True)
class AugmentedDiscriminator:
    """D behind the augmentation, with logits in fp32 at least: what losses and penalties see."""

    module: Discriminator
    augment: Augment | None

    def __call__(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        return self.with_features(images, y)[0]

    def with_features(self, images: Tensor, y: Tensor | None = None) -> tuple[Tensor, Features]:
        """Logits (b) and the features that they were computed from. UserError for logits of another shape."""
        seen = images if self.augment is None else self.augment(images)
        logits, features = self.module(seen, y, return_features=True)
        if logits.shape != images.shape[:1]:
            raise UserError(f"discriminator: {type(self.module).__name__} gives {len(images)} images logits of shape "
                            f"{tuple(logits.shape)}; they must be one number each, of shape (b)")  # fmt: skip
        return at_least_float32(logits), features


def _persistent_buffers(part: nn.Module) -> list[Tensor]:
    """What updates may change besides parameters; buffers that are not saved are constants."""
    kept = part.state_dict(keep_vars=True)
    return [buffer for name, buffer in part.named_buffers() if name in kept]


def _onto(device: torch.device, value: Any) -> Any:
    """Move the tensors of a plain value to the device, those in float64 to one that has it."""
    if isinstance(value, dict):
        return {k: _onto(device, v) for k, v in value.items()}
    if not isinstance(value, Tensor):
        return value
    return value.to(float64_device(device) if value.dtype == torch.float64 else device)
