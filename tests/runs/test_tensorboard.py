"""What TensorBoard itself reads from the files we write."""

import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.options import config_dir
from gan_lab.diagnostics.catalogue import Diagnostic
from gan_lab.norms import SpectralNorm, apply_weight_norm
from gan_lab.runs import tensorboard as tb

LAYERS = ["block[1].conv", "main.0"]
LAYOUT = "custom_scalars__config__"
FID, KID = "1 FID and IS/fid", "3 other figures/kid"


@pytest.fixture(scope="module")
def trees():
    words = {
        "sn": ["norm=sn", "seed=1"], "bssn": ["norm=bssn", "norm.scale=1.2", "seed=2", "optimizer=rmsprop"],
        "recipe": ["recipe=wgan_gp"], "none": ["norm=none", "penalty=[r1,lecam]", "augment=ada"],
        "schedules": ["recipe=r3gan"],
    }  # fmt: skip
    return {name: check(compose(*w)).tree() for name, w in words.items()}


@pytest.fixture(scope="module")
def board(trees, tmp_path_factory):
    """TensorBoard's data of two runs: one that ended, one stopped before its end, resumed, and not yet ended."""
    folder = tmp_path_factory.mktemp("runs")
    with SummaryWriter(str(folder / "a")) as writer:
        tb.describe_run(writer, trees["sn"], ["kid", "fid"])
        charts = tb.Charts(writer, [])
        for step, fid in ((0, 50.0), (10, 20.0)):
            charts.evaluation({"kid": 0.1, "fid": fid}, step)
            charts.scalars({"loss/d": 1.0, "variance/main.0": 0.1, "variance/block[1].conv": 0.3}, step)
            writer.add_scalar("6 spectra and variance/variance/mainX0", 0.2, step)
        tb.end_run(writer, "finished")
    with SummaryWriter(str(folder / "b")) as writer:
        tb.describe_run(writer, trees["bssn"], ["kid", "fid"])
        tb.Charts(writer, []).evaluation({"fid": 40.0}, 0)
        tb.end_run(writer, "interrupted")
    with SummaryWriter(str(folder / "b"), purge_step=1) as writer:
        tb.Charts(writer, [], [], ["fid"]).evaluation({"fid": 30.0}, 10)
    multiplexer = EventMultiplexer(size_guidance={"tensors": 0})
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    plugins: dict[str, object] = {}
    context = TBContext(
        data_provider=provider, multiplexer=multiplexer, logdir=str(folder), plugin_name_to_instance=plugins
    )
    plugins["scalars"] = ScalarsPlugin(context)
    return SimpleNamespace(folder=folder, context=context)


@pytest.mark.slow
def test_the_hparams_table_has_one_row_for_each_run_with_its_last_figures(board):
    context = backend_context.Context(board.context)
    hparams = context.hparams_metadata(RequestContext(), "")
    experiment = context.experiment_from_metadata(
        RequestContext(), "", True, hparams, context.hparams_from_data_provider(RequestContext(), "", None)
    )
    assert {info.name for info in experiment.hparam_infos} == set(tb.HPARAMS)
    assert [info.name.tag for info in experiment.metric_infos] == [FID, KID]
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=10, allowed_statuses=statuses, aggregation_type=api_pb2.AGGREGATION_AVG
    )
    handler = list_session_groups.Handler(RequestContext(), context, "", request)
    rows = {group.sessions[0].name: group for group in handler.run().session_groups}
    assert set(rows) == {"a", "b"} and all(len(row.sessions) == 1 for row in rows.values())
    figures = {n: {m.name.tag: (m.value, m.training_step) for m in row.metric_values} for n, row in rows.items()}
    assert figures == {"a": {FID: (20.0, 10), KID: (pytest.approx(0.1), 10)}, "b": {FID: (30.0, 10)}}
    assert [rows[n].sessions[0].status for n in "ab"] == [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_UNKNOWN]
    a, b = rows["a"].hparams, rows["b"].hparams
    assert (a["norm"].string_value, a["norm.scale"].number_value, a["seed"].number_value) == ("sn", 1.0, 1.0)
    assert (b["norm"].string_value, b["norm.scale"].number_value, b["betas_d"].string_value) == ("bssn", 1.2, "none")


def test_a_run_that_went_on_is_described_once(board):
    runs = {name: EventAccumulator(str(board.folder / name), size_guidance={"tensors": 0}).Reload() for name in "ab"}
    for run in runs.values():
        tags = run.Tags()["tensors"]
        assert tags.count("_hparams_/experiment") == 1
        for tag in ("_hparams_/session_start_info", "recipe/text_summary"):
            assert len(run.Tensors(tag)) == 1, tag
    assert len(runs["a"].Tensors(LAYOUT)) == 2  # after the first figures, and with the first scalars
    assert len(runs["b"].Tensors(LAYOUT)) == 1  # the run that went on knew its charts
    assert "_hparams_/session_end_info" in runs["a"].Tags()["tensors"]
    assert "_hparams_/session_end_info" not in runs["b"].Tags()["tensors"]


def test_custom_scalars_shows_a_layer_beside_its_bounds_and_no_other(board):
    plugin = CustomScalarsPlugin(board.context)
    layout = json.loads(plugin.layout_impl(RequestContext(), ""))
    charts = {category["title"]: category["chart"] for category in layout["category"]}
    assert list(charts) == ["Quality", "Losses and logits", "Variance of effective weights"]
    assert [chart["title"] for chart in charts["Quality"]] == ["Frechet distance", "kernel distance"]
    assert [chart["title"] for chart in charts["Losses and logits"]] == ["Losses"]
    assert [chart["title"] for chart in charts["Variance of effective weights"]] == LAYERS
    chart = charts["Variance of effective weights"][1]
    shown = [plugin.scalars_impl(RequestContext(), "a", tag, "")["tag_to_events"] for tag in chart["multiline"]["tag"]]
    found = [set(events) for events in shown]
    assert found == [{"6 spectra and variance/variance/main.0"}, set(), set(), set()]
    for category in charts.values():  # no chart is empty
        for chart in category:
            tags = chart["multiline"]["tag"]
            assert any(plugin.scalars_impl(RequestContext(), "a", t, "")["tag_to_events"] for t in tags), chart["title"]


# Every key of train.jsonl and metrics.jsonl that has a chart -> the chart.
CHARTS = {
    "loss/d": "Losses", "penalty/r1": "Penalties", "logits/held_out": "Logits of D",
    "logits/real_sign": "Signs of logits", "logits/overfit_gap": "Logits of D",
    "metrics/fid": "Frechet distance", "metrics/fid_shapes": "Frechet distance", "metrics/fid768": "Frechet distance",
    "metrics/is_mean": "inception score", "metrics/is_shapes": "inception score", "metrics/is_std": None,
    "metrics/is_shapes_std": None, "metrics/kid": "kernel distance", "metrics/kid_shapes": "kernel distance",
    "metrics/kid_std": None, "metrics/kid_shapes_std": None,
    "metrics/recall_shapes": "precision, recall, density, coverage", "metrics/modes_shapes": "modes",
    "metrics/modes_kl_shapes": "divergence of modes", "spread/pixels": "Spread of fixed-z samples, pixels",
    "spread/features": "Spread of fixed-z samples, features",
    "grad/effective/joint": "Gradient of D's loss", "grad/bound": "Gradient of D's loss",
    "grad/effective/joint.0": "Gradient of D by effective weights", "grad/raw/main.0": "Gradient of D by raw weights",
    "grad/g/joint": "Gradient norms", "grad_norm/d": "Gradient norms", "update_ratio/g": "Update over weight",
    "grad_cosine/d": "Cosine of successive gradients", "sigma/main.0": "Spectral norm, running",
    "sigma_product": "Product of spectral norms", "sigma_exact_out/main.0": "Spectral norm, exact, by output",
    "sigma_exact_in/main.0": "Spectral norm, exact, by input", "lr/g": "Learning rates", "images_per_second": "Speed",
    "variance/main.0": "main.0", "variance_sn/main.0": "main.0", "variance/main": None, "metrics/loss/d": None,
}  # fmt: skip


@pytest.mark.parametrize(("key", "chart"), CHARTS.items())
def test_every_curve_is_in_the_chart_it_belongs_to(key, chart):
    written = {k for k, c in CHARTS.items() if c is not None or k.endswith("_std")}
    keys = {k for k in written if not k.startswith("metrics/")}
    figures = {k.partition("/")[2] for k in written - keys}
    charts = {title: tags for inner in tb.layout(keys, figures).values() for title, tags in inner.items()}
    tag = tb.figure_tag(key.partition("/")[2]) if key.startswith("metrics/") else tb.scalar_tag(key)
    assert [title for title, tags in charts.items() if any(re.match(t, tag) for t in tags)] == [chart] * bool(chart)


def test_only_what_was_written_has_a_chart():
    assert tb.layout([], []) == {}
    assert tb.layout(["loss/d"]).keys() == {"Losses and logits"}
    assert list(tb.layout(["ada/p", "lr/g"], ["fid768"])) == ["Quality", "Other"]
    assert tb.layout(["ada/p", "lr/g"])["Other"].keys() == {"ADA probability", "Learning rates"}


def test_groups_of_tags_come_in_the_order_of_what_one_looks_for():
    mine = Diagnostic("mine/x", "mine", section="Mine")
    tags = [
        *map(tb.figure_tag, ("fid_shapes", "is_mean")), tb.grid_tag("samples", True), tb.grid_tag("raw", True),
        tb.figure_tag("precision"), *map(tb.scalar_tag, ("loss/d", "grad_norm/g", "sigma_product", "lr/g", "new")),
        tb.scalar_tag("mine/x", [mine]), tb.grid_tag("real", True),
    ]  # fmt: skip
    groups = [tag.partition("/")[0] for tag in tags]
    assert groups == sorted(groups) and len(set(groups)) == 9
    assert tags[2].endswith("/averaged weights") and tb.grid_tag("samples", False).endswith("/weights")
    assert tb.figure_tag("is_std").startswith("3 ") and tb.figure_tag("intra_fid768").startswith("3 ")


def test_a_figure_from_outside_has_a_chart_of_its_own():
    figures = ["fid768", "kid768_std", "sharpness", "sharpness_std", "intra_fid768", "intra_fid768/0"]
    quality = tb.layout([], figures)["Quality"]
    assert quality.keys() == {"Frechet distance", "sharpness", "intra_fid768", "intra_fid768/0"}
    assert re.match(quality["sharpness"][0], tb.figure_tag("sharpness"))
    assert not re.match(quality["sharpness"][0], tb.figure_tag("sharpness_std"))


def test_the_columns_are_the_same_few_for_every_run_and_of_their_type(trees):
    for tree in trees.values():
        values = tb.hparams_of(tree)
        assert values.keys() <= tb.HPARAMS.keys() and values.keys() >= {"norm", "seed", "loss", "batch_size"}
        for key, value in values.items():
            assert isinstance(value, str) == (tb.HPARAMS[key] == tb.TEXT)
    assert tb.hparams_of(trees["none"])["penalties"] == "r1+lecam" and "norm.scale" not in tb.hparams_of(trees["none"])
    assert tb.hparams_of(trees["none"])["augment"] == "ADA"
    assert tb.hparams_of(trees["recipe"])["recipe"] == "wgan_gp" and tb.hparams_of(trees["recipe"])["n_dis"] == 5
    scheduled = tb.hparams_of(trees["schedules"])
    assert scheduled["lr_d"] == 2e-4 and scheduled["betas_d"] == "0, schedule"
    lr = {"_target_": "gan_lab.schedules.Linear", "start": 1e-4, "end": 0.0}
    found = tb.hparams_of({**trees["sn"], "optimizer": {"d": {"lr": lr}, "g": {"lr": 1e-4}}})
    assert "lr_d" not in found and found["lr_g"] == 1e-4


@pytest.mark.parametrize("name", ["none", "sn", "ssn", "bsn", "bssn"])
def test_norms_are_called_as_their_option(name):
    assert tb.norm_name(compose(f"norm={name}").norm) == name


def test_the_recipe_card_says_what_the_recipe_says(trees):
    card = tb.recipe_card(trees["recipe"])
    header = (config_dir() / "recipe" / "wgan_gp.yaml").read_text()
    assert re.search(r"arXiv:\d+\.\d+", header)[0] in card and "python train.py recipe=wgan_gp" in card
    assert "\n| n_dis | 5 |" in card and "@package" not in card
    assert tb.recipe_card(trees["sn"]).strip().startswith("| setting | value |")


class Unconditional(nn.Sequential):
    def forward(self, x, y=None):
        assert y is None
        return super().forward(x)


def test_histograms_are_of_the_logits_and_leave_the_discriminator_as_it_was(tmp_path):
    torch.manual_seed(0)
    D = Unconditional(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(1), nn.Flatten(0))
    real, fake = torch.randn(8, 3, 6, 6), torch.full((8, 3, 6, 6), float("nan"))
    D(real)
    apply_weight_norm(D, SpectralNorm())
    before = {k: v.clone() for k, v in D.state_dict().items()}
    expected = D.eval()(real).detach()
    D.train()
    with SummaryWriter(str(tmp_path)) as writer:
        tb.logit_histograms(writer, 3, D, {"real": (real, None), "fake": (fake, None)})
    for key, value in D.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    assert D.training and all(p.grad is None for p in D.parameters())
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator as Old

    old = Old(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    assert old.Tags()["histograms"] == ["D_logits/real"]  # logits that are not finite have no histogram
    histogram = old.Histograms("D_logits/real")[0]
    assert histogram.step == 3 and histogram.histogram_value.num == 8
    assert histogram.histogram_value.min == pytest.approx(float(expected.min()))
    assert histogram.histogram_value.sum == pytest.approx(float(expected.sum()), rel=1e-5)
    assert "D_logits/real" in accumulator.Tags()["tensors"]


def test_a_picture_is_read_as_it_was_written(tmp_path):
    picture = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)
    with SummaryWriter(str(tmp_path)) as writer:
        tb.add_image(writer, 7, "2 samples/x", picture)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (event,) = events.Tensors("2 samples/x")
    width, height, png = event.tensor_proto.string_val
    assert (event.step, width, height) == (7, b"9", b"6")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), picture)
