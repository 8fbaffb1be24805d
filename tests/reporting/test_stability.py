"""The picture shows the numbers of train.jsonl, each where it belongs; what cannot be drawn is told in a sentence."""

import builtins
import json
import math

import pytest

from gan_lab.errors import UserError
from gan_lab.reporting import stability as plots

PER_LAYER = {"grad/effective": 0.1, "grad/raw": 0.3, "variance": 2e-3, "variance_sn": 4e-3, "variance_bsn": 3e-3,
             "variance_wn": 5e-3, "sigma_exact_out": 1.0, "sigma_exact_in": 1.5, "sigma": 0.4}  # fmt: skip


def row(step, layers):
    """Every number of a row differs from every other, so that a curve tells which one it shows."""
    numbers = {"grad/effective/joint": 0.7, "grad/raw/joint": 0.9, "grad/input": 0.05, "grad/bound": 60.0}
    for i, layer in enumerate(layers):
        numbers |= {f"{kind}/{layer}": size * (1 + 0.1 * i) for kind, size in PER_LAYER.items()}
    return {"step": step, "images_seen": 4 * step} | {k: v * (1 + step / 1000) for k, v in numbers.items()}


def write(run, rows):
    run.mkdir(parents=True, exist_ok=True)
    (run / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return run


LAYERS = ("convs.0", "convs.1", "linear")


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "mine", [{"step": 5, "loss/d": 1.0}, *(row(s, LAYERS) for s in (10, 20, 30))])


def panels(figure):
    return [axes for axes in figure.get_axes() if axes.get_visible()]


def test_every_panel_shows_its_own_layers_numbers(run):
    rows, layers = plots.read(run)
    assert layers == LAYERS and [r["step"] for r in rows] == [10, 20, 30]
    shown = panels(plots.draw(rows, layers, "mine"))
    assert [axes.get_title(loc="left") for axes in shown] == ["", *LAYERS * 3]
    quantities = [
        ["grad/effective/joint", "grad/raw/joint", "grad/input", "grad/bound"],
        *([f"grad/effective/{n}", f"grad/raw/{n}", "grad/bound"] for n in LAYERS),
        *([f"variance/{n}", f"variance_sn/{n}", f"variance_bsn/{n}", f"variance_wn/{n}"] for n in LAYERS),
        *([f"sigma_exact_out/{n}", f"sigma_exact_in/{n}", f"sigma/{n}"] for n in LAYERS),
    ]
    for axes, keys in zip(shown, quantities, strict=True):
        assert axes.get_yscale() == "log"
        assert len(axes.get_lines()) == len(keys)
        low, high = axes.get_ylim()
        for line, key in zip(axes.get_lines(), keys, strict=True):
            # The bound of one layer is the joint one over sqrt(3).
            factor = 3**-0.5 if key == "grad/bound" and axes is not shown[0] else 1.0
            expected = [r[key] * factor for r in rows]
            assert list(line.get_xdata()) == [10, 20, 30]
            assert list(line.get_ydata()) == pytest.approx(expected)
            assert low < min(expected) and max(expected) < high


def test_labels_name_what_is_drawn(run):
    rows, layers = plots.read(run)
    shown = panels(plots.draw(rows, layers, "mine"))
    labels = {line.get_ydata()[0]: line.get_label() for axes in shown for line in axes.get_lines()}
    for key, label in {
        "grad/effective/joint": "effective weights", "grad/raw/joint": "raw weights", "grad/bound": "bound",
        "variance_sn/linear": "SN, 1/max(m, n)", "variance_bsn/linear": "BSN, 2/(fan-in + fan-out)",
        "variance_wn/linear": "WN, 1/fan-in", "sigma/linear": "raw weight, running",
        "sigma_exact_out/linear": "out × (in·k·k), exact", "sigma_exact_in/linear": "in × (out·k·k), exact",
    }.items():  # fmt: skip
        assert label in labels[rows[0][key]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "b.svg", "c.PDF"])
def test_writes_the_format_that_the_name_says(run, tmp_path, name):
    assert plots.plot_stability(run, tmp_path / name) == tmp_path / name
    content = (tmp_path / name).read_bytes()
    assert {"a.png": b"\x89PNG", "b.svg": b"<svg", "c.PDF": b"%PDF"}[name] in content[:2000]


@pytest.mark.slow
def test_a_single_measurement_gaps_and_many_layers_can_be_drawn(tmp_path):
    layers = [f"blocks.{i}.conv_1" for i in range(19)]
    broken = {**row(10, layers), "grad/raw/joint": None, "variance/blocks.3.conv_1": 0.0, "grad/input": "x"}
    broken |= {key: None for key in broken if key.startswith("grad/effective/blocks.2")}
    rows, found = plots.read(write(tmp_path / "one", [broken]))
    first = panels(plots.draw(rows, found, "one"))[0].get_lines()
    assert [math.isnan(line.get_ydata()[0]) for line in first] == [False, True, True, False]
    nothing = {key: None if "/" in key else value for key, value in row(10, LAYERS).items()}
    plots.draw([nothing], LAYERS, "nothing is finite").savefig(tmp_path / "nothing.png")


@pytest.mark.parametrize(
    ("low", "high"), [(1e-3, 1e3), (1e-12, 1e9), (0.9, 1.6), (2.1e-4, 8e-4), (0.5, 5.0), (1.01, 1.75), (9.5, 17.0)]
)
def test_ticks_are_few_round_and_inside(low, high):
    ticks = plots._ticks(low, high)
    assert 2 <= len(ticks) <= 7
    assert all(low <= t <= high for t in ticks) and ticks == sorted(ticks)


def sentence(*arguments):
    with pytest.raises(UserError) as caught:
        plots.plot_stability(*arguments)
    return str(caught.value)


@pytest.mark.slow
def test_what_cannot_be_drawn_is_told(tmp_path, run):
    assert "no such directory" in sentence(tmp_path / "nowhere")
    assert "no train.jsonl" in sentence(tmp_path)
    assert "monitor=full" in sentence(write(tmp_path / "off", [{"step": 5, "loss/d": 1.0}]))
    light = {key: value for key, value in row(5, ()).items() if not key.startswith("variance")}
    assert "light" in sentence(write(tmp_path / "light", [light]))
    assert ".png, .svg, .pdf" in sentence(run, "picture.jpg")
    assert "cannot write" in sentence(run, tmp_path / "no" / "such.png")
    assert not list(run.glob("*.png"))


def test_without_matplotlib_it_says_what_to_install(run, monkeypatch):
    true = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return true(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install" in sentence(run)


@pytest.mark.slow
def test_the_picture_goes_into_the_run_directory_unless_told_otherwise(run):
    assert plots.plot_stability(str(run)) == run / "stability.png"
    assert (run / "stability.png").stat().st_size > 10_000
