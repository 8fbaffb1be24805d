"""Figures 4 and 5 of arXiv:2009.02773 for a run: D's gradients, and variances and singular values of its weights."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_lab.diagnostics.catalogue import CATALOGUE, Diagnostic, panels
from gan_lab.errors import UserError
from gan_lab.files import reason
from gan_lab.runs.files import read_rows

FORMATS = (".png", ".svg", ".pdf")
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")  # Okabe-Ito
ROWS = {
    "Norm of the gradient of D's loss, all layers": ["Gradient of D's loss"],
    "Norm of the gradient of D's loss, by layer": ["Gradient of D by effective weights",
                                                   "Gradient of D by raw weights", "grad/bound"],
    "Variance of the effective weight, and three references": ["Variance of effective weights"],
    "Largest singular value": ["Spectral norm, exact, by output", "Spectral norm, exact, by input",
                               "Spectral norm, running"],
}  # fmt: skip
"""The rows of the picture: heading -> titles of charts of the catalogue, or keys, that are drawn together."""


def read(run: Path) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the rows of train.jsonl with diagnostics, and the names of D's layers. UserError if there are none."""
    log = run / "train.jsonl"
    if not run.is_dir():
        raise UserError(f"run={run}: there is no such directory")
    if not log.is_file():
        raise UserError(f"{run} holds no train.jsonl: it is no run directory, or the run has not logged anything yet")
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
    """Return the picture as a matplotlib Figure. UserError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError("drawing needs matplotlib; install it with: pip install matplotlib") from error
    columns = 4 if len(layers) <= 16 else 6
    parts = {heading: _entries(titles) for heading, titles in ROWS.items()}
    by_layer = [any("{layer}" in entry.key for entry in entries) for entries in parts.values()]
    heights = [0.7 + 1.75 * math.ceil(len(layers) / columns) if layered else 2.6 for layered in by_layer]
    figure = Figure(figsize=(3.0 * columns, sum(heights) + 0.5), layout="constrained", dpi=110)
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.012, ha="left")
    areas: Any = figure.subfigures(len(parts), 1, height_ratios=heights)
    for (heading, entries), layered, area in zip(parts.items(), by_layer, areas, strict=True):
        area.suptitle(heading, fontsize=11, x=0.012, ha="left")
        _draw_row(area, entries, rows, layers if layered else ("",), columns)
    return figure


def _entries(titles: Sequence[str]) -> list[Diagnostic]:
    """Return the diagnostics of these titles and keys."""
    charts = {title: shown for section in panels().values() for title, shown in section.items()}
    return [d for title in titles for d in charts.get(title) or [d for d in CATALOGUE if d.key == title]]


def _draw_row(
    area: Any, entries: Sequence[Diagnostic], rows: Sequence[dict[str, Any]], layers: Sequence[str], columns: int
) -> None:
    """Draw one panel per layer. They share the y axis unless each layer has its own reference lines."""
    columns = min(columns, len(layers))
    shared = not any("{layer}" in entry.key and entry.beside for entry in entries)
    lines = math.ceil(len(layers) / columns)
    grid = area.subplots(lines, columns, squeeze=False, sharex=True, sharey=shared).flatten()
    for i, (axes, layer) in enumerate(zip(grid, layers, strict=False)):
        _draw_panel(axes, entries, rows, layer, len(layers))
        axes.tick_params(labelbottom=i + columns >= len(layers))  # only on the lowest panel of each column
    for axes in grid[len(layers) :]:
        axes.set_visible(False)
    handles, labels = grid[0].get_legend_handles_labels()
    area.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9, handlelength=3)


def _draw_panel(
    axes: Any, entries: Sequence[Diagnostic], rows: Sequence[dict[str, Any]], layer: str, layers: int
) -> None:
    """Draw the curves of one layer. A norm over all L layers is divided by sqrt(L), to compare it with one layer."""
    from matplotlib.ticker import EngFormatter

    steps = [row["step"] for row in rows]
    references = [entry for entry in entries if entry.beside]
    drawn: list[float] = []
    for entry, color in zip(entries, COLORS, strict=False):
        joint = bool(layer) and "{layer}" not in entry.key
        share, label = (layers**-0.5, f"{entry.label} / √L") if joint else (1.0, entry.label)
        values = [_positive(row.get(entry.key.replace("{layer}", layer)), share) for row in rows]
        style: Any = "-"
        if entry.beside:  # if several coincide, the dashes of one fill the gaps of the others
            style = (3 * references.index(entry), (3, max(3 * (len(references) - 1), 2)))
        axes.plot(steps, values, color=color, linestyle=style, label=label, marker="." if len(rows) <= 2 else "")
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
    """Set a logarithmic y axis that contains all values of this panel and of those that share the axis."""
    bottom, top = axes.get_ylim() if axes.get_yscale() == "log" else (math.inf, 0.0)
    low, high = min(bottom, min(values) / 1.4), max(top, max(values) * 1.4)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_yticks(_ticks(low, high))
    axes.minorticks_off()
    if high / low < 1e4:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _ticks(low: float, high: float) -> list[float]:
    """Return two to about six round numbers in [low, high], where high / low is at least 1.7."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)):
        ticks = [float(f"{digit:g}e{power}") for power in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 2 + (digits != (1.0,)):
            return ticks[:: math.ceil(len(ticks) / 6)]
    return ticks


def _positive(value: Any, factor: float) -> float:
    """Scale a number for a logarithmic axis. NaN, a gap in the curve, if it is not positive and finite."""
    return value * factor if isinstance(value, int | float) and 0 < value < math.inf else math.nan


def plot_stability(run: str | Path, out: str | Path | None = None) -> Path:
    """Draw a run's gradient norms, weight variances and singular values over training.

    Args:
        run: the directory of a run with monitor=full, finished or not.
        out: the picture, .png, .svg or .pdf. None: stability.png in the run directory.

    Returns:
        The picture's path.

    Raises:
        UserError: a run without diagnostics, another suffix, an `out` that cannot be written to, no matplotlib.
    """
    run = Path(run).expanduser()
    out = Path(out).expanduser() if out is not None else run / "stability.png"
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"out={out}: the picture's name must end in {', '.join(FORMATS)}")
    rows, layers = read(run)
    figure = draw(rows, layers, f"{run.resolve().name}: {len(rows)} measurements up to step {rows[-1]['step']:,}")
    try:
        figure.savefig(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {reason(error)}") from error
    return out
