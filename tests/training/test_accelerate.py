"""Updates as graphs are the updates as they are written: on a recorder here, on CUDA where there is a GPU."""

import logging
import math

import pytest
import torch

import gan_lab
from gan_lab.config import config_dir
from gan_lab.norms import joint
from gan_lab.randomness import step_randomness
from gan_lab.training import accelerate
from gan_lab.training.accelerate import Updates, apart, changing, no_graph
from gan_lab.training.step import set_hyper
from tests.training import recorder

RMSPROP = ("wgan", "wn_gan")  # their optimizer is never captured
RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml") if p.stem not in RMSPROP)
LAZY = {"stylegan2": ["path_length", "r1"], "stylegan2_ada": ["r1"], "stylegan2_cifar": ["r1"]}
STEPS = 8


@pytest.fixture(autouse=True)
def _numbers_are_far(monkeypatch):
    """Without a graph, too: else two ways to the same gradient would be compared, whose rounding grows with steps."""
    monkeypatch.setattr(joint, "numbers_at_hand", lambda tensor: False)


def experiment(data, *words):
    torch.manual_seed(0)
    return gan_lab.build(
        gan_lab.compose(f"data_dir={data}", "metrics=none", "trainer.batch_size=4", "trainer.device=cpu", *words)
    )


def of_recipe(data, recipe, *words):
    width = 0.03 if recipe == "r3gan" else 0.0625
    return experiment(data, f"recipe={recipe}", f"width={width}", *words)


def play(x, updates, steps=STEPS):
    """Steps with learning rates, weights and images that move; returns what was logged."""
    logs = []
    for i in range(steps):
        seen = 1000.0 * i
        for optimizer, hyper in ((x.optimizer_d, x.hyper_d), (x.optimizer_g, x.hyper_g)):
            set_hyper(optimizer, hyper, 1.0 / (1 + i), seen)
        real = x.dataset.images("train", torch.arange(4 * i, 4 * i + 4)).float().to(x.device) / 127.5 - 1
        for update, run in enumerate((updates.d, updates.g)):
            with step_randomness(7, i, update, x.device):
                logs.append(run(real, i, seen))
    return [{k: float(v) for k, v in log.items()} for log in logs]


def assert_same_run(a, b, logs_a, logs_b):
    """The same state and logs, up to the rounding of a learning rate to fp32."""
    for part_a, part_b in zip(changing(a), changing(b), strict=True):
        for one, other in zip(part_a, part_b, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for one, other in zip(logs_a, logs_b, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*RECIPES, "sngan_cnn penalty=clip", "dcgan penalty=consistency augment=diffaugment",
                                    "sngan_resnet penalty=lecam", "sngan_cnn loss=relativistic norm=wn"])  # fmt: skip
def test_a_recorded_recipe_is_the_recipe(tiny_data, monkeypatch, recipe):
    recipe, *words = recipe.split()
    lazy = [f"penalty.{name}.interval=2" for name in LAZY.get(recipe, [])]
    plain, x = (of_recipe(tiny_data, recipe, *lazy, *words) for _ in range(2))
    logs = play(plain, Updates(plain, "none"))
    graphs = recorder.install(monkeypatch, x)
    monkeypatch.setattr(accelerate, "EAGER_BEFORE_CAPTURE", 1)
    updates = Updates(x, "graph")
    found = play(x, updates)
    assert updates.graphed and len(graphs) == len(updates.graphs) == 2 + len(lazy)
    # One update is eager, one recorded and replayed to be compared, the others replayed.
    assert sum(graph.replays for graph in graphs) == 2 * STEPS - len(graphs)
    assert_same_run(plain, x, logs, found)


def test_a_schedule_reaches_the_graph(tiny_data, monkeypatch):
    """gamma falls from 2 to 0.5: a graph that kept the first value would be elsewhere."""
    gamma = ("penalty=r1r2_annealed", "penalty.r1r2.weight.start=2.0", "penalty.r1r2.weight.end=0.5",
             "+penalty.r1r2.weight.over_images=7000")  # fmt: skip
    words = ("width=0.0625", *gamma)
    runs = []
    for mode in ("none", "graph"):
        x = experiment(tiny_data, *words)
        if mode == "graph":
            recorder.install(monkeypatch, x)
        runs.append((x, play(x, Updates(x, mode))))
    assert_same_run(runs[0][0], runs[1][0], runs[0][1], runs[1][1])
    frozen = experiment(tiny_data, *words, "penalty.r1r2.weight.end=2.0")
    play(frozen, Updates(frozen, "none"))
    assert apart(changing(frozen)[0], changing(x)[0], changing(experiment(tiny_data, *words))[0]) > 0.01


class StaleRandomness(recorder.Graph):
    """A graph that draws the same numbers whatever the generator says."""

    def replay(self):
        torch.manual_seed(123)
        super().replay()


class Broken(recorder.Graph):
    def replay(self):
        raise RuntimeError("an illegal memory access\nand what follows")


@pytest.mark.parametrize("kind, reason", [(StaleRandomness, "of an update away"), (Broken, "illegal memory access)")])
def test_a_graph_that_does_something_else_is_not_used(tiny_data, monkeypatch, caplog, kind, reason):
    words = ("width=0.0625", "penalty.r1r2.interval=1")
    plain = experiment(tiny_data, *words)
    logs = play(plain, Updates(plain, "none"))
    x = experiment(tiny_data, *words)
    recorder.install(monkeypatch, x, kind)
    updates = Updates(x, "graph")
    with caplog.at_level(logging.WARNING):
        found = play(x, updates)
    assert not updates.graphed and len(caplog.messages) == 1
    assert "no CUDA graph of the update of D" in caplog.messages[0] and reason in caplog.messages[0]
    assert_same_run(plain, x, logs, found)


def test_a_state_that_cannot_be_copied_is_trained_without_graphs(tiny_data, monkeypatch, caplog):
    words = ("width=0.0625", "penalty.r1r2.interval=1")
    plain, x = (experiment(tiny_data, *words) for _ in range(2))
    logs = play(plain, Updates(plain, "none"))
    recorder.install(monkeypatch, x)

    def full(device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "get_rng_state", full)
    with caplog.at_level(logging.WARNING):
        found = play(x, Updates(x, "graph"))
    assert len(caplog.messages) == 1 and "memory is too short" in caplog.messages[0]
    assert_same_run(plain, x, logs, found)


def test_what_waits_for_the_host_cannot_be_captured(tiny_data, monkeypatch, caplog):
    x = experiment(tiny_data, "width=0.0625")
    recorder.install(monkeypatch, x)
    x.d_loss = lambda real, fake: real.mean() * float(fake.detach().mean())
    updates = Updates(x, "graph")
    with caplog.at_level(logging.WARNING):
        play(x, updates)
    assert not updates.graphed and "not permitted" in caplog.messages[0] and len(caplog.messages) == 1


@pytest.mark.parametrize(
    "words, change, reason",
    [
        ((), {}, "need a CUDA device"),
        (("+optimizer.g.fused=false",), {"type": "cuda"}, "optimizer.g is not a fused Adam"),
        (("optimizer=rmsprop",), {"type": "cuda"}, "optimizer.g is not a fused Adam"),
        ((), {"type": "cuda"}, None),
        (("extensions=[json]",), {"type": "cuda"}, "extensions"),
        (
            ("optimizer.d.betas=[0,{_target_:gan_lab.schedules.Linear,start:0.9,end:0.99}]",),
            {"type": "cuda"},
            "optimizer.d.betas have a schedule",
        ),
    ],
)
def test_what_stands_in_the_way_of_graphs(tiny_data, words, change, reason):
    x = experiment(tiny_data, "width=0.0625", *words)
    if change:
        x.device = type("Device", (), change)()
    found = no_graph(x, trusting=False)
    assert found is None if reason is None else reason in found
    if "extensions=[json]" in words:
        assert no_graph(x, trusting=True) is None


@pytest.mark.parametrize("mode, lines", [("graph", 1), ("auto", 0), ("none", 0)])
def test_on_a_cpu_graphs_are_declined_in_one_line(tiny_data, caplog, mode, lines):
    plain, x = (experiment(tiny_data, "width=0.0625") for _ in range(2))
    logs = play(plain, Updates(plain, "none"), 3)
    with caplog.at_level(logging.WARNING):
        updates = Updates(x, mode)
        assert play(x, updates, 3) == logs
    assert len(caplog.messages) == lines
    assert all("need a CUDA device; training without" in line for line in caplog.messages)


def test_the_measure_of_agreement():
    before, a, b = [torch.zeros(2), torch.zeros(1)], [torch.tensor([3.0, 0.0]), torch.tensor([4.0])], [torch.zeros(2)]
    assert apart(a, a, before) == 0.0
    assert apart(before, a, before) == pytest.approx(1.0)  # an update that did nothing
    assert apart([2 * t for t in a], a, before) == pytest.approx(1.0)  # one that was done twice
    assert apart(b, b, b) == 0.0 and math.isfinite(apart(a[:1], b, b))


@pytest.mark.slow
def test_a_net_that_cannot_be_compiled_is_trained_as_it_is_written(tiny_data, caplog):
    """The default penalty differentiates D twice, which torch's compiled nets cannot; G stays compiled."""
    words = ("width=0.0625", "generator=dcgan", "discriminator=dcgan", "norm=bssn")
    plain, x = (experiment(tiny_data, *words) for _ in range(2))
    logs = play(plain, Updates(plain, "none"), 3)
    with caplog.at_level(logging.WARNING, "gan_lab"):
        updates = Updates(x, "compile")
        found = play(x, updates, 3)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("gan_lab")]
    assert len(ours) == 1 and "D cannot be compiled for this update" in ours[0]
    assert set(updates.compiled) == {"G"} and x.G._compiled_call_impl is not None and x.D._compiled_call_impl is None
    assert_same_run(plain, x, logs, found)
    again = experiment(tiny_data, *words)
    assert play(again, Updates(again, "compile"), 3) == found  # bit for bit


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
@pytest.mark.parametrize("recipe", RECIPES)
def test_graphs_on_is_off_on_a_gpu(tiny_data, recipe):
    runs = []
    for mode in ("none", "graph"):
        x = of_recipe(tiny_data, recipe, "trainer.device=cuda")
        updates = Updates(x, mode)
        runs.append((x, play(x, updates)))
        assert updates.graphed == (mode == "graph" and recipe != "r3gan")
        if updates.graphed:
            assert updates.graphs and all(g.graph is not None for key, g in updates.graphs.items() if len(key) == 1)
    assert_same_run(runs[0][0], runs[1][0], runs[0][1], runs[1][1])
