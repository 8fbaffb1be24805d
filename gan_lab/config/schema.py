"""The settings of a run. Type, range and meaning of each are stated only here; conf/ may set another default."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from gan_lab.config.ranges import DEVICE, NAME, NOT_NEGATIVE, SEED, SHARE, WIDTH, Range, at_least, one_of
from gan_lab.config.tree import all_keys
from gan_lab.files import expand_path


def setting(default: Any, meaning: str, allowed: Range | None = None, *, path: bool = False) -> Any:
    """Declare a setting. `gan_lab.config.check` checks that values lie in `allowed`; `--help` shows `meaning`.

    A `path` has its `~` and `$NAME` expanded. `gan_lab.config.changes` says whether a resumed run may change a setting.
    """
    metadata = {"meaning": meaning, "range": allowed, "path": path}
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_data_dir() -> str:
    """Return where packed datasets live unless `data_dir` is set: $GAN_LAB_DATA, or ./data if that is empty."""
    return expand_path(os.environ.get("GAN_LAB_DATA") or "./data")


@dataclass
class TrainerConfig:
    """How long and how to train. A step is one update of G, preceded by `n_dis` updates of D."""

    total_steps: int = setting(100_000, "updates of G in all", at_least(1))
    batch_size: int = setting(64, "real images in an update, over all processes", at_least(1))
    n_dis: int = setting(1, "updates of D before each update of G", at_least(1))
    fake_labels: str = setting(
        "uniform", "classes of generated images: uniform, or as often as in the data", one_of("uniform", "data")
    )
    eval_every_steps: int = setting(5_000, "steps between evaluations", at_least(0, "0: only at the start and the end"))
    checkpoint_every_steps: int = setting(5_000, "steps between checkpoints", at_least(0, "0: only at the end"))
    sample_every_steps: int = setting(
        1_000, "steps between grids of samples", at_least(0, "0: only at the start and the end")
    )
    log_every_steps: int = setting(100, "steps between rows of train.jsonl", at_least(1))
    progress_gif: bool = setting(True, "at the end, put the grids of samples one after another into progress.gif")
    keep_checkpoints: int = setting(2, "latest checkpoints to keep, besides the best", at_least(1))
    keep_every_steps: int = setting(
        0, "also keep checkpoints at multiples of this", at_least(0, "0: only the last ones and the best")
    )
    device: str = setting("auto", "where to compute; auto takes a GPU if there is one", DEVICE)
    precision: str = setting("fp32", "of convolutions and matrix products", one_of("fp32", "tf32", "bf16"))
    accelerate: str = setting(
        "auto",
        "CUDA graphs of whole updates (graph), torch.compile (compile), or what is best known (auto)",
        one_of("none", "graph", "compile", "auto"),
    )
    deterministic: bool = setting(False, "on a GPU: kernels that repeat themselves bit for bit, where there are any")
    devices: int = setting(1, "processes, each with a GPU of its own where there are GPUs", at_least(1))
    sync_batchnorm: bool = setting(True, "with several processes: BatchNorm over the whole batch")
    rank_timeout_seconds: int = setting(600, "a process that others wait for longer is given up", at_least(1))
    max_skipped_updates: int = setting(
        10, "non-finite updates in a row that are skipped before the run stops", at_least(0, "0: stop at the first")
    )
    threads: int = setting(0, "CPU threads", at_least(0, "0: torch's own choice"))


@dataclass
class OptimizerConfig:
    """One node per net, and a schedule that multiplies both learning rates."""

    g: dict[str, Any] = setting({}, "G's optimizer")
    d: dict[str, Any] = setting({}, "D's optimizer")
    lr_scale: Any = setting(1.0, "multiplies both learning rates; a number or a schedule", NOT_NEGATIVE)


@dataclass
class EMAConfig:
    """Moving average of G's weights."""

    halflife_images: Any = setting(0.0, "half-life in real images, 0: no average; a number or a schedule", NOT_NEGATIVE)
    rampup: float = setting(
        0.05, "at the start the half-life is at most this share of the images seen", at_least(0, "0: no ramp-up")
    )


@dataclass
class MonitorConfig:
    """Diagnostics of stability, and the settings of collapse detection (docs/stability.md)."""

    level: str = setting("light", "which diagnostics are measured", one_of("full", "light", "off"))
    every_steps: int = setting(500, "steps between measurements", at_least(1))
    extra: dict[str, Any] = setting({}, "diagnostics of your own, by name")
    detection: dict[str, Any] = setting({}, "thresholds of collapse detection that differ from the defaults")


@dataclass
class LossConfig:
    """The two halves of a loss, as functions of logits, and top-k training (arXiv:2002.06224)."""

    d: dict[str, Any] = setting({}, "D's loss")
    g: dict[str, Any] = setting({}, "G's loss")
    top_k: Any = setting(
        1.0, "share of its fakes that G learns from, those that D rates highest; a number or a schedule", SHARE
    )


@dataclass
class Config:
    """All settings of a run. Nodes typed `dict` hold a `_target_` and its arguments.

    `gan_lab.config.check.check` makes instances: plain values, checked, interpolations resolved.
    """

    seed: int = setting(0, "of everything that is drawn", SEED)
    name: str | None = setting(None, "run directory runs/NAME; the same command again resumes it", NAME)
    data_dir: str = setting("./data", "where packed datasets live", path=True)
    resume: str = setting(
        "auto",
        "auto: go on where the run stopped; force: even if settings changed; never: refuse",
        one_of("auto", "force", "never"),
    )
    width: float = setting(1.0, "multiplies the channel counts of both nets", WIDTH)
    run_dir: str | None = setting(None, "filled in when a run starts", path=True)
    stop_on_collapse: bool = setting(False, "end the run when its collapse is detected, keeping the best checkpoint")
    extensions: list[str] = setting([], "modules of your own whose classes and functions a _target_ may name")
    recipe: str | None = setting(None, "name of the recipe")
    dataset: dict[str, Any] = setting({}, "the data")
    generator: dict[str, Any] = setting({}, "G")
    discriminator: dict[str, Any] = setting({}, "D")
    norm: dict[str, Any] = setting({}, "the weight norm of D")
    loss: LossConfig = field(default_factory=LossConfig)
    penalty: dict[str, Any] = setting({}, "terms added to a loss, by name")
    augment: dict[str, Any] | None = setting(None, "what D's images go through")
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EMAConfig = field(default_factory=EMAConfig)
    metrics: dict[str, Any] | None = setting(None, "how G is evaluated")
    tracker: dict[str, Any] = setting({}, "where numbers and pictures go besides the run's own files, by name")
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    @property
    def images_per_step(self) -> int:
        """Number of real images that D is trained on in a step."""
        return self.trainer.batch_size * self.trainer.n_dis

    def tree(self) -> dict[str, Any]:
        """Convert to nested dictionaries, in the schema's order."""
        return asdict(self)

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Config:
        """Make a configuration from nested dictionaries. Missing settings get defaults; unknown keys are ignored."""
        return _from_tree(cls, tree)  # type: ignore[no-any-return]


def _from_tree(cls: Any, tree: dict[str, Any]) -> Any:
    hints = get_type_hints(cls)
    known = {f.name: tree[f.name] for f in fields(cls) if f.name in tree}
    return cls(**{k: _from_tree(hints[k], v) if is_dataclass(hints[k]) else v for k, v in known.items()})


def leaf_settings(cls: Any = Config, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Yield (dotted key, field) for every setting that is not itself a section of the schema."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            yield from leaf_settings(hints[f.name], f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", f


SCHEMA_KEYS = frozenset(all_keys(Config().tree()))
"""The keys that every configuration has."""
SECTIONS = frozenset(name for name, hint in get_type_hints(Config).items() if is_dataclass(hint))
"""The keys that hold settings of the schema only."""
PATH_KEYS = frozenset(key for key, f in leaf_settings() if f.metadata["path"]) | {"dataset.path", "metrics.weights"}
"""The keys whose values are paths, those inside nodes included."""
HYDRA_PATH_KEYS = frozenset({"hydra.run.dir", "hydra.sweep.dir"})
"""The keys of Hydra's own section whose values are paths. They are not swept."""
TEXT_KEYS = (
    PATH_KEYS
    | HYDRA_PATH_KEYS
    | {key for key, f in leaf_settings() if f.type in ("str", "str | None")}
    | {"dataset.name", "metrics.best", "metrics.real_split", "hydra.job.name", "hydra.sweep.subdir"}
)
"""The keys whose values are text, paths included: what is typed after `=` is the value."""
WHOLE_KEYS = frozenset(key for key, f in leaf_settings() if f.type == "int")
"""The keys of the schema whose values are whole numbers."""
