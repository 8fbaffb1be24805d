"""From a checked configuration to objects."""

import copy
import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lab.augment.base import Augment
from gan_lab.combinations import check_classes, check_sense
from gan_lab.config.check import check
from gan_lab.config.instantiate import Maker
from gan_lab.config.schema import Config
from gan_lab.config.targets import check_nodes, locate
from gan_lab.data import Dataset
from gan_lab.data.moved import Known, with_known_name
from gan_lab.diagnostics.collapse import Detector
from gan_lab.diagnostics.extra import check_extra
from gan_lab.distributed.device import pick_device
from gan_lab.distributed.randomness import mix
from gan_lab.errors import UserError
from gan_lab.experiment import Experiment, OptimizerSchedules, Schedules
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.losses import TopK, by_name, needs_reals
from gan_lab.metrics.settings import prepare
from gan_lab.nets import Discriminator, Generator, StyledGenerator, couples_samples
from gan_lab.nets.build import generator_norm
from gan_lab.nets.sampling import batch_norms
from gan_lab.norms import apply_weight_norm
from gan_lab.norms.activation import BatchNorm2d
from gan_lab.penalties import PathLength, Penalty
from gan_lab.schedules import value

log = logging.getLogger(__name__)


def _nets(config: Config, dataset: Dataset, make: Maker) -> tuple[Generator, Discriminator]:
    """G and D with their weight norms, each from its own seed so that changing one leaves the other's start alone."""
    properties = {name: getattr(dataset, name) for name in ("resolution", "channels", "num_classes")}
    nets: list[Any] = []
    for (key, base), norm in zip(_NETS.items(), _norms(config), strict=True):
        torch.manual_seed(mix(config.seed, key))
        net = make.instance(key, getattr(config, key), base, **properties)
        made = make("norm", norm) if norm else None
        try:
            nets.append(apply_weight_norm(net, made))
        except ValueError as error:
            raise UserError(f"norm of {key}._target_={getattr(config, key)['_target_']}: {error}") from error
    return nets[0], nets[1]


_NETS: dict[str, type[nn.Module]] = {"generator": Generator, "discriminator": Discriminator}


def _norms(config: Config) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The nodes of G's and D's weight norms; None or empty without one."""
    return generator_norm(config.norm.get("generator")), {k: v for k, v in config.norm.items() if k != "generator"}


def _optimizer(
    key: str, node: dict[str, Any], net: nn.Module, make: Maker
) -> tuple[torch.optim.Optimizer, OptimizerSchedules]:
    node = dict(node)
    schedules = OptimizerSchedules(make.schedule(f"{key}.lr", node["lr"]))
    node["lr"] = value(schedules.lr, 0.0)
    if "betas" in node:
        first, second = (make.schedule(f"{key}.betas", b) for b in node["betas"])
        schedules.betas = (first, second)
        node["betas"] = [value(first, 0.0), value(second, 0.0)]
    params = [p for p in net.parameters() if p.requires_grad]
    takes = make.parameters(key, node)
    on_gpu, on_apple = params[0].is_cuda, params[0].is_mps
    annealed = schedules.betas is not None and any(map(callable, schedules.betas))
    if on_gpu and annealed and node["_target_"] == "torch.optim.Adam" and node.keys() <= _ANNEALED_ADAM:
        return AnnealedAdam(params, node["lr"], tuple(node["betas"]), node.get("eps", 1e-8)), schedules
    if "fused" in takes:
        # One pass, which can also leave out a step that is not finite; on Apple's devices it does not.
        node.setdefault("fused", not on_apple)
    elif "capturable" in takes and on_gpu:
        node.setdefault("capturable", True)
        if "foreach" in takes:
            node.setdefault("foreach", True)  # the form that reads its learning rate from a tensor without a wait
    return make(key, node, params=params), schedules


_ANNEALED_ADAM = {"_target_", "lr", "betas", "eps"}  # the settings that AnnealedAdam has


def _make_penalties(config: Config, generator: Any, make: Maker) -> nn.ModuleDict:
    """The penalties of a configuration. generator: G's class."""
    made = nn.ModuleDict()
    for name, node in config.penalty.items():
        penalty = make.instance(f"penalty.{name}", node, Penalty)
        if isinstance(penalty, PathLength) and not issubclass(generator, StyledGenerator):
            raise UserError(f"penalty.{name} needs a generator with styles; choose generator=stylegan2 "
                            "or another penalty")  # fmt: skip
        if any(p.requires_grad for p in penalty.parameters()):
            raise UserError(f"penalty.{name}: {type(penalty).__name__} has parameters, which no optimizer trains; keep "
                            "what it remembers in buffers")  # fmt: skip
        made[name] = penalty
    return made


def _penalties(config: Config, G: nn.Module, D: Discriminator, make: Maker) -> nn.ModuleDict:
    made = _make_penalties(config, type(G), make)
    penalties: dict[str, Any] = dict(made.items())
    wanted = D.trained_by_penalties()
    for name, penalty in penalties.items():
        if penalty.trains is not None and penalty.trains not in wanted.items():
            setting, kind = penalty.trains
            what = "the classes" if setting == "condition" else "a head"
            raise UserError(f"penalty.{name} trains {what} of a discriminator with discriminator.{setting}={kind}; "
                            "set it, or choose another penalty")  # fmt: skip
    for setting, kind in wanted.items():
        if {p.side for p in penalties.values() if p.trains == (setting, kind)} != {"d", "g"}:
            raise UserError(f"discriminator.{setting}={kind} needs its loss for D and G: "
                            f"add penalty={kind}, or [{kind},...] beside others")  # fmt: skip
    return made


def _augment(config: Config, make: Maker, device: torch.device) -> Augment | None:
    return None if config.augment is None else make.instance("augment", config.augment, Augment).to(device)


def build(cfg: DictConfig | Config, known: Known | None = None) -> Experiment:
    """Check a configuration and build all of it: data, nets, norms, losses, penalties, optimizers, metrics.

    known: name and sha256 of the images of an earlier part of the run. The result's `.G` and `.D` are ready to use.
    Raises UserError, one sentence, for whatever does not fit.
    """
    config = check(cfg)
    device = pick_device(config.trainer.device)
    make = Maker.of(config)
    before = partial(prepare, config.metrics, config.extensions)  # so that a missing backbone is known early
    dataset: Dataset = make("dataset", config.dataset, data_dir=config.data_dir, before_packing=before)
    dataset = with_known_name(dataset, known or {})
    make.common |= {"resolution": dataset.resolution, "epoch_images": dataset.num_train}
    G, D = _nets(config, dataset, make)
    check_classes(dataset, G, D)
    if G.num_classes:
        _set_classes(G, dataset, config.trainer.fake_labels)
    order = torch.channels_last
    G, D = G.to(device, memory_format=order), D.to(device, memory_format=order)  # type: ignore[call-overload]
    optimizer_g, schedules_g = _optimizer("optimizer.g", config.optimizer.g, G, make)
    optimizer_d, schedules_d = _optimizer("optimizer.d", config.optimizer.d, D, make)
    losses = {side: make(f"loss.{side}", getattr(config.loss, side)) for side in ("d", "g")}
    d_loss, g_loss = (by_name(f"loss.{side}", loss) for side, loss in losses.items())
    top_k = make.schedule("loss.top_k", config.loss.top_k)
    exp = Experiment(
        config=config,
        device=device,
        dataset=dataset,
        d_loss=d_loss,
        g_loss=g_loss if top_k == 1.0 else TopK(g_loss, top_k, device),
        g_loss_needs_reals=needs_reals(losses["g"]),
        schedules=Schedules(
            schedules_g,
            schedules_d,
            lr_scale=make.schedule("optimizer.lr_scale", config.optimizer.lr_scale),
            ema_halflife_images=make.schedule("ema.halflife_images", config.ema.halflife_images),
        ),
        evaluator=_evaluator(config, dataset, G, device),
        joint_forward=not couples_samples(D),
        extra_diagnostics=check_extra({k: make(f"monitor.extra.{k}", v) for k, v in config.monitor.extra.items()}),
        G=G,
        D=D,
        G_ema=copy.deepcopy(G).eval().requires_grad_(False),
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        penalties=_penalties(config, G, D, make).to(device),
        augment=_augment(config, make, device),
        detector=Detector(config.monitor.detection),
        skipped={name: torch.zeros((), device=device) for name in ("total", "d", "g")},
    )
    exp.rank_statistics = _rank_statistics(config, G, D)
    check_sense(config, exp)
    return exp


def check_fit(config: Config, *, here: bool = True) -> None:
    """Raise UserError for what does not fit and can be known without data and nets. Writes and fetches nothing.

    here: whether the run is one of this machine, whose device and files are then looked at too.
    """
    make = Maker.of(config)
    make.common |= {"resolution": config.dataset.get("resolution") or 32, "epoch_images": 1.0}  # as schedules ask
    found = locate(config.generator["_target_"], "generator", tuple(config.extensions))
    generator = found if inspect.isclass(found) and issubclass(found, Generator) else Generator
    for norm in _norms(config):
        if norm:
            make("norm", norm)
    for side, optimizer in (("g", config.optimizer.g), ("d", config.optimizer.d)):
        by_name(f"loss.{side}", make(f"loss.{side}", getattr(config.loss, side)))
        make.schedule(f"optimizer.{side}.lr", optimizer["lr"])
        for beta in optimizer.get("betas", ()):
            make.schedule(f"optimizer.{side}.betas", beta)
    make.schedule("optimizer.lr_scale", config.optimizer.lr_scale)
    make.schedule("loss.top_k", config.loss.top_k)
    make.schedule("ema.halflife_images", config.ema.halflife_images)
    _make_penalties(config, generator, make)
    _augment(config, make, torch.device("cpu"))
    Detector(config.monitor.detection)
    if config.metrics is not None:
        check_truncation(config.metrics.get("truncation", 1), generator)
    if here:
        pick_device(config.trainer.device)
        prepare(config.metrics, config.extensions, fetch=False)


def _set_classes(G: Generator, dataset: Dataset, fake_labels: str) -> None:
    """Tell G which classes to draw, and how often: each as often as the others, or as in the training data."""
    labels = dataset.labels("train")
    if dataset.multi_label:
        rows, counts = torch.unique(labels, dim=0, return_counts=True)
        G.use_label_rows(len(rows))
        G.label_rows.copy_(rows)
    else:
        counts = torch.bincount(labels, minlength=G.num_classes)
    if fake_labels == "data":
        G.class_weights.copy_(counts / counts.sum())


def _rank_statistics(config: Config, *nets: nn.Module) -> list[Tensor]:
    """Tell every BatchNorm whether to look at all processes; returns the running statistics of those that do not."""
    own = []
    for layer in (m for net in nets for m in net.modules() if isinstance(m, _BatchNorm)):
        layer.synchronize = config.trainer.sync_batchnorm and isinstance(layer, BatchNorm2d)  # type: ignore[assignment]
        if not layer.synchronize and layer.running_mean is not None and layer.running_var is not None:
            own += [layer.running_mean, layer.running_var]
    return own


def _evaluator(config: Config, dataset: Dataset, G: Generator, device: torch.device) -> Any:
    """The evaluator of the run, or None; without an average the EMA weights are the raw ones, and it says so."""
    if config.metrics is None:
        return None
    node = dict(config.metrics)
    if config.ema.halflife_images == 0 and "ema" in node:
        node["ema"] = False
    evaluator = build_evaluator(
        node, config.extensions, dataset=dataset, cache_dir=Path(config.data_dir) / "statistics", device=device,
        conditional=bool(G.num_classes), fake_labels=config.trainer.fake_labels,
    )  # fmt: skip
    check_truncation(evaluator.truncation, type(G))
    if evaluator.standing_statistics:
        batch_norms(G)
    return evaluator


def check_truncation(truncation: float, generator: type[Generator]) -> None:
    """Raise UserError where an evaluation asks for truncation of a class of generators that has none."""
    if truncation != 1 and not generator.supports_truncation:
        raise UserError(f"metrics.truncation={truncation:g}: {generator.__name__} has no truncation; leave it at 1")


def build_evaluator(node: Mapping[str, Any], extensions: Sequence[str] = (), **properties: Any) -> Any:
    """The evaluator of a node of conf/metrics; UserError for a key, type or value that does not fit.

    properties: the dataset, the cache_dir of its statistics, the device, and how the generator is given classes.
    """
    node = dict(node)
    check_nodes({"metrics": node}, tuple(extensions))
    return Maker(tuple(extensions))("metrics", node, **properties)
