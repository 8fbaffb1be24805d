"""A diagnostic from outside the package, one file and one line: wherever it is promised, and without a trace."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

import gan_lab
from gan_lab.diagnostics.catalogue import Diagnostic
from gan_lab.diagnostics.extra import check_extra, measure_extra
from gan_lab.errors import UserError
from gan_lab.files import read_json
from gan_lab.reporting import write_report
from gan_lab.runs.files import read_rows
from tests.diagnostics.test_measure import RECIPES, assert_same, built, everything, reals
from tests.training import short_runs

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "extend.md").read_text()
MONITORED = ("monitor=light", "monitor.every_steps=2")
RUDE = """
import random

import numpy as np
import torch

from gan_lab.diagnostics.catalogue import Diagnostic


class Rude:
    diagnostics = (Diagnostic("rude/count", "one and a half", panel="Rudeness", limits=(0, None)),
                   Diagnostic("rude/nan", "nothing"))

    def measure(self, batch):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        loss = batch.D(batch.fake, batch.fake_y).sum() + batch.G(batch.z, batch.fake_y).sum()
        loss.backward()
        for net in (batch.G, batch.D.module):
            net.eval().requires_grad_(False)
            with torch.no_grad():
                for tensor in (*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())):
                    tensor.mul_(-3)
        batch.real.zero_()
        return {"rude/count": 1.5, "rude/nan": torch.tensor(float("nan"))}
"""


@pytest.fixture
def outside(importable):
    """A folder that Python imports my_diagnostic.py from."""
    return importable("my_diagnostic", RUDE)


def page_data(folder):
    """The charts of the report on the runs in `folder`: title -> (text, variants)."""
    page = write_report([folder], folder / "report").read_text()
    data = [json.loads(text) for text in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.S)]
    return page, {chart["title"]: chart for d in data for chart in d["charts"]}


def events(run):
    """Scalars of the event file, tag -> step -> value, and its Custom Scalars page: title -> tags."""
    found = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in found.Tags()["scalars"]}
    layout = layout_pb2.Layout.FromString(found.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    return scalars, {chart.title: list(chart.multiline.tag) for c in layout.category for chart in c.chart}


@pytest.mark.slow
def test_the_diagnostic_of_the_guide(outside, tiny_data):
    (code,) = re.findall(r"```python\n# my_diagnostic.py\n(.*?)```", GUIDE, re.DOTALL)
    (outside / "my_diagnostic.py").write_text(code)
    words = re.search(r"python train.py (extensions=\[my_diagnostic\] .*)", GUIDE)[1].split()
    run = short_runs.run(outside / "runs" / "mine", tiny_data, *MONITORED, *words)
    keys = ["noise/real", "noise/fake"]
    rows = {row["step"]: row for row in read_rows(run / "train.jsonl")}
    assert all((key in row) == (step % 2 == 0) for step, row in rows.items() for key in keys) and len(rows) == 3
    assert all(0 < rows[6][key] < math.inf for key in keys)
    scalars, charts = events(run)
    for key in keys:
        tag = f"7 other/{key}"
        assert scalars[tag] == {step: pytest.approx(row[key]) for step, row in rows.items()}
        assert [title for title, tags in charts.items() if any(re.match(t, tag) for t in tags)] == ["Response to noise"]
    page, shown = page_data(outside / "runs")
    assert "noise/real: mean |D(x + 0.1 n) - D(x)|, n normal; noise/fake: the same of fakes." in page
    for key, variant in zip(keys, shown["Response to noise"]["variants"], strict=True):
        assert variant["name"] == key
        assert variant["values"] == [[pytest.approx([row[key] for row in rows.values()], rel=1e-3)]]
    described = read_json(run / "diagnostics.json")
    assert [(d["key"], d["panel"]) for d in described] == [(key, "Response to noise") for key in keys]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [
    pytest.param(["norm=bssn"], marks=pytest.mark.long), ["discriminator=dcgan", "generator=dcgan"], ["augment=ada"],
])  # fmt: skip
def test_training_is_the_same_to_the_bit_whatever_it_does(outside, tiny_data, recipe):
    mine = ["extensions=[my_diagnostic]", "+monitor.extra={rude: {_target_: my_diagnostic.Rude}}"]
    without = short_runs.run(outside / "without", tiny_data, *MONITORED, *recipe)
    run = short_runs.run(outside / "with", tiny_data, *MONITORED, *recipe, *mine)
    short_runs.assert_same(short_runs.state_of(run), short_runs.state_of(without))
    rows = short_runs.rows_of(run, "train.jsonl")
    assert [(row.pop("rude/count"), row.pop("rude/nan")) for row in rows] == [(1.5, None)] * 3
    assert rows == short_runs.rows_of(without, "train.jsonl") and any("grad_cosine/g" in row for row in rows)
    noticed = read_json(run / "summary.json")["events"]
    assert noticed == read_json(without / "summary.json")["events"]
    assert "non_finite" not in {event["kind"] for event in noticed}
    assert not (without / "diagnostics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "batch norm in D", "bssn", "ada", "stylegan2"])
def test_it_leaves_no_trace(outside, tiny_data, recipe):
    import my_diagnostic

    x = built(tiny_data, *RECIPES[recipe])
    for p in (*x.G.parameters(), *list(x.D.parameters())[:-1]):
        p.grad = torch.ones_like(p)
    grads, real = [p.grad for p in x.G.parameters()], reals(x, 0)
    x.extra_diagnostics["rude"] = my_diagnostic.Rude()
    before, batch = everything(x), real.clone()
    values = measure_extra(x, real)
    assert values["rude/count"] == 1.5 and math.isnan(values["rude/nan"])
    assert_same(everything(x), before)
    assert torch.equal(real, batch) and all(p.grad is g for p, g in zip(x.G.parameters(), grads, strict=True))


class Draws:
    """Its batch, and a random number."""

    def __init__(self, name, when="light"):
        keys = ("real", "fake", "logits", "drawn")
        self.name, self.diagnostics = name, [Diagnostic(f"{name}/{key}", "", when=when) for key in keys]

    def measure(self, batch):
        torch.testing.assert_close(batch.real_logits, batch.D(batch.real, batch.y).detach(), rtol=1e-4, atol=1e-7)
        assert batch.fake.shape == batch.real.shape and batch.fake.abs().max() <= 1
        values = batch.real.mean(), batch.fake.mean(), batch.fake_logits.mean(), torch.rand(())
        return dict(zip((d.key for d in self.diagnostics), values, strict=True))


def test_each_has_its_own_random_numbers_and_the_steps_reals(tiny_data):
    x, real = built(tiny_data, "penalty=none"), reals(built(tiny_data, "penalty=none"), 0)
    x.step = 4
    x.extra_diagnostics |= {"a": Draws("a"), "b": Draws("b")}
    both = measure_extra(x, real)
    assert both["a/real"] == both["b/real"] == pytest.approx(float(real.double().mean()), abs=1e-6)
    assert both["a/fake"] != both["b/fake"] and both["a/drawn"] != both["b/drawn"]
    del x.extra_diagnostics["a"]
    torch.manual_seed(3)
    assert measure_extra(x, real) == {key: both[key] for key in both if key.startswith("b")}
    x.step = 6
    assert measure_extra(x, real)["b/drawn"] != both["b/drawn"]


def test_what_is_of_level_full_is_measured_there_only(tiny_data):
    for level, keys in (("light", {"b"}), ("full", {"a", "b"})):
        x = built(tiny_data, "penalty=none", f"monitor={level}")
        x.extra_diagnostics |= {"a": Draws("a", when="full"), "b": Draws("b")}
        assert {key[0] for key in measure_extra(x, reals(x, 0))} == keys


class Gives:
    """Returns what it is told to."""

    diagnostics = (Diagnostic("mine/a", "any"),)

    def __init__(self, found):
        self.found = found

    def measure(self, batch):
        return self.found


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"mine/b": 1.0}, "'mine/b', which its `diagnostics` do not declare"),
        ({"mine/a": "1"}, "mine/a must be one number, got str"),
        ({"mine/a": torch.ones(2)}, "mine/a must be one number, got Tensor"),
        ([1.0], "must return a dictionary, not list"),
    ],
)
def test_a_wrong_answer_is_told(tiny_data, found, message):
    x = built(tiny_data, "penalty=none")
    x.extra_diagnostics["mine"] = Gives(found)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        measure_extra(x, reals(x, 0))
    assert str(caught.value).startswith("monitor.extra.mine: ")
    x.extra_diagnostics["mine"] = Gives({})
    assert measure_extra(x, reals(x, 0)) == {}


def of(*diagnostics):
    own = Gives({})
    own.diagnostics = diagnostics
    return own


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (object(), "object needs a method measure"),
        (of(), "needs a method measure"),
        (of("mine/a"), "needs a method measure"),
        (of(Diagnostic("loss/d", "")), "'loss/d' is already that of another"),
        (of(Diagnostic("grad/raw/{name}", "")), "is already that of another"),
        (of(Diagnostic("step", "")), "'step' is already"),
        (of(Diagnostic("a", ""), Diagnostic("a", "")), "'a' is already"),
        (of(Diagnostic("a", "", when="all")), "when='all'; must be full or light"),
    ],
)
def test_a_wrong_declaration_is_told(own, message):
    with pytest.raises(UserError, match=message):
        check_extra({"mine": own})
    fine = {"mine": of(Diagnostic("a", "")), "other": of(Diagnostic("b/{layer}", ""))}
    assert check_extra(fine) is fine


@pytest.mark.slow
def test_a_wrong_setting_is_told(outside, tiny_data):
    line = "+monitor.extra.mine._target_=my_diagnostic.Rude"

    def refused(*words):
        with pytest.raises(UserError) as caught:
            gan_lab.build(gan_lab.compose(f"data_dir={tiny_data}", "metrics=none", *words))
        return str(caught.value)

    assert "only targets in" in refused(line)
    assert "monitor=off measures nothing" in refused("extensions=[my_diagnostic]", line, "monitor=off")
    assert "monitor.extra.mine has no _target_" in refused("+monitor.extra.mine=1")
    assert "does not take 'bright'" in refused("extensions=[my_diagnostic]", line, "+monitor.extra.mine.bright=1")


@pytest.mark.slow
def test_a_damaged_description_is_a_problem_of_the_run_and_no_more(outside, tiny_data):
    mine = ["extensions=[my_diagnostic]", "+monitor.extra.rude._target_=my_diagnostic.Rude"]
    run = short_runs.run(outside / "runs" / "mine", tiny_data, *MONITORED, *mine)
    assert page_data(outside / "runs")[1]["Rudeness"]["variants"][0]["values"] == [[[1.5, 1.5, 1.5]]]
    for content in ("{", '[{"key": 1}]', '{"key": "a"}'):
        (run / "diagnostics.json").write_text(content)
        page, charts = page_data(outside / "runs")
        assert "diagnostics.json" in page and "rude/count" in charts and "Rudeness" not in charts
    (run / "diagnostics.json").unlink()
    assert "rude/count" in page_data(outside / "runs")[1]
