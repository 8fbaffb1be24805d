"""Draw the figures of docs/papers from committed measurements: `python -m scripts.docs.figures`.

The variances are those of the runs in docs/results/h200_first, the others of docs/results/initialization.json.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from gan_lab.cli.main import script  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs"
IMAGES = DOCS / "images" / "papers"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw the figures of docs/papers from committed measurements."""

    examples: ClassVar[tuple[str, ...]] = ("",)


def main(options: Options) -> None:
    plt.rcParams.update(
        {"svg.hashsalt": "gan_lab", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
    )
    IMAGES.mkdir(parents=True, exist_ok=True)
    init = json.loads((DOCS / "results" / "initialization.json").read_text("utf-8"))
    _save("path_length", _path_length(init["path_length"]))
    _save("residual", _residual(init["block_rms"]))
    _save("trelu", _trelu())
    _save("variance", _variance())


def _save(name: str, figure: Any) -> None:
    figure.savefig(IMAGES / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _path_length(rows: list[dict[str, float]]) -> Any:
    figure, axes = plt.subplots(figsize=(6, 3.4))
    sides = [row["side"] for row in rows]
    axes.loglog(sides, [row["unscaled"] for row in rows], "o-", label="noise of variance 1")
    axes.loglog(sides, [row["scaled"] for row in rows], "s-", label="noise of variance 1/(H W)")
    axes.loglog(
        sides,
        [rows[0]["unscaled"] * side / sides[0] for side in sides],
        ":",
        color="grey",
        label="in proportion to the side",
    )
    axes.set_xticks(sides, [f"{side:g}" for side in sides])
    axes.minorticks_off()
    axes.set(xlabel="side in pixels", ylabel="mean path length of a new G")
    axes.legend(frameon=False)
    return figure


def _residual(rows: list[dict[str, Any]]) -> Any:
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for row in rows:
        marker, scale = ("o-", "1/√2") if row["residual_scale"] != "1" else ("s--", "1")
        color = "C0" if row["input"] == "smooth" else "C1"
        axes.plot(
            range(1, len(row["rms"]) + 1),
            row["rms"],
            marker,
            color=color,
            label=f"sum × {scale}, {row['input']} images",
        )
    axes.set(xlabel="block of D", ylabel="RMS of activations", ylim=(0, 9))
    axes.legend(frameon=False)
    return figure


def _trelu() -> Any:
    figure, axes = plt.subplots(figsize=(6, 2.6))
    xs = [i / 50 for i in range(-100, 151)]
    for a, style in ((-0.8, "--"), (0.0, "-"), (1.0, "-.")):
        axes.plot(xs, [max(x - a, 0) + a for x in xs], style, label=f"a = {a:g}")
    axes.set(xlabel="x", ylabel="TReLU(x)")
    axes.legend(frameon=False)
    return figure


def _variance() -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axes, run, title, c in ((panels[0], "sngan_cnn-0", "SN", 1.0), (panels[1], "bssn_cnn-0", "BSSN, c = 1.4", 1.4)):
        rows = [
            json.loads(line)
            for line in (DOCS / "results" / "h200_first" / run / "train.jsonl").read_text("utf-8").splitlines()
        ]
        row = [row for row in rows if any(key.startswith("variance/") for key in row)][-1]
        layers = [key.partition("/")[2] for key in row if key.startswith("variance/")]
        lines = {
            "variance": ("measured", "ko"),
            "variance_sn": ("c²/max(m, n): SN at most", "C0-"),
            "variance_wn": ("c²/fan-in: LeCun", "C1--"),
            "variance_bsn": ("2c²/(fan-in + fan-out): Xavier", "C2-."),
        }
        for kind, (label, style) in lines.items():
            values = [row[f"{kind}/{layer}"] * (1.0 if kind == "variance" else c**2) for layer in layers]
            axes.semilogy(range(len(layers)), values, style, label=label, markersize=5)
        axes.set_title(f"{title}, step {row['step']:,}", fontsize=11)
        axes.set_xticks(
            range(len(layers)), [layer.replace("convs.", "conv ") for layer in layers], rotation=45, ha="right"
        )
    panels[0].set_ylabel("variance of D's weights")
    panels[0].legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    sys.exit(script("python -m scripts.docs.figures", Options, main))
