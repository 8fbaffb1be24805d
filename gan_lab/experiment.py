"""Everything that training changes, in one place, so that a checkpoint cannot forget any of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.builder import Experiment
from gan_lab.diagnostics.collapse import Detector
from gan_lab.kernels.adam import match_memory_order
from gan_lab.training.ema import make_ema

_MODULE_LIKE = ("state_dict", "load_state_dict")


@dataclass
class TrainState:
    """The changing part of a run. Its `state_dict` walks the fields; random numbers need none (see randomness)."""

    G: nn.Module
    D: nn.Module
    G_ema: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    penalties: nn.ModuleDict
    augment: nn.Module | None
    detector: Detector
    skipped: dict[str, Tensor]  # updates that were not finite: total, and in a row for d and g
    step: int = 0  # updates of G so far
    substep: int = 0  # updates of D in the step that is under way, above 0 only where a step broke off
    wall_seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)  # metric, value, step, evaluations it was chosen from
    log_sums: dict[str, Tensor] = field(default_factory=dict)  # "name,name": sums and counts since the last interval
    events: list[dict[str, Any]] = field(default_factory=list)  # what the detector reported
    pending_events: list[dict[str, Any]] = field(default_factory=list)  # of these, not yet in an evaluation's row

    @classmethod
    def start(cls, experiment: Experiment) -> TrainState:
        """The state before the first step."""
        x = experiment
        return cls(
            G=x.G,
            D=x.D,
            G_ema=make_ema(x.G),
            optimizer_g=x.optimizer_g,
            optimizer_d=x.optimizer_d,
            penalties=nn.ModuleDict({k: p for k, p in x.penalties.items() if isinstance(p, nn.Module)}),
            augment=x.augment,
            detector=Detector(x.config["monitor"]["detection"]),
            skipped={name: torch.zeros((), device=x.device) for name in ("total", "d", "g")},
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that `torch.load(weights_only=True)` reads it."""
        return {f.name: _pack(getattr(self, f.name)) for f in fields(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take every field over; KeyError for a missing one, torch's error for tensors that do not fit."""
        for f in fields(self):
            current = getattr(self, f.name)
            if all(hasattr(current, name) for name in _MODULE_LIKE):
                current.load_state_dict(state[f.name])
                if isinstance(current, torch.optim.Optimizer):
                    match_memory_order(current)
            else:
                setattr(self, f.name, _onto(current, state[f.name]))


def _onto(current: Any, loaded: Any) -> Any:
    """The loaded value, its tensors on the device of those it replaces."""
    if isinstance(loaded, dict):
        return {k: _onto(current.get(k), v) if isinstance(current, dict) else v for k, v in loaded.items()}
    return loaded.to(current.device) if isinstance(current, Tensor) and isinstance(loaded, Tensor) else loaded


def _pack(value: Any) -> Any:
    return value.state_dict() if all(hasattr(value, name) for name in _MODULE_LIKE) else value
