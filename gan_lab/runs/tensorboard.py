"""TensorBoard pages of a run besides scalars and images: hyperparameters, custom charts, histograms and texts.

Everything is written to the run's own event file, so that a folder of runs is one table with a row for each run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.util import tensor_util
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.tensorboard import SummaryWriter

from gan_lab.config.options import config_dir
from gan_lab.diagnostics.catalogue import Diagnostic, panels
from gan_lab.diagnostics.measure import undisturbed

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
    "Frechet distance": r"metrics/fid\w*",
    "inception score": r"metrics/is_(?!\w*std)\w+",
    "kernel distance": r"metrics/kid(?!\w*std)\w*",
    "precision, recall, density, coverage": r"metrics/(precision|recall|density|coverage)\w*",
    "modes": r"metrics/modes(?!_kl)\w*",
    "divergence of modes": r"metrics/modes_kl\w*",
}
"""Charts of the evaluations' figures: title -> regular expression of tags."""
_ENDS = {"finished": api_pb2.STATUS_SUCCESS, "diverged": api_pb2.STATUS_FAILURE, "collapsed": api_pb2.STATUS_FAILURE}


def describe_run(
    writer: SummaryWriter,
    tree: Mapping[str, Any],
    figures: Sequence[str],
    layers: Sequence[str],
    extra: Sequence[Diagnostic] = (),
) -> None:
    """Write hyperparameters, chart layout and recipe. Call this only at step 0, so that a resumed run has them once.

    figures: keys of the evaluation, without `metrics/`; layers: names of D's layers that have a weight; extra: the
    diagnostics of `monitor.extra`.
    """
    file = writer._get_file_writer()
    for summary in (*hparams_summaries(tree, figures), custom_scalars_layout(layers, figures, extra)):
        file.add_summary(summary, 0)
    writer.add_text("recipe", recipe_card(tree), 0)


def end_run(writer: SummaryWriter, status: str) -> None:
    """Write the final status of a run. Interrupted and failed runs have none, as they may be resumed."""
    if status in _ENDS:
        info = plugin_data_pb2.SessionEndInfo(status=_ENDS[status], end_time_secs=time.time())
        data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
        writer._get_file_writer().add_summary(_summary(metadata.SESSION_END_INFO_TAG, data))


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
    tags = [f"metrics/{name}" for name in figures]
    metrics = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=tag.split("/")[1]) for tag in tags]
    experiment = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics, time_created_secs=time.time())
    start = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
    for key, value in hparams_of(tree).items():
        if isinstance(value, str):
            start.hparams[key].string_value = value
        else:
            start.hparams[key].number_value = value
    return (
        _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=experiment)),
        _summary(metadata.SESSION_START_INFO_TAG, plugin_data_pb2.HParamsPluginData(session_start_info=start)),
    )


def _summary(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def layout(
    layers: Sequence[str], figures: Sequence[str] = (), extra: Sequence[Diagnostic] = ()
) -> dict[str, dict[str, list[str]]]:
    """Return category -> chart -> regular expressions, each matching whole tags.

    Includes the diagnostics of the catalogue, `extra` diagnostics, and the evaluations' figures. A diagnostic of layers
    that has references becomes a category, with a chart for each layer. A figure that no chart shows, as of a user's
    metric, gets its own chart.
    """
    quality = dict(_QUALITY)
    known = [re.compile(tag) for tag in quality.values()]
    for figure in figures:
        if not figure.endswith("_std") and not any(tag.fullmatch(f"metrics/{figure}") for tag in known):
            quality[figure] = re.escape(f"metrics/{figure}")
    categories = {"Quality": {chart: [f"(?:{tag})$"] for chart, tag in quality.items()}}
    for section, charts in panels(extra).items():
        for title, shown in charts.items():
            if any("{layer}" in d.key and d.beside for d in shown):
                categories[title] = {
                    layer: [f"{re.escape(d.key.replace('{layer}', layer))}$" for d in shown] for layer in layers
                }
            else:
                categories.setdefault(section, {})[title] = [f"(?:{d.pattern})$" for d in shown]
    return {category: charts for category, charts in categories.items() if charts}


def custom_scalars_layout(
    layers: Sequence[str], figures: Sequence[str] = (), extra: Sequence[Diagnostic] = ()
) -> Summary:
    """Make the summary for TensorBoard's Custom Scalars page from `layout`."""
    categories = []
    for category, charts in layout(layers, figures, extra).items():
        lines = {chart: layout_pb2.MultilineChartContent(tag=tags) for chart, tags in charts.items()}
        made = [layout_pb2.Chart(title=chart, multiline=content) for chart, content in lines.items()]
        categories.append(layout_pb2.Category(title=category, chart=made))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    tag, about = layout_metadata.CONFIG_SUMMARY_TAG, layout_metadata.create_summary_metadata()
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor_util.make_tensor_proto(content))])


def recipe_card(tree: Mapping[str, Any]) -> str:
    """Describe the run in markdown: the header of the recipe's file, and a table of hyperparameters."""
    lines = []
    if tree["recipe"]:
        path = config_dir() / "recipe" / f"{tree['recipe']}.yaml"
        lines.append(f"## {tree['recipe']}\n")
        for line in path.read_text().splitlines() if path.is_file() else []:
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
