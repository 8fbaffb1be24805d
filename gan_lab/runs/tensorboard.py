"""TensorBoard pages of a run besides scalars and images: hyperparameters, custom charts, histograms and texts.

Everything is written to the run's own event file, so that a folder of runs is one table with a row for each run.
"""

import io
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars

from gan_lab.config.options import config_dir
from gan_lab.diagnostics.catalogue import Diagnostic, find, panels
from gan_lab.diagnostics.measure import undisturbed
from gan_lab.runs.image_grid import save_png

NUMBER, TEXT = api_pb2.DATA_TYPE_FLOAT64, api_pb2.DATA_TYPE_STRING
HPARAMS = {
    "recipe": TEXT, "dataset": TEXT, "generator": TEXT, "discriminator": TEXT, "norm": TEXT, "norm.scale": NUMBER,
    "loss": TEXT, "penalties": TEXT, "lr_g": NUMBER, "lr_d": NUMBER, "betas_g": TEXT, "betas_d": TEXT,
    "batch_size": NUMBER, "n_dis": NUMBER, "augment": TEXT, "seed": NUMBER,
}  # fmt: skip
"""Columns of the table and their types. They are the same in all runs, as the plugin reads them from any one run."""
_SHOWN = ("lr_d", "norm", "norm.scale", "recipe", "seed")
"""The columns that sweeps vary most. The page shows five at first, these before others."""
_QUALITY = {
    "Frechet distance": r"fid\w*",
    "inception score": r"is_(?!\w*std)\w+",
    "kernel distance": r"kid(?!\w*std)\w*",
    "precision, recall, density, coverage": r"(precision|recall|density|coverage)\w*",
    "modes": r"modes(?!_kl)\w*",
    "divergence of modes": r"modes_kl\w*",
}
"""Charts of the evaluations' figures: title -> regular expression of their names."""
_SECTIONS = {
    "Losses and logits": "4 losses and logits",
    "Gradients": "5 gradients",
    "Spectra and variance": "6 spectra and variance",
    "Other": "7 other",
}
"""Section of the catalogue -> group of tags. TensorBoard sorts groups by name: quality and samples come first."""
_FIRST, _FIGURES = "1 FID and IS", "3 other figures"
_ENDS = {"finished": api_pb2.STATUS_SUCCESS, "diverged": api_pb2.STATUS_FAILURE, "collapsed": api_pb2.STATUS_FAILURE}


def figure_tag(name: str) -> str:
    """Return the tag of an evaluation's figure: FID and inception score are in the first group."""
    first = re.fullmatch(r"(fid|is_)\w*", name) and not name.endswith("_std")
    return f"{_FIRST if first else _FIGURES}/{name}"


def scalar_tag(key: str, extra: Sequence[Diagnostic] = ()) -> str:
    """Return the tag of a scalar of train.jsonl: its section of the catalogue, and the key."""
    found = find(key, extra)
    return f"{_group(found.section if found else 'Other')}/{key}"


def _group(section: str) -> str:
    return _SECTIONS.get(section, f"8 {section}")


def grid_tag(name: str, averaged: bool) -> str:
    """Return the tag of a grid of images: samples, raw or real. averaged: samples are of a moving average of G."""
    titles = {"samples": "averaged weights" if averaged else "weights", "raw": "raw weights"}
    return f"2 samples of fixed z/{titles[name]}" if name in titles else f"9 {name} images/{name}"


def add_image(writer: SummaryWriter, step: int, tag: str, picture: NDArray[np.uint8]) -> None:
    """Write a picture (uint8, h w 3), compressed as the files of grids are; SummaryWriter takes twice as long."""
    buffer = io.BytesIO()
    save_png(torch.from_numpy(picture).permute(2, 0, 1), buffer)
    height, width, _ = picture.shape
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


class Charts:
    """Write scalars, and the layout of the Custom Scalars page: the charts of what has been written, no empty ones.

    extra: the diagnostics of `monitor.extra`. keys, figures: those that the run wrote before it was resumed.
    """

    def __init__(
        self, writer: SummaryWriter, extra: Sequence[Diagnostic], keys: Iterable[str] = (), figures: Iterable[str] = ()
    ) -> None:
        self.writer, self.extra = writer, extra
        self.keys, self.figures = set(keys), set(figures)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write a row of train.jsonl."""
        for key, number in values.items():
            self.writer.add_scalar(scalar_tag(key, self.extra), number, step)
        self._show(self.keys, values, step)

    def evaluation(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of an evaluation."""
        for name, number in figures.items():
            self.writer.add_scalar(figure_tag(name), number, step)
        self._show(self.figures, figures, step)

    def _show(self, known: set[str], new: Iterable[str], step: int) -> None:
        """Write the layout anew if there is something new. TensorBoard takes the last one."""
        if not known.issuperset(new):
            known.update(new)
            summary = custom_scalars_layout(self.keys, self.figures, self.extra)
            self.writer._get_file_writer().add_summary(summary, step)


def describe_run(writer: SummaryWriter, tree: Mapping[str, Any], figures: Sequence[str]) -> None:
    """Write hyperparameters and recipe. Call this only at step 0, so that a resumed run has them once.

    figures: names of the evaluation's figures.
    """
    file = writer._get_file_writer()
    for summary in hparams_summaries(tree, figures):
        file.add_summary(summary, 0)
    writer.add_text("recipe", recipe_card(tree), 0)


def end_run(writer: SummaryWriter, status: str) -> None:
    """Write the final status of a run. Interrupted and failed runs have none, as they may be resumed."""
    if status in _ENDS:
        info = plugin_data_pb2.SessionEndInfo(status=_ENDS[status], end_time_secs=time.time())
        writer._get_file_writer().add_summary(_summary(metadata.SESSION_END_INFO_TAG, session_end_info=info))


def hparams_of(tree: Mapping[str, Any]) -> dict[str, float | str]:
    """Return the run's values for the columns of HPARAMS, without those that do not apply or hold a schedule."""
    norm, g, d = tree["norm"], tree["optimizer"]["g"], tree["optimizer"]["d"]
    values: dict[str, Any] = {
        "recipe": tree["recipe"] or "none",
        "dataset": tree["dataset"].get("name") or _short(tree["dataset"]),
        "generator": _short(tree["generator"]).removesuffix("Generator"),
        "discriminator": _short(tree["discriminator"]).removesuffix("Discriminator"),
        "norm": norm_name(norm),
        "norm.scale": norm.get("scale"),
        "loss": _short(tree["loss"]["d"]).removesuffix("_d"),
        "penalties": "+".join(tree["penalty"]) or "none",
        "lr_g": g.get("lr"),
        "lr_d": d.get("lr"),
        "betas_g": _betas(g),
        "betas_d": _betas(d),
        "batch_size": tree["trainer"]["batch_size"],
        "n_dis": tree["trainer"]["n_dis"],
        "augment": _short(tree["augment"]),
        "seed": tree["seed"],
    }
    wanted = {NUMBER: (int, float), TEXT: (str,)}
    return {key: values[key] for key, kind in HPARAMS.items() if isinstance(values[key], wanted[kind])}


def norm_name(node: Mapping[str, Any]) -> str:
    """Return the papers' name of a weight norm: sn, ssn, bsn or bssn (s: a scale other than 1); else its class name."""
    if _short(node) != "SpectralNorm":
        return _short(node)
    return "b" * bool(node.get("bidirectional")) + "s" * (node.get("scale", 1.0) != 1.0) + "sn"


def _short(node: Mapping[str, Any] | None) -> str:
    return str((node or {}).get("_target_", "none")).rpartition(".")[2]


def _betas(node: Mapping[str, Any]) -> str:
    betas = node.get("betas")
    if not isinstance(betas, (list, tuple)):
        return "none"
    return ", ".join("schedule" if isinstance(b, Mapping) else f"{b:g}" for b in betas)


def hparams_summaries(tree: Mapping[str, Any], figures: Sequence[str]) -> tuple[Summary, Summary]:
    """Make the summaries for TensorBoard's HParams page: the table's columns, and this run's hyperparameters.

    The figures' values are not included: the page takes the last of each from the run's scalars.
    """
    columns = [api_pb2.HParamInfo(name=name, type=kind, differs=name in _SHOWN) for name, kind in HPARAMS.items()]
    tags = sorted((figure_tag(name) for name in figures), key=lambda tag: not tag.startswith(_FIRST))
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=tag.split("/")[1]) for tag in tags]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics, time_created_secs=time.time())
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in hparams_of(tree).items():
        if isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    return (
        _summary(metadata.EXPERIMENT_TAG, experiment=experiment),
        _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start),
    )


def _summary(tag: str, **content: Any) -> Summary:
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def layout(
    keys: Iterable[str], figures: Iterable[str] = (), extra: Sequence[Diagnostic] = ()
) -> dict[str, dict[str, list[str]]]:
    """Return category -> chart -> regular expressions, each matching whole tags, for what has been written.

    keys: of train.jsonl; figures: of the evaluations. A diagnostic of layers that has references becomes a category,
    with a chart for each layer. A figure that no chart shows, as of a user's metric, gets its own chart. Runs share
    their charts, as the expressions do not depend on what else a run has written.
    """
    keys, quality = sorted(keys), dict(_QUALITY)
    for figure in sorted(figures):
        if not figure.endswith("_std") and not any(re.fullmatch(name, figure) for name in quality.values()):
            quality[figure] = re.escape(figure)
    shown = {c: name for c, name in quality.items() if any(re.fullmatch(name, figure) for figure in figures)}
    categories = {"Quality": {c: [f"[13] [^/]+/(?:{name})$"] for c, name in shown.items()}}
    for section, charts in panels(extra).items():
        for title, diagnostics in charts.items():
            written = [key for key in keys if any(d.matches(key) for d in diagnostics)]
            if not written:
                continue
            family = next((d for d in diagnostics if d.beside and "{layer}" in d.key), None)
            if family is None:
                patterns = [f"{re.escape(_group(d.section))}/(?:{d.pattern})$" for d in diagnostics]
                categories.setdefault(section, {})[title] = patterns
                continue
            layers = dict.fromkeys(key.partition("/")[2] for key in written)
            categories[title] = {
                layer: [f"{re.escape(_group(d.section))}/{re.escape(d.key.replace('{layer}', layer))}$"
                        for d in diagnostics]
                for layer in layers
            }  # fmt: skip
    return {category: charts for category, charts in categories.items() if charts}


def custom_scalars_layout(keys: Iterable[str], figures: Iterable[str], extra: Sequence[Diagnostic] = ()) -> Summary:
    """Make the summary for TensorBoard's Custom Scalars page from `layout`."""
    lines = {
        category: {chart: ("Multiline", tags) for chart, tags in charts.items()}
        for category, charts in layout(keys, figures, extra).items()
    }
    return custom_scalars(lines)


def recipe_card(tree: Mapping[str, Any]) -> str:
    """Describe the run in markdown: the header of the recipe's file, and a table of hyperparameters."""
    lines = []
    if tree["recipe"]:
        path = config_dir() / "recipe" / f"{tree['recipe']}.yaml"
        lines.append(f"## {tree['recipe']}\n")
        for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
            comment = line.removeprefix("#")
            if comment != line and "@package" not in comment:
                # Markdown reads four spaces as code only between empty lines.
                lines.append(f"\n{comment}\n" if comment.startswith("    ") else comment.strip())
    rows = [f"| {k} | {v if isinstance(v, str) else format(v, 'g')} |" for k, v in hparams_of(tree).items()]
    return "\n".join([*lines, "", "| setting | value |", "|---|---|", *rows])


@torch.no_grad()
def logit_histograms(
    writer: SummaryWriter, step: int, D: nn.Module, batches: Mapping[str, tuple[Tensor, Tensor | None]]
) -> None:
    """Write a histogram of D's logits for each batch of images (b c h w, in [-1, 1]) and classes (b).

    D runs in evaluation mode, so that one rank of several can do this alone, and its state is restored.
    """
    for name, (images, y) in batches.items():
        with undisturbed(D), parametrize.cached():
            logits = D.eval()(images, y).float()
        finite = logits[torch.isfinite(logits)]
        if len(finite):
            writer.add_histogram(f"D_logits/{name}", finite, step)
