"""gan_lab: GAN training with configurable stabilization recipes.

    cfg = gan_lab.compose("norm=bssn", "dataset=cifar10")
    run_directory = gan_lab.train(cfg)
    G = gan_lab.load_generator(run_directory)
    gan_lab.sample(run_directory, "samples.png")
    gan_lab.report(["runs/a", "runs/b"], "comparison")

Importing the package does not import torch; the first call that needs it does.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# The threads of an operator sleep while they wait for each other, where libgomp's default is to spin. On two cores that
# takes a fifth of the speed of a run that is alone, and nearly doubles it beside another busy process
# (scripts/benchmarks/busy.py). Results do not change. OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

_HOMES = {
    "compose": "gan_lab.config.compose:compose",
    "build": "gan_lab.builder:build",
    "train": "gan_lab.training.interactive:train",
    "open_run": "gan_lab.runs.reading:open_run",
    "load_generator": "gan_lab.use.load:load_generator",
    "sample": "gan_lab.use.sample:sample",
    "interpolate": "gan_lab.use.interpolate:interpolate",
    "mix_styles": "gan_lab.use.interpolate:mix_styles",
    "nearest": "gan_lab.use.nearest:nearest",
    "project": "gan_lab.use.project:project",
    "directions": "gan_lab.use.directions:directions",
    "evaluate": "gan_lab.use.evaluate:evaluate",
    "export": "gan_lab.use.export:export",
    "report": "gan_lab.reporting.write:write_report",
}
__all__ = list(_HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # completion shows the public functions before their first use


if TYPE_CHECKING:  # a type checker does not run `__getattr__`
    from gan_lab.builder import build as build
    from gan_lab.config.compose import compose as compose
    from gan_lab.reporting.write import write_report
    from gan_lab.runs.reading import open_run as open_run
    from gan_lab.training.interactive import train as train
    from gan_lab.use.directions import directions as directions
    from gan_lab.use.evaluate import evaluate as evaluate
    from gan_lab.use.export import export as export
    from gan_lab.use.interpolate import interpolate as interpolate
    from gan_lab.use.interpolate import mix_styles as mix_styles
    from gan_lab.use.load import load_generator as load_generator
    from gan_lab.use.nearest import nearest as nearest
    from gan_lab.use.project import project as project
    from gan_lab.use.sample import sample as sample

    report = write_report
else:

    def __getattr__(name: str) -> Any:
        """Resolve a public function on first use (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'gan_lab' has no attribute '{name}'")
        module, _, function = _HOMES[name].partition(":")
        return getattr(import_module(module), function)
