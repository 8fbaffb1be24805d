"""The examples run, train what they say, and need no Hydra."""

import importlib
import math
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def test_there_are_three_and_they_are_short():
    assert EXAMPLES == ["audio", "super_resolution", "vae_gan"]
    assert all(len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60 for name in EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name):
    main = importlib.import_module(f"examples.{name}").main
    data = {} if name == "audio" else {"images": 16}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no norm is stale
        found = main(steps=25 if name == "audio" else 2, batch=4, **data)
    assert {"d", "g"} < found.keys() and all(math.isfinite(value) for value in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "figure"), [("super_resolution", "l1"), ("vae_gan", "pixels")])
def test_an_example_learns(name, figure):
    main = importlib.import_module(f"examples.{name}").main
    start, end = (main(steps=steps, batch=8, images=16)[figure] for steps in (1, 60))
    assert end < 0.8 * start


@pytest.mark.slow
def test_the_library_needs_no_hydra():
    code = (
        "import sys, gan_lab; from gan_lab import losses, penalties, norms, diagnostics; diagnostics.sigma_product; "
        "diagnostics.Detector; from gan_lab.data import shapes; import examples.audio; "
        "print([name for name in ('hydra', 'omegaconf', 'tensorboard') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=FOLDER.parent)
    assert run.stdout == "[]\n", run.stderr
