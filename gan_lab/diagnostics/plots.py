"""Figures 4 and 5 of arXiv:2009.02773 from one run: D's gradients, the variances and singular values of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.errors import UserError

FORMATS = (".png", ".svg", ".pdf")
BLUE, ORANGE, GREEN, RED, PURPLE, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#222222"  # Okabe-Ito


@dataclass(frozen=True)
class Line:
    """One curve of a panel: `key` in the rows ("{layer}" stands for the layer's name), times `factor`."""

    key: str
    label: str
    color: str
    style: Any = "-"
    width: float = 1.6
    factor: float = 1.0


@dataclass(frozen=True)
class Section:
    """A heading over one panel for each of `layers`, or, without layers, over a single wide panel."""

    heading: str
    lines: tuple[Line, ...]
    layers: tuple[str, ...]
    shared: bool = True  # one scale for all panels


def sections(layers: tuple[str, ...]) -> list[Section]:
    """What the picture consists of, from top to bottom."""
    dashes = (0, (5, 2))
    joint = (
        Line("grad/effective/joint", "effective weights", BLUE),
        Line("grad/raw/joint", "raw weights", ORANGE),
        Line("grad/input", "input (mean over images)", GREEN),
        Line("grad/bound", "bound for the effective weights", BLACK, dashes),
    )
    by_layer = (
        Line("grad/effective/{layer}", "effective weight", BLUE),
        Line("grad/raw/{layer}", "raw weight", ORANGE),
        Line("grad/bound", "bound for one layer", BLACK, dashes, 1.2, 1 / math.sqrt(len(layers))),
    )
    variance = (
        Line("variance_wn/{layer}", "WN, 1 / fan-in", PURPLE, "-", 4.0),
        Line("variance_bsn/{layer}", "BSN, 2 / (fan-in + fan-out)", GREEN, (0, (5, 2, 1, 2))),
        Line("variance_sn/{layer}", "SN, 1 / max(m, n)", RED, dashes),
        Line("variance/{layer}", "effective weight", BLUE, "-", 2.0),
    )
    sigma = (
        Line("sigma_exact_out/{layer}", "effective weight, out × (in·k·k), exact", BLUE),
        Line("sigma_exact_in/{layer}", "effective weight, in × (out·k·k), exact", GREEN),
        Line("sigma/{layer}", "raw weight, running", ORANGE, dashes),
    )
    return [
        Section("Norm of the gradient of D's loss, all layers", joint, ()),
        Section("Norm of the gradient of D's loss, by layer", by_layer, layers),
        Section("Variance of the effective weight, and three references", variance, layers, shared=False),
        Section("Largest singular value", sigma, layers),
    ]


def read(run: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The rows of a run's train.jsonl that hold diagnostics, and the names of D's layers; UserError without any."""
    log = run / "train.jsonl"
    if not run.is_dir():
        raise UserError(f"run={run}: there is no such directory")
    if not log.is_file():
        raise UserError(f"{run} holds no train.jsonl: it is no run directory, or the run has not logged anything yet")
    from gan_lab.runs.files import read_rows  # late, as it brings torch along

    rows = [row for row in read_rows(log) if "grad/effective/joint" in row]
    if not rows:
        raise UserError(
            f"{log} holds no diagnostics: the first come after monitor.every_steps steps of a run with monitor=full"
        )
    layers = tuple(key.removeprefix("variance/") for key in rows[-1] if key.startswith("variance/"))
    if not layers:
        raise UserError(f"{log} holds only light diagnostics, without D's layers; train with monitor=full")
    return rows, layers


def draw(rows: Sequence[dict[str, Any]], layers: tuple[str, ...], title: str) -> Any:
    """The picture as a matplotlib Figure; UserError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("drawing needs matplotlib; install it with: pip install 'gan_lab[plots]'") from error
    parts = sections(layers)
    columns = 4 if len(layers) <= 16 else 6
    heights = [2.6 if not part.layers else 0.7 + 1.75 * math.ceil(len(layers) / columns) for part in parts]
    figure = Figure(figsize=(3.0 * columns, sum(heights) + 0.5), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.012, ha="left")
    areas: Any = figure.subfigures(len(parts), 1, height_ratios=heights)
    for part, area in zip(parts, areas, strict=True):
        _draw_section(area, part, rows, columns)
    return figure


def _draw_section(area: Any, part: Section, rows: Sequence[dict[str, Any]], columns: int) -> None:
    names = part.layers or ("",)
    columns = min(columns, len(names))
    grid = area.subplots(
        math.ceil(len(names) / columns), columns, squeeze=False, sharex=True, sharey=part.shared
    ).flatten()
    for i, (axes, name) in enumerate(zip(grid, names, strict=False)):
        _draw_panel(axes, part.lines, rows, name)
        axes.tick_params(labelbottom=i + columns >= len(names))  # the lowest of each column
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    area.suptitle(part.heading, fontsize=11, x=0.012, ha="left")
    handles, labels = grid[0].get_legend_handles_labels()
    area.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9, handlelength=3)


def _draw_panel(axes: Any, lines: Sequence[Line], rows: Sequence[dict[str, Any]], layer: str) -> None:
    from matplotlib.ticker import EngFormatter

    steps = [row["step"] for row in rows]
    drawn: list[float] = []
    for line in lines:
        values = [_positive(row.get(line.key.format(layer=layer)), line.factor) for row in rows]
        marker = "." if len(rows) <= 2 else ""
        axes.plot(steps, values, color=line.color, linestyle=line.style, linewidth=line.width, label=line.label,
                  marker=marker, alpha=0.45 if line.width > 3 else 1.0)  # fmt: skip
        drawn += [value for value in values if not math.isnan(value)]
    axes.set_title(layer, fontsize=9, loc="left", pad=3)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.get_major_locator().set_params(nbins=5, integer=True)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if drawn:
        _logarithmic(axes, drawn)


def _logarithmic(axes: Any, values: list[float]) -> None:
    """A logarithmic axis that holds all values, its own and those of the panels that share it."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    bottom, top = axes.get_ylim() if axes.get_yscale() == "log" else (math.inf, 0.0)
    low, high = min(bottom, min(values) / 1.4), max(top, max(values) * 1.4)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    ticks = _ticks(low, high)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high / low < 1e4:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _ticks(low: float, high: float) -> list[float]:
    """From two to about six round numbers in [low, high], a factor of 1.7 or more."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)):
        ticks = [float(f"{digit:g}e{power}") for power in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 2 + (digits != (1.0,)):
            return ticks[:: math.ceil(len(ticks) / 6)]
    return ticks


def _positive(value: Any, factor: float) -> float:
    """A number for a logarithmic axis; NaN, a gap in the curve, for what has no place on one."""
    return value * factor if isinstance(value, int | float) and 0 < value < math.inf else math.nan


def plot_stability(run: str | Path, out: str | Path | None = None) -> Path:
    """Draw a run's gradient norms, weight variances and singular values over training.

    Args:
        run: the directory of a run with monitor=full, finished or not.
        out: the picture, .png, .svg or .pdf. None: stability.png in the run directory.

    Returns:
        The picture's path.

    Raises:
        UserError: a run without the measurements, another suffix, a place that cannot be written to, no matplotlib.
    """
    run = Path(run)
    out = Path(out) if out is not None else run / "stability.png"
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"out={out}: the picture's name must end in {', '.join(FORMATS)}")
    rows, layers = read(run)
    figure = draw(rows, layers, f"{run.resolve().name}: {len(rows)} measurements up to step {rows[-1]['step']:,}")
    try:
        figure.savefig(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return out
