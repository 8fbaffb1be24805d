"""What a study declares: a question, cells of settings, seeds, and how the runs are measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "docs" / "results"
_TINY = (
    "width=0.0625", "trainer.total_steps=4", "trainer.batch_size=4", "trainer.eval_every_steps=2",
    "trainer.checkpoint_every_steps=2", "trainer.sample_every_steps=0", "trainer.log_every_steps=1",
    "monitor.every_steps=2", "trainer.device=cpu", "trainer.precision=fp32", "trainer.threads=1", "dataset=shapes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study:
    """Cells times seeds, each one a run of `train.py` with the words of `setting` and of its cell.

    Attributes:
        name: of the module, the folder of small files and the page in `docs/results`.
        question: what the study is to answer, in one or two sentences.
        setting: overrides of all runs.
        cells: name -> overrides that make the difference.
        seeds: runs of a cell.
        budget: the machine that the study is meant for, and what a run costs there. The page adds what its runs took.
        note: what a reader must know before the numbers.
        evaluations: `evaluate` or `reconstruct` and its settings, which measure each run at its end and at its best.
        classifier: settings of `gan-lab train-classifier`, if the runs are measured by a classifier of their own.
        seeds_in_turn: whether all cells with one seed come before the next seed; else all seeds of a cell come first.
        kept_row: every so many rows of `train.jsonl` are kept.
        metric: the figure that the page compares; None: the one that chose the best checkpoints.
        curves: key of metrics.jsonl or train.jsonl -> what it is; each is drawn against steps, below the metric.
        pictures: file in `docs/images` -> what it shows.
        beside: studies with the same setting, whose runs the page compares with these at the last step of all. A
            classifier is that of the first.
    """

    name: str
    question: str
    setting: tuple[str, ...]
    cells: Mapping[str, tuple[str, ...]]
    seeds: int
    budget: str
    note: str = ""
    evaluations: tuple[str, ...] = ()
    classifier: tuple[str, ...] = ()
    seeds_in_turn: bool = False
    kept_row: int = 10
    metric: str | None = None
    curves: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Study, ...] = ()

    def runs(self) -> list[tuple[str, int]]:
        """Return (cell, seed) in the order in which they are run."""
        if self.seeds_in_turn:
            return [(cell, seed) for seed in range(self.seeds) for cell in self.cells]
        return [(cell, seed) for cell in self.cells for seed in range(self.seeds)]

    def only(self, *cells: str, seeds: int) -> Study:
        """Return the study as if it had these cells and so many seeds alone, to stand beside another."""
        return replace(self, cells={cell: self.cells[cell] for cell in cells}, seeds=seeds)

    def common(self) -> list[str]:
        """Return the overrides of all runs. A later word with the same key replaces an earlier one."""
        return _last_of_each_key(self.setting)

    def words(self, cell: str, seed: int) -> list[str]:
        """Return the overrides of a run."""
        return _last_of_each_key([*self.setting, *self.cells[cell], f"seed={seed}"])

    def tiny(self) -> Study:
        """Return the study with one seed of small nets on shapes: all of it runs, and its figures mean nothing."""
        other = ("dataset=", "metrics=", "metrics.", "width=", "trainer.total_steps=")
        backbone = "metrics=classifier" if self.classifier else "metrics=shapes"
        counts = ("metrics.num_samples=64", "metrics.num_real=64")
        measured_tiny = {
            "evaluate": ("evaluate", "metrics=shapes", *counts),
            "reconstruct": ("reconstruct", "recon_images=2", "recon_steps=1"),
        }
        return replace(
            self,
            setting=(*(w for w in self.setting if not w.startswith(other)), *_TINY, backbone, *counts),
            cells={c: tuple(w for w in words if not w.startswith(other)) for c, words in self.cells.items()},
            seeds=1,
            evaluations=measured_tiny[self.evaluations[0]] if self.evaluations else (),
            classifier=("dataset=shapes", "epochs=0.01", "width=2") if self.classifier else (),
            kept_row=1,
            beside=(),
        )


def _last_of_each_key(words: Iterable[str]) -> list[str]:
    return list({word.split("=", 1)[0]: word for word in words}.values())


FID768 = (
    "evaluate", "metrics=inception", "metrics.feature=768", "metrics.num_samples=5000", "metrics.num_real=5000",
    "metrics.kid=false", "metrics.precision_recall=false",
)  # fmt: skip
"""FID of the 768 features of Inception, 5,000 fakes against 5,000 reals."""

BY_CLASSIFIER = (
    "metrics=classifier", "metrics.num_samples=5000", "metrics.num_real=5000", "metrics.kid=false",
    "metrics.precision_recall=false",
)  # fmt: skip
"""FID and IS by the study's own classifier, 5,000 fakes against 5,000 reals."""

QUARTER_WIDTH = (
    "dataset=cifar10", "dataset.hflip=false", "generator=sngan_cnn", "discriminator=sngan_cnn", "loss=hinge",
    "penalty=none", "optimizer=adam", "width=0.25", "ema.halflife_images=0", "trainer.batch_size=64", "trainer.n_dis=1",
    "trainer.eval_every_steps=2000", "trainer.checkpoint_every_steps=2000", "trainer.sample_every_steps=2000",
    "trainer.log_every_steps=100", "trainer.threads=1", *BY_CLASSIFIER, "monitor=full", "monitor.every_steps=1000",
)  # fmt: skip
"""CIFAR-10 on one core: the CNN of SN-GAN at a quarter of its width, the size being ours."""

CLASSIFIER = ("dataset=cifar10", "epochs=40", "width=16", "minutes=18")

FIGURES_4_AND_5 = {
    "grad/effective/joint": "norm of the gradient of D's loss by the normalized weights of all layers, as in figure 4 "
    "of arXiv:2009.02773",
    "variance/convs.3": "variance of the normalized weights of a layer in the middle of D, as in figure 5 of "
    "arXiv:2009.02773",
}
"""What BSSN's authors drew of SN and BSSN."""
