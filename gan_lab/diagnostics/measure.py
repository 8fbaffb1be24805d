"""Measure the stability of a run at intervals, without changing the run."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lab.augment.adaptive import Adaptive
from gan_lab.data import to_float
from gan_lab.diagnostics import gradients, spectra
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix, own_randomness, step_randomness
from gan_lab.experiment import Experiment
from gan_lab.metrics.backbones.classifier import ClassifierExtractor
from gan_lab.metrics.images import quantize
from gan_lab.nets import StyledGenerator
from gan_lab.norms import weight_layers
from gan_lab.penalties import PathLength

LEVELS = ("full", "light")
HELD_OUT_IMAGES = 256  # images of each split for `logits/held_out` and `logits/overfit_gap`
FIXED_IMAGES = 64  # images of fixed z for `spread/...`
PATH_IMAGES = 16  # images for `path_length/mean`


@contextmanager
def undisturbed(*nets: nn.Module) -> Iterator[None]:
    """Restore buffers and training modes of the nets after the block."""
    layers = [layer for net in nets for layer in net.modules()]
    modes = [layer.training for layer in layers]
    buffers = [
        (layer._buffers, name, b, b.clone()) for layer in layers for name, b in layer._buffers.items() if b is not None
    ]
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
        for home, name, buffer, content in buffers:
            home[name] = buffer.copy_(content)


def parts(exp: Experiment) -> list[nn.Module]:
    """Return the modules that a forward pass of training may change: G, D and the augmentation."""
    return [part for part in (exp.G, exp.D, exp.augment) if part is not None]


def _trained(net: nn.Module) -> list[nn.Parameter]:
    return [p for p in net.parameters() if p.requires_grad]


def _gradients_of(net: nn.Module) -> list[Tensor] | None:
    """Return the gradients of the last update, zeros where a parameter has none. None before the first update."""
    trained = _trained(net)
    if all(p.grad is None for p in trained):
        return None
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in trained]


@torch.no_grad()
def draw_fakes(exp: Experiment, count: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Draw z and classes, and generate images (b c h w) from them. Returns all three."""
    with exp.autocast(), parametrize.cached():
        z, y = exp.G.sample_z(count, exp.device), exp.G.sample_y(count, exp.device)
        return z, y, exp.G(z, y).float()


class Diagnostics:
    """Measure G and D of an experiment after every `every_steps` steps. ValueError for an unknown level.

    The loop calls `before_step` and `after_step` around every step (they do nothing unless the step ends in a
    measurement), and `measure` when `due`. Every rank calls them with its share of the batch, and all return the same
    values. Weights, buffers, gradients, modes and random generators of the run are restored bit for bit.

    The catalogue defines the keys. Reals are those of this step, fakes are new. Gradients of D's loss are taken in
    training mode, after augmentation, without penalties. `grad_cosine` is left out if there is no earlier gradient
    (right after a resume) or one is zero; `update_ratio` if a net stood still for want of a gradient, which one hinge
    step beyond its margin does to D; `logits/held_out` if there is no test split.

    One measurement costs little more than a training step (CNN nets on a CPU), light or full; Inception features, at
    level full only, cost several.
    """

    def __init__(self, experiment: Experiment, level: str, every_steps: int, seed: int) -> None:
        if level not in LEVELS:
            raise ValueError(f"level must be {' or '.join(LEVELS)}, got {level!r}")
        if every_steps < 1:
            raise ValueError(f"every_steps must be at least 1, got {every_steps}")
        self.exp, self.full, self.every_steps, self.seed = experiment, level == "full", every_steps, seed
        self._nets: dict[str, nn.Module] = {"g": experiment.G, "d": experiment.D}
        self._before: dict[str, tuple[list[Tensor], list[Tensor] | None]] = {}  # weights and gradients, by side
        self._step_values: dict[str, float] = {}

    @classmethod
    def of(cls, exp: Experiment) -> Self | None:
        """Make it from the run's settings. It measures at log intervals only. None for level off."""
        settings, log_every = exp.config.monitor, exp.config.trainer.log_every_steps
        if settings.level == "off":
            return None
        every = math.ceil(settings.every_steps / log_every) * log_every
        return cls(exp, settings.level, every, exp.config.seed)

    def due(self, step: int) -> bool:
        """Return whether to measure after `step` steps."""
        return step > 0 and step % self.every_steps == 0

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Keep weights and gradients for `after_step`. `step`: steps done so far; their gradients must still exist."""
        self._step_values, self._before = {}, {}
        if self.due(step + 1):
            for side, net in self._nets.items():
                weights, grads = [p.clone() for p in _trained(net)], _gradients_of(net)
                self._before[side] = weights, None if grads is None else [g.clone() for g in grads]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Compare with the state before the step. `step`: steps done; the gradients of the last must still exist."""
        for side, (weights, earlier) in self._before.items():
            moved = gradients.total_norm(
                now - was for now, was in zip(_trained(self._nets[side]), weights, strict=True)
            )
            length = gradients.total_norm(weights)
            grads = _gradients_of(self._nets[side])
            norm = math.nan if grads is None else gradients.total_norm(grads)
            if length > 0 and (moved, norm) != (0, 0):
                self._step_values[f"update_ratio/{side}"] = moved / length
            if grads is None:
                continue
            if side == "g":
                self._step_values["grad/g/joint"] = norm
            if earlier is not None and (lengths := norm * gradients.total_norm(earlier)) != 0:
                dot = sum(float((a * b).sum()) for a, b in zip(grads, earlier, strict=True))
                self._step_values[f"grad_cosine/{side}"] = dot / lengths
        self._before = {}

    def measure(self, step: int, real: Tensor, y: Tensor | None = None) -> dict[str, float]:
        """Return all diagnostics after `step` steps. real: this step's batch, b c h w in [-1, 1]; y: its classes."""
        exp = self.exp
        with own_randomness(mix(self.seed, "monitor", step), exp.device), undisturbed(*parts(exp)):
            values = self._step_values | self._held_out(len(real) * collectives.size())
            values |= self._weights() | self._spread() | self._path_length()
            with step_randomness(mix(self.seed, "monitor"), step, 0, exp.device):
                values |= self._gradients(real.detach(), y)
        if isinstance(exp.augment, Adaptive):
            values[exp.augment.diagnostic] = float(exp.augment.p)
        self._step_values = {}
        return values

    def _gradients(self, real: Tensor, y: Tensor | None) -> dict[str, float]:
        exp, D = self.exp, self.exp.augmented_discriminator()
        if next(weight_layers(exp.D), None) is None:
            return {}
        _, fake_y, fake = draw_fakes(exp, len(real))
        images = [real.clone().requires_grad_(), fake.requires_grad_()]

        def loss() -> Tensor:
            with exp.autocast():
                of_real, of_fake = exp.logits_of_both(D, images[0], images[1], y, fake_y)
                return exp.d_loss(of_real[0], of_fake[0])

        found = gradients.gradients(exp.D, loss, images)
        lengths = torch.stack([i.detach().flatten(1).norm(dim=1).mean() for i in images]).sum()
        slopes = torch.cat(found.inputs).flatten(1).norm(dim=1).mean() * len(real)
        collectives.average_(
            [*found.effective.values(), *(g for layer in found.raw.values() for g in layer), lengths, slopes]
        )
        effective, raw = gradients.layer_norms(found.effective), gradients.layer_norms(found.raw)
        values = {
            "grad/effective/joint": math.hypot(*effective.values()),
            "grad/raw/joint": math.hypot(*raw.values()),
            "grad/input": float(slopes),
            "grad/bound": gradients.gradient_bound(exp.D) * float(lengths),
        }
        if self.full:
            values |= {f"grad/effective/{layer}": norm for layer, norm in effective.items()}
            values |= {f"grad/raw/{layer}": norm for layer, norm in raw.items()}
        return values

    @torch.no_grad()
    def _held_out(self, batch: int) -> dict[str, float]:
        count = min(HELD_OUT_IMAGES, self.exp.dataset.num_test, self.exp.dataset.num_train)
        if count < 2:
            return {}
        count -= count % batch if count > batch else 0  # full batches only: a net may use batch statistics
        held_out, seen = (self._logits(split, count, batch) for split in ("test", "train"))
        return {
            "logits/held_out": float(held_out.mean()),
            "logits/held_out_sign": float(held_out.sign().mean()),
            "logits/overfit_gap": float(seen.mean() - held_out.mean()),
        }

    def _logits(self, split: str, count: int, batch: int) -> Tensor:
        """Return D's logits for `count` images evenly spaced over the split."""
        exp = self.exp
        D, labels = exp.augmented_discriminator(), exp.dataset.labels(split)
        logits = []
        with exp.autocast(), parametrize.cached():
            for part in exp.dataset.evenly_spaced(split, count).split(batch):
                images = to_float(exp.dataset.images(split, part).to(exp.device))
                logits.append(D(images, labels[part].to(exp.device) if exp.D.num_classes else None))
        return torch.cat(logits)

    def _weights(self) -> dict[str, float]:
        D, values = self.exp.D, {"sigma_product": spectra.sigma_product(self.exp.D)}
        if not self.full:
            return values
        values |= {f"variance/{layer}": number for layer, number in spectra.variances(D).items()}
        for name, layer in weight_layers(D):
            values |= {f"variance_{k}/{name}": v for k, v in spectra.variance_references(layer).items()}
        for name, (out, into) in spectra.exact_sigmas(D).items():
            values |= {f"sigma_exact_out/{name}": out, f"sigma_exact_in/{name}": into}
        return values

    @torch.no_grad()
    def _spread(self) -> dict[str, float]:
        exp, extractor = self.exp, getattr(self.exp.evaluator, "extractor", None)
        with own_randomness(mix(self.seed, "monitor"), exp.device), undisturbed(exp.G):
            exp.G.eval()
            z, y = exp.G.sample_z(FIXED_IMAGES, exp.device), exp.G.sample_y(FIXED_IMAGES, exp.device)
            images = exp.G(z, y).float()
        values = {"spread/pixels": _mean_distance(images.flatten(1)) / images[0].numel() ** 0.5}
        affordable = self.full or isinstance(extractor, ClassifierExtractor)
        if extractor is not None and affordable and bool(torch.isfinite(images).all()):
            values["spread/features"] = _mean_distance(extractor(quantize(images))["features"].float())
        return values

    def _path_length(self) -> dict[str, float]:
        exp = self.exp
        for penalty in exp.penalties.values():
            if isinstance(penalty, PathLength):
                return {"path_length/mean": float(penalty.mean_length)}
        G = exp.G
        if not (self.full and isinstance(G, StyledGenerator)):
            return {}
        with torch.enable_grad():
            styles = G.styles(G.sample_z(PATH_IMAGES, exp.device), G.sample_y(PATH_IMAGES, exp.device))
            return {"path_length/mean": float(PathLength().lengths(styles, G.synthesis(styles)).detach().mean())}


def _mean_distance(rows: Tensor) -> float:
    return float(F.pdist(rows.cpu() if rows.is_mps else rows).mean())  # torch has no pdist on Apple's devices
