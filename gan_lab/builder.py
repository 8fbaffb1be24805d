"""From a checked configuration to objects. The only user of `hydra.utils.instantiate`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lab.config import check as lint
from gan_lab.config.compose import config_dir, nearest
from gan_lab.data import Dataset
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix
from gan_lab.errors import GanLabError, UserError
from gan_lab.kernels.adam import AnnealedAdam, with_flat_tensors
from gan_lab.nets import Generator, couples_samples
from gan_lab.norms import apply_weight_norm
from gan_lab.norms.activation import BatchNorm2d
from gan_lab.penalties import PathLength
from gan_lab.types import DLoss, GLoss, Penalty, Schedule


@dataclass
class Hyper:
    """The scheduled settings of one optimizer; `betas` is None for optimizers without them."""

    lr: Schedule
    betas: tuple[Schedule, Schedule] | None = None


@dataclass
class Experiment:
    """What a configuration stands for: everything the training step works with, on its device."""

    config: dict[str, Any]
    device: torch.device
    dataset: Dataset
    G: Generator
    D: nn.Module
    d_loss: DLoss
    g_loss: GLoss
    penalties: dict[str, Penalty]
    augment: nn.Module | None
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    hyper_g: Hyper
    hyper_d: Hyper
    lr_scale: Schedule
    ema_halflife_images: Schedule
    evaluator: Any
    joint_forward: bool  # real and fake may share one forward of D: no layer couples samples
    buffers: list[Tensor]  # what updates change besides parameters
    rank_statistics: list[Tensor]  # running statistics that each rank gathers for itself


def pick_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one; a device that is not there is a UserError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and collectives.active():
        device = torch.device("cuda", collectives.local_rank())
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"trainer.device={name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
                        "use trainer.device=auto or cpu")  # fmt: skip
    return device


class _Maker:
    """Builds nodes, passing each the facts its signature asks for, and tells errors by the node's key."""

    def __init__(self, extensions: tuple[str, ...], **common: Any) -> None:
        self.extensions, self.common = extensions, common

    def __call__(self, key: str, node: Mapping[str, Any], **facts: Any) -> Any:
        prepared = self._complete(key, node)
        takes = self.parameters(key, prepared)
        try:
            # As a partial first: facts given to `instantiate` itself would be re-wrapped by OmegaConf.
            made = instantiate({**prepared, "_partial_": True}, _convert_="all")
            if prepared.get("_partial_"):
                return made
            return made(**{k: v for k, v in facts.items() if k in takes and k not in prepared})
        except GanLabError:
            raise
        except InstantiationException as error:
            raise UserError(f"{key}: {error.__cause__ or error}") from error
        except (ValueError, TypeError) as error:
            raise UserError(f"{key}: {error}") from error

    def schedule(self, key: str, setting: Any) -> Schedule:
        """A number as it is, a node as the schedule it describes."""
        return self(key, setting, **self.common) if isinstance(setting, dict) else float(setting)

    def parameters(self, key: str, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return inspect.signature(lint.locate(node["_target_"], key, self.extensions)).parameters

    def _complete(self, key: str, node: Mapping[str, Any]) -> dict[str, Any]:
        """Give inner nodes, such as schedules, the common facts they ask for and do not state themselves."""
        complete = dict(node)
        for name, child in node.items():
            if isinstance(child, dict):
                inner = self._complete(f"{key}.{name}", child)
                if "_target_" in inner:
                    takes = self.parameters(f"{key}.{name}", inner)
                    inner |= {k: v for k, v in self.common.items() if k in takes and k not in inner}
                complete[name] = inner
        return complete


def _generator_norm(setting: str | None) -> dict[str, Any] | None:
    """`norm.generator` names an option of the norm group; G has its default settings."""
    if setting in (None, "none"):
        return None
    path = config_dir() / "norm" / f"{setting}.yaml"
    options = [p.stem for p in (config_dir() / "norm").glob("*.yaml")]
    if setting not in options:
        raise UserError(f"norm.generator={setting}: no such norm{nearest(str(setting), options)}")
    node = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    return {k: v for k, v in node.items() if k != "generator"}


def build_nets(tree: dict[str, Any], facts: dict[str, Any], make: _Maker) -> tuple[Generator, nn.Module]:
    """G and D with their weight norms, each from its own seed so that changing one leaves the other's start alone."""
    norm_node = {k: v for k, v in tree["norm"].items() if k != "generator"}
    norms = {"discriminator": norm_node or None, "generator": _generator_norm(tree["norm"].get("generator"))}
    nets = []
    for key in ("generator", "discriminator"):
        torch.manual_seed(mix(tree["seed"], key))
        net = make(key, tree[key], **facts)
        node = norms[key]
        nets.append(apply_weight_norm(net, make("norm", node) if node else None))
    return cast(Generator, nets[0]), nets[1]


def _optimizer(key: str, node: dict[str, Any], net: nn.Module, make: _Maker) -> tuple[torch.optim.Optimizer, Hyper]:
    node = dict(node)
    hyper = Hyper(make.schedule(f"{key}.lr", node["lr"]))
    node["lr"] = _now(hyper.lr)
    if "betas" in node:
        first, second = (make.schedule(f"{key}.betas", b) for b in node["betas"])
        hyper.betas = (first, second)
        node["betas"] = [_now(first), _now(second)]
    params = [p for p in net.parameters() if p.requires_grad]
    takes = make.parameters(key, node)
    on_gpu = params[0].is_cuda
    annealed = hyper.betas is not None and any(map(callable, hyper.betas))
    if on_gpu and annealed and node["_target_"] == "torch.optim.Adam" and node.keys() <= _ANNEALED_ADAM:
        return AnnealedAdam(params, node["lr"], tuple(node["betas"]), node.get("eps", 1e-8)), hyper
    if "fused" in takes:
        node.setdefault("fused", True)  # one pass, which on a GPU can also leave out a step that is not finite
    elif "capturable" in takes and on_gpu:
        node.setdefault("capturable", True)
        if "foreach" in takes:
            node.setdefault("foreach", True)  # the form that reads its learning rate from a tensor without a wait
    return with_flat_tensors(make(key, node, params=params)), hyper


_ANNEALED_ADAM = {"_target_", "lr", "betas", "eps"}  # the settings that AnnealedAdam has


def _now(schedule: Schedule) -> float:
    return float(schedule(0.0)) if callable(schedule) else float(schedule)


def _penalties(tree: dict[str, Any], G: nn.Module, make: _Maker) -> dict[str, Penalty]:
    made: dict[str, Penalty] = {}
    for name, node in tree["penalty"].items():
        penalty = make(f"penalty.{name}", node)
        if isinstance(penalty, PathLength) and not hasattr(G, "styles"):
            raise UserError(f"penalty.{name} needs a generator with styles; choose generator=stylegan2 "
                            "or another penalty")  # fmt: skip
        made[name] = penalty
    return made


def _common(tree: dict[str, Any]) -> dict[str, Any]:
    """What any node may be given: the batch size, and the real images of the run, the clock of every schedule."""
    trainer = tree["trainer"]
    images = float(trainer["total_steps"] * trainer["n_dis"] * trainer["batch_size"])
    return {"over_images": images, "batch_size": trainer["batch_size"]}


def build(cfg: DictConfig) -> Experiment:
    """Check a configuration and build all of it: data, nets, norms, losses, penalties, optimizers, metrics.

    The result's `.G` and `.D` are ready to use. Raises UserError, one sentence, for whatever does not fit.
    """
    tree = lint.check(cfg)
    device = pick_device(tree["trainer"]["device"])
    make = _Maker(tuple(tree["extensions"]), **_common(tree))
    dataset: Dataset = make("dataset", tree["dataset"], data_dir=tree["data_dir"])
    make.common["resolution"] = dataset.resolution
    facts = dict(resolution=dataset.resolution, channels=dataset.channels, num_classes=dataset.num_classes)
    G, D = build_nets(tree, facts, make)
    layout = torch.channels_last
    G, D = G.to(device, memory_format=layout), D.to(device, memory_format=layout)  # type: ignore[call-overload]
    optimizer_g, hyper_g = _optimizer("optimizer.g", tree["optimizer"]["g"], G, make)
    optimizer_d, hyper_d = _optimizer("optimizer.d", tree["optimizer"]["d"], D, make)
    augment = make("augment", tree["augment"]) if tree["augment"] else None
    penalties = {n: cast(Any, p).to(device) for n, p in _penalties(tree, G, make).items()}
    halflife = make.schedule("ema.halflife_images", tree["ema"]["halflife_images"])
    return Experiment(
        config=tree,
        device=device,
        dataset=dataset,
        G=G,
        D=D,
        d_loss=make("loss.d", tree["loss"]["d"]),
        g_loss=make("loss.g", tree["loss"]["g"]),
        penalties=penalties,
        augment=augment.to(device) if augment is not None else None,
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        hyper_g=hyper_g,
        hyper_d=hyper_d,
        lr_scale=make.schedule("optimizer.lr_scale", tree["optimizer"]["lr_scale"]),
        ema_halflife_images=halflife,
        evaluator=_evaluator(tree, dataset, device),
        joint_forward=not couples_samples(D),
        buffers=[b for m in (G, D, augment, *penalties.values()) if isinstance(m, nn.Module) for b in m.buffers()],
        rank_statistics=_rank_statistics(tree, G, D),
    )


def _rank_statistics(tree: dict[str, Any], *nets: nn.Module) -> list[Tensor]:
    """Tell every BatchNorm whether to look at all ranks; returns the running statistics of those that do not."""
    own = []
    for layer in (m for net in nets for m in net.modules() if isinstance(m, _BatchNorm)):
        layer.synchronize = tree["trainer"]["sync_batchnorm"] and isinstance(layer, BatchNorm2d)  # type: ignore[assignment]
        if not layer.synchronize and layer.running_mean is not None and layer.running_var is not None:
            own += [layer.running_mean, layer.running_var]
    return own


def _evaluator(tree: dict[str, Any], dataset: Dataset, device: torch.device) -> Any:
    """The metric of the run, or None; without an average the EMA weights are the raw ones, and it says so."""
    node = tree["metrics"]
    if node is None:
        return None
    node = dict(node)
    if tree["ema"]["halflife_images"] == 0 and "ema" in node:
        node["ema"] = False
    cache_dir = Path(tree["data_dir"]) / "statistics"
    return build_evaluator(node, tree["extensions"], dataset=dataset, cache_dir=cache_dir, device=device)


def build_evaluator(node: Mapping[str, Any], extensions: Sequence[str] = (), **facts: Any) -> Any:
    """The evaluator of a node of conf/metrics; UserError for a key, type or value that does not fit.

    facts: the dataset, the cache_dir of its statistics, and the device.
    """
    lint.check_nodes({"metrics": dict(node)}, tuple(extensions))
    return _Maker(tuple(extensions))("metrics", node, **facts)


def build_generator(tree: dict[str, Any], facts: dict[str, Any], extensions: tuple[str, ...] = ()) -> Generator:
    """G alone, as a checkpoint's configuration describes it; `facts` are the data's resolution, channels, classes.

    The file may come from anywhere: it names a `Generator` of this package, or of the `extensions` that the caller
    trusts, whatever extensions it lists itself.
    """
    node = tree["generator"]
    if _own(node["_target_"], tree["extensions"]) and not _own(node["_target_"], extensions):
        raise UserError(f"the generator is {node['_target_']}, whose code would be run: if you trust it, repeat with "
                        f"extensions={','.join(tree['extensions'])}")  # fmt: skip
    lint.check_nodes({"generator": node}, extensions)
    found = lint.locate(node["_target_"], "generator", extensions)
    if not (inspect.isclass(found) and issubclass(found, Generator)):
        raise UserError(f"generator._target_={node['_target_']} is not a generator")
    make = _Maker(extensions, **_common(tree))
    G: Generator = make("generator", tree["generator"], **facts)
    node = _generator_norm(tree["norm"].get("generator"))
    return apply_weight_norm(G, make("norm", node) if node else None)  # type: ignore[return-value]


def _own(target: Any, extensions: Any) -> bool:
    return isinstance(target, str) and target.startswith(tuple(f"{name}." for name in extensions))
