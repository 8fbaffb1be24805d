"""Your own diagnostics: `monitor.extra: {name: {_target_: my_module.MyDiagnostic}}`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.diagnostics.catalogue import ROW_KEYS, Diagnostic, find
from gan_lab.diagnostics.measure import LEVELS, draw_fakes, parts, undisturbed
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix, own_randomness, step_randomness
from gan_lab.errors import UserError
from gan_lab.experiment import Experiment, OwnDiagnostic
from gan_lab.penalties import Batch


def check_extra(extra: dict[str, OwnDiagnostic]) -> dict[str, OwnDiagnostic]:
    """Check `extra` (name -> object) and return it. UserError if one declares no diagnostics, or a key already used."""
    taken = [Diagnostic(key, "") for key in ROW_KEYS]
    for name, own in extra.items():
        where, entries = f"monitor.extra.{name}", getattr(own, "diagnostics", None)
        declared = isinstance(entries, (list, tuple)) and entries and all(isinstance(e, Diagnostic) for e in entries)
        if not (declared and callable(getattr(own, "measure", None))):
            raise UserError(f"{where}: {type(own).__name__} needs a method measure(batch) and a tuple `diagnostics` of "
                            "gan_lab.diagnostics.catalogue.Diagnostic")  # fmt: skip
        for entry in own.diagnostics:
            if find(entry.key, taken) is not None:
                raise UserError(f"{where}: the key {entry.key!r} is already that of another number of train.jsonl")
            if entry.when not in LEVELS:
                raise UserError(f"{where}: {entry.key} has when={entry.when!r}; must be {' or '.join(LEVELS)}")
            taken.append(entry)
    return extra


def measure_extra(exp: Experiment, real: Tensor, y: Tensor | None = None) -> dict[str, float]:
    """Measure the diagnostics of `monitor.extra` after this step. Returns means over ranks.

    real, y: the step's batch (b c h w, in [-1, 1]) and its classes. Each object has its own random numbers, and its
    changes to G and D are undone. UserError for a value that is not a number, or that its `diagnostics` do not declare.
    """
    values: dict[str, float] = {}
    for name, own in exp.extra_diagnostics.items():
        if exp.config.monitor.level != "full" and all(entry.when == "full" for entry in own.diagnostics):
            continue
        seed, device = mix(exp.config.seed, "monitor", name), exp.device
        with own_randomness(seed, device), step_randomness(seed, exp.step, 0, device), _restored(*parts(exp)):
            found = own.measure(_batch(exp, real.detach().clone(), None if y is None else y.clone()))
        values |= _numbers(f"monitor.extra.{name}", own.diagnostics, found)
    return values


@contextmanager
def _restored(*nets: nn.Module) -> Iterator[None]:
    """Restore parameters, their gradients and `requires_grad`, buffers and modes after the block.

    Inside the block, parameters have no gradients.
    """
    kept = [(p, p.grad, p.requires_grad, p.detach().clone()) for net in nets for p in net.parameters()]
    for p, *_ in kept:
        p.grad = None
    try:
        with undisturbed(*nets):
            yield
    finally:
        with torch.no_grad():
            for p, grad, trained, content in kept:
                p.requires_grad_(trained).copy_(content)
                p.grad = grad


@torch.no_grad()
def _batch(exp: Experiment, real: Tensor, y: Tensor | None) -> Batch:
    """Make a batch of the reals and as many new fakes, with D's logits and features of both."""
    D, (z, fake_y, fake) = exp.augmented_discriminator(), draw_fakes(exp, len(real))
    with exp.autocast():
        of_real, of_fake = exp.logits_of_both(D, real, fake, y, fake_y)
    return Batch(exp.G, D, real, fake, z, of_real[0], of_fake[0], y, fake_y, of_real[1], of_fake[1])


def _numbers(where: str, declared: Sequence[Diagnostic], found: Any) -> dict[str, float]:
    """Check what an object of `monitor.extra` returned, and average it over ranks."""
    if not isinstance(found, Mapping):
        raise UserError(f"{where}: measure must return a dictionary, not {type(found).__name__}")
    for key, value in found.items():
        if not any(entry.matches(str(key)) for entry in declared):
            raise UserError(f"{where}: measure returned {key!r}, which its `diagnostics` do not declare")
        if not isinstance(value, (Tensor, int, float)) or torch.as_tensor(value).numel() != 1:
            raise UserError(f"{where}: {key} must be one number, got {type(value).__name__}")
    numbers = (value.detach() if isinstance(value, Tensor) else value for value in found.values())
    values = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
    return dict(zip(found, collectives.mean(values).tolist(), strict=True))
