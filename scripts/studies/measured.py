"""What a study's verb measured after training: mean and SD of each cell, and tests of every pair of cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan_lab.reporting.comparison import Comparison
from gan_lab.reporting.formatting import MISSING, decimals_for, with_sd
from gan_lab.reporting.metrics import describe
from gan_lab.reporting.recipes import Recipe
from gan_lab.reporting.statistics import compare_all, sample_sd
from scripts.studies.runner import end_and_best, measured_again
from scripts.studies.study import Study


@dataclass(frozen=True)
class Measured:
    """The figures of a run at its end and at its best checkpoint, {} where that was not measured. step: of its end."""

    step: int | None
    end: dict[str, float]
    best: dict[str, float]

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read a run directory, or the small files that were kept of it."""
        (end, best), figures = end_and_best(folder), measured_again(folder)
        return cls(end, *(figures.get(step, {}) if step is not None else {} for step in (end, best)))


Cells = dict[str, dict[int, Measured]]  # cell -> seed -> run


def by_cell(study: Study, runs: Mapping[str, Measured]) -> Cells:
    """Return the runs of each cell, in the study's order."""
    names = {cell: {f"{cell}-{seed}": seed for seed in range(study.seeds)} for cell in study.cells}
    return {cell: {seed: runs[name] for name, seed in own.items() if name in runs} for cell, own in names.items()}


def table(cells: Cells) -> Iterator[tuple[str, str, str, str]]:
    """Yield cell, figure, and mean ± SD at the end and at best; both are of the same runs, or one is missing."""
    for cell, seeds in cells.items():
        for key in _figures({cell: seeds}):
            ends = [run.end[key] for run in seeds.values() if key in run.end]
            bests = [run.best[key] for run in seeds.values() if key in run.end and key in run.best]
            yield cell, key, _over_seeds(ends), _over_seeds(bests) if len(bests) == len(ends) else MISSING


def pairwise_tests(cells: Cells) -> list[Comparison]:
    """Return for each figure at the end the tests of all pairs of cells, as the report's tables take them."""
    found = []
    steps = [run.step for seeds in cells.values() for run in seeds.values() if run.end and run.step is not None]
    for key in _figures(cells):
        values = [
            {seed: run.end[key] for seed, run in seeds.items() if key in run.end} for seeds in cells.values()
        ]  # of each cell, by seed
        metric = describe(key, [v for of_cell in values for v in of_cell.values()], key.startswith("is_"))
        if pairs := compare_all(dict(enumerate(values))):
            recipes = [Recipe(cell, []) for cell in cells]
            found.append(Comparison(recipes, [], None, {}, metric=metric, step=max(steps), tests=pairs))
    return found


def _figures(cells: Cells) -> list[str]:
    return list(dict.fromkeys(key for seeds in cells.values() for run in seeds.values() for key in run.end))


def _over_seeds(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{with_sd(mean, float(sample_sd(values)), decimals_for([mean]))} ({len(values)})"
