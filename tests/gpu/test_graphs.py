"""CUDA graphs on a GPU: the same bits as the eager update, and gradients that stay."""

import pytest
import torch

from gan_lab.training import accelerate
from gan_lab.training.accelerate import Updates, apart, changing
from gan_lab.training.clock import Clock
from tests.training.test_accelerate import RECIPES, batch, experiment, of_recipe, play


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
def test_gradients_of_d_outlive_the_update_of_g_on_a_gpu(tiny_data):
    x = experiment(tiny_data, "width=0.0625", "penalty=r1", "penalty.r1.interval=2", "trainer.device=cuda")
    updates, clock = Updates(x, "graph"), Clock(x)
    for step in range(16):
        kept = None
        for substep, side in ((0, "d"), (x.config.trainer.n_dis, "g")):
            x.step, x.substep = step, substep
            clock.tick()
            updates.run(side, *batch(x, step % 8))
            kept = kept or [p.grad.clone() for p in x.D.parameters()]
        assert all(torch.equal(p.grad, was) for p, was in zip(x.D.parameters(), kept, strict=True))
    assert len(updates.graphs) == 3 and all(found.graph is not None for found in updates.graphs.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
@pytest.mark.parametrize("recipe", RECIPES)
def test_graphs_on_is_off_on_a_gpu(tiny_data, monkeypatch, recipe):
    """With deterministic kernels a graph launches what the eager update on the same tensors launches: the same bits.

    "Off" here never captures, but reads its learning rates and weights from the same fp32 tensors. Against
    `accelerate=none`, whose learning rate is a double, an update differs by the rounding of that number. CUDA has no
    deterministic form of some operators (the gradients of grid_sample and of reflected borders: ADA, R3GAN). Where two
    eager runs differ for that, the graph may be ten times as far from the one as the other is.
    """
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        runs = []
        for warm in (10**9, 10**9, 3):
            monkeypatch.setattr(accelerate, "EAGER_BEFORE_CAPTURE", warm)
            x = of_recipe(tiny_data, recipe, "trainer.device=cuda")
            updates = Updates(x, "graph")
            runs.append((sum(map(list, changing(x)), []), play(x, updates)))
            often = [graph for graph in updates.graphs.values() if graph.warm >= 3]  # lazy penalties are rarer
            captured = [graph.graph is not None for graph in often]
            assert updates.graphed and captured and all(c == (warm == 3) for c in captured)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_as_near(*runs)


def assert_as_near(eager, again, graph):
    """Each is (tensors, logs). The graph's are those of the first eager run, bit for bit if the second's are."""
    (a, logs_a), (b, _), (c, logs_c) = eager, again, graph
    origin = [torch.zeros_like(t) for t in a]
    noise, off = apart(b, a, origin), apart(c, a, origin)
    assert off <= 10 * noise < 1e-2
    if noise == 0:
        assert logs_a == logs_c and all(torch.equal(s, t) for s, t in zip(a, c, strict=True))
    for one, other in zip(logs_a, logs_c, strict=True):
        assert one == pytest.approx(other, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize(("again", "graph", "near"), [(0.0, 0.0, True), (0.0, 1e-6, False), (1e-5, 9e-5, True),
                                                      (1e-5, -2e-4, False), (2e-2, 0.0, False)])  # fmt: skip
def test_nearness_is_measured_by_two_eager_runs(again, graph, near):
    runs = [([torch.ones(3).double() + off], [{"loss/d": 1.0 + off}]) for off in (0.0, again, graph)]
    if near:
        assert_as_near(*runs)
    else:
        with pytest.raises(AssertionError):
            assert_as_near(*runs)
