"""Updates as graphs are the updates as they are written: on a recorder here, on CUDA where there is a GPU."""

import logging
import math
import sys

import pytest
import torch

import gan_lab
from gan_lab.config.options import config_dir
from gan_lab.kernels import spectral as joint
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.training import accelerate
from gan_lab.training.accelerate import Updates, apart, changing, no_graph
from gan_lab.training.clock import Clock
from tests.distributed.rank_steps import fitted
from tests.training import graph_recorder as recorder

RMSPROP = ("wgan", "wn_gan")
RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
# Of each family of nets that takes seconds, kind of penalty and optimizer one; the other recipes are long tests.
FEW = ("bssn_cnn", "dragan", "infomax_gan", "ortho", "sngan_projection", "stylegan2_ada", "wgan", "wgan_gp", "wn_gan")
LAZY = {
    "stylegan2": ["path_length", "r1"], "stylegan2_ada": ["r1"], "stylegan2_ada_conditional": ["r1"],
    "stylegan2_cifar": ["r1"], "stylegan2_cifar_conditional": ["r1"],
}  # fmt: skip
STEPS = 8


@pytest.fixture(autouse=True)
def _numbers_are_far(monkeypatch):
    """Without a graph, too: else two ways to the same gradient would be compared, whose rounding grows with steps."""
    monkeypatch.setattr(joint, "numbers_at_hand", lambda tensor: False)


def experiment(data, *words):
    """An experiment on the CPU whose optimizers are those of a GPU."""
    torch.manual_seed(0)
    words = (f"data_dir={data}", "metrics=none", "trainer.batch_size=4", "trainer.device=cpu", *words)
    config = gan_lab.compose(*words)
    as_it_is = any("fused" in word for word in words) or "trainer.device=cuda" in words  # a GPU chooses for itself
    if config.optimizer.g._target_ == "torch.optim.Adam" and not as_it_is:
        config = gan_lab.compose(*words, *(f"+optimizer.{side}.fused=true" for side in "gd"))
    return gan_lab.build(config)


def of_recipe(data, recipe, *words):
    return experiment(data, *fitted(recipe), *words)


def batch(x, i):
    """Four images and their classes."""
    chosen = torch.arange(4 * i, 4 * i + 4)
    images = x.dataset.images("train", chosen).float().to(x.device) / 127.5 - 1
    return images, x.dataset.labels("train")[chosen].to(x.device)


def play(x, updates, steps=STEPS):
    """Steps with learning rates, weights and images that move; returns what was logged."""
    clock, logs = Clock(x), []
    x.schedules.lr_scale = lambda seen: 1.0 / (1.0 + seen / x.config.images_per_step)
    for step in range(steps):
        for substep, side in ((0, "d"), (x.config.trainer.n_dis, "g")):
            x.step, x.substep = step, substep
            clock.tick()
            logs.append(updates.run(side, *batch(x, step)))
    return [{k: float(v) for k, v in log.items()} for log in logs]


def assert_same_run(a, b, logs_a, logs_b):
    """The same state and logs, up to the rounding of a learning rate to fp32."""
    for part_a, part_b in zip(changing(a), changing(b), strict=True):
        for one, other in zip(part_a, part_b, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    for one, other in zip(logs_a, logs_b, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [*(pytest.param(r, marks=[pytest.mark.long] * (r not in FEW)) for r in RECIPES),
                                    "sngan_cnn penalty=clip", "dcgan penalty=consistency augment=diffaugment",
                                    "sngan_resnet penalty=lecam", "sngan_cnn loss=relativistic norm=wn",
                                    "dcgan augment=apa augment.p=0.5 loss.top_k=0.5",
                                    "dcgan augment=instance_noise"])  # fmt: skip
def test_a_recorded_recipe_is_the_recipe(tiny_data, monkeypatch, recipe):
    recipe, *words = recipe.split()
    lazy = [f"penalty.{name}.interval=2" for name in LAZY.get(recipe, [])]
    # The one form of RMSprop that takes its learning rate from a tensor without a wait; torch's choice on a GPU.
    foreach = [f"+optimizer.{side}.{key}=true" for side in "gd" for key in ("foreach", "capturable")]
    foreach = foreach if recipe in RMSPROP else []
    monkeypatch.setattr(sys.modules["torch.optim.rmsprop"], "_get_capturable_supported_devices", lambda: ["cpu"])
    plain, x = (of_recipe(tiny_data, recipe, *lazy, *words, *foreach) for _ in range(2))
    if recipe in RMSPROP:
        # Eager on the tensors that graphs read. Its first steps are as long as their gradient's noise is large, so that
        # against `none`, whose learning rate is a double, weights whose gradient is only rounding differ by that.
        with monkeypatch.context() as eager:
            recorder.install(eager, plain, permitted=("lift_fresh",))
            eager.setattr(accelerate, "EAGER_BEFORE_CAPTURE", 10**9)
            logs = play(plain, Updates(plain, "graph"))
    else:
        logs = play(plain, Updates(plain, "none"))
    if recipe.startswith("r3gan"):  # what `build` takes on a GPU where betas have a schedule
        for side, net in (("g", x.G), ("d", x.D)):
            setattr(x, f"optimizer_{side}", AnnealedAdam(net.parameters(), 2e-4, (0.0, 0.9)))
    # RMSprop counts its steps on a CPU by adding torch.tensor(1.0), which it does not do on a GPU.
    graphs = recorder.install(monkeypatch, x, permitted=("lift_fresh",) if recipe in RMSPROP else ())
    monkeypatch.setattr(accelerate, "EAGER_BEFORE_CAPTURE", 1)
    updates = Updates(x, "graph")
    found = play(x, updates)
    assert updates.graphed and len(graphs) == len(updates.graphs) == 2 + len(lazy)
    # One update is eager, one recorded and replayed to be compared, the others replayed.
    assert sum(graph.replays for graph in graphs) == 2 * STEPS - len(graphs)
    assert_same_run(plain, x, logs, found)


@pytest.mark.slow
def test_a_schedule_reaches_the_graph(tiny_data, monkeypatch):
    """gamma falls from 2 to 0.5: a graph that kept the first value would be elsewhere."""
    gamma = ("penalty=r1r2_annealed", "penalty.r1r2.weight.start=2.0", "penalty.r1r2.weight.end=0.5",
             "+penalty.r1r2.weight.over_images=28")  # fmt: skip
    nets = ("generator=dcgan", "discriminator=dcgan_plain", "optimizer=adam_annealed")
    words = ("width=0.0625", *nets, *gamma)
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


@pytest.mark.slow
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


@pytest.mark.slow
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
        (("+optimizer.g.fused=false",), {"type": "cuda"}, "optimizer.g is not one that a graph can record"),
        (("optimizer=rmsprop",), {"type": "cuda"}, "optimizer.g is not one that a graph can record"),
        (("optimizer=rmsprop", "+optimizer.g.capturable=true", "+optimizer.d.capturable=true"), {"type": "cuda"}, None),
        (("norm=sn", "norm.exact=true"), {"type": "cuda"}, "SpectralWeight reads numbers on the host"),
        (("norm=sn",), {"type": "cuda"}, None),
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


@pytest.mark.slow
def test_a_failed_capture_leaves_the_process_able_to_train(tiny_data, monkeypatch, caplog):
    """The first error is told, not that the capture had failed; stream, generator and pool are as before it."""
    plain, x = (experiment(tiny_data, "width=0.0625") for _ in range(2))
    true = x.d_loss
    device = recorder.install(monkeypatch, x).device
    stream = device.stream

    def waiting(real, fake):
        loss = true(real, fake)
        return loss if float(loss.detach()) > -1e9 else loss * 0

    x.d_loss = waiting
    with caplog.at_level(logging.WARNING):
        found = play(x, Updates(x, "graph"))
    assert len(caplog.messages) == 1 and "not permitted when stream is capturing: _local_scalar" in caplog.messages[0]
    assert device.stream is stream and not device.generator_captures and not device.recording
    torch.randn(2)
    assert_same_run(plain, x, play(plain, Updates(plain, "none")), found)


def test_the_recorder_leaves_the_process_in_capture_as_torch_does(tiny_data, monkeypatch):
    """Without `leave_capture` the next random number cannot be drawn: the test above tests something."""
    x = experiment(tiny_data, "width=0.0625")
    recorder.install(monkeypatch, x)
    monkeypatch.setattr(accelerate, "leave_capture", lambda *_: None)
    x.d_loss = lambda real, fake: real.mean() * float(fake.detach().mean())
    with pytest.raises(RuntimeError, match="Offset increment outside graph capture"):
        play(x, Updates(x, "graph"))


def test_the_graphs_of_a_side_share_memory_with_each_other_alone(tiny_data, monkeypatch):
    x = experiment(tiny_data, "width=0.0625", "penalty=r1", "penalty.r1.interval=2")
    recorder.install(monkeypatch, x)
    updates = Updates(x, "graph")
    play(x, updates)
    pools = {side: [found.graph.pool for key, found in updates.graphs.items() if key[0] == side] for side in "dg"}
    assert len(pools["d"]) == 2 and len(set(pools["d"])) == len(set(pools["g"])) == 1
    assert set(pools["d"]).isdisjoint(pools["g"])


@pytest.mark.slow
def test_each_replay_leaves_the_gradient_of_its_own_update(tiny_data, monkeypatch):
    """With R1 every second step D has two graphs: what is read from `.grad` is of the one that ran last."""
    words = ("width=0.0625", "penalty=r1", "penalty.r1.interval=2", "penalty.r1.weight=100")
    plain, x = (experiment(tiny_data, *words) for _ in range(2))
    monkeypatch.setattr(accelerate, "EAGER_BEFORE_CAPTURE", 1)
    graphs = recorder.install(monkeypatch, x)
    graphed, eager, found = Updates(x, "graph"), Updates(plain, "none"), []
    for i in range(STEPS):
        for exp, updates in ((plain, eager), (x, graphed)):
            exp.step = i
            updates.run("d", *batch(exp, i))
        theirs, ours = (torch.cat([p.grad.flatten() for p in exp.D.parameters()]) for exp in (plain, x))
        found.append(float((ours - theirs).norm() / theirs.norm()))
    assert len(graphs) == 2 and graphed.graphed
    assert max(found) < 1e-3, found


def test_the_first_error_is_told():
    try:
        try:
            raise ValueError("the cause")
        except ValueError:
            raise RuntimeError("what came of it")  # noqa: B904
    except RuntimeError as error:
        assert str(accelerate.first_error(error)) == "the cause"
    assert str(accelerate.first_error(KeyError("alone"))) == "'alone'"


def test_the_measure_of_agreement():
    before, a, b = [torch.zeros(2), torch.zeros(1)], [torch.tensor([3.0, 0.0]), torch.tensor([4.0])], [torch.zeros(2)]
    assert apart(a, a, before) == 0.0
    assert apart(before, a, before) == pytest.approx(1.0)  # an update that did nothing
    assert apart([2 * t for t in a], a, before) == pytest.approx(1.0)  # one that was done twice
    assert apart(b, b, b) == 0.0 and math.isfinite(apart(a[:1], b, b))


@pytest.mark.long
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
