"""A step that does not fit: what was trained stays, what held memory is freed, and a batch that fits is named."""

import copy
import json
import weakref
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch

import gan_lab
from gan_lab.distributed.memory import Allocations
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import OutOfMemoryError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.training import accelerate, ahead, out_of_memory
from gan_lab.training.ahead import FakesAhead
from tests.training.short_runs import (
    CONDITIONAL,
    EVALUATED,
    assert_same,
    build,
    evaluated_run,
    fitting,
    rows_of,
    run,
    state_of,
)


def small_device(true, images):
    """A step on a device that holds so many images."""

    def step(exp, real, y=None):
        if len(real) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        assert y is None or len(y) == len(real)
        return true(exp, real, y)

    return step


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), CONDITIONAL], ids=["unconditional", "conditional"])
def test_out_of_memory_names_a_batch_that_fits(tmp_path, tiny_data, monkeypatch, words):
    true = accelerate.d_step
    monkeypatch.setattr(accelerate, "d_step", small_device(true, 5))
    monkeypatch.setattr(out_of_memory, "d_step", small_device(true, 5))
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=8; trainer\.batch_size=4 fits"):
        run(tmp_path / "run", tiny_data, *words)


def test_nothing_fits(tmp_path, tiny_data, monkeypatch):
    for module in (accelerate, out_of_memory):
        monkeypatch.setattr(module, "d_step", small_device(accelerate.d_step, 0))
    with pytest.raises(OutOfMemoryError, match=r"batch_size=8, nor for any smaller one; .* resolution \(.+\)$"):
        run(tmp_path / "run", tiny_data)


def test_several_processes_try_no_other_batch(tiny_data, monkeypatch):
    """A trial's gradients would be averaged with those that the other processes wait for."""
    x = build(tiny_data)
    monkeypatch.setattr(out_of_memory, "d_step", None)
    monkeypatch.setattr(out_of_memory.collectives, "active", lambda: True)
    monkeypatch.setattr(out_of_memory.collectives, "size", lambda: 3)
    error = out_of_memory.explained(x, torch.zeros(8, 3, 32, 32))
    assert isinstance(error, OutOfMemoryError)
    assert "trainer.batch_size=8 on 3 processes; choose a smaller one (no other was tried)" in str(error)


def test_a_batch_is_tried_with_all_penalties_and_the_experiment_stays_where_it_was(tiny_data, monkeypatch):
    x = build(tiny_data, "penalty=[r1,lecam]", "penalty.r1.interval=4", "trainer.n_dis=2")
    x.step, x.substep, active = 3, 1, []
    assert list(x.active_penalties("d")) == ["lecam"]

    def looking(exp, real, y=None):
        active.append((len(real), sorted(exp.active_penalties("d"))))
        if len(real) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(out_of_memory, "d_step", looking)
    assert out_of_memory.largest_batch(x, torch.zeros(8, 3, 32, 32)) == 2
    assert active == [(n, ["lecam", "r1"]) for n in (8, 4, 2)]  # the present batch first: it may not be to blame
    assert (x.step, x.substep) == (3, 1)


def test_another_error_while_trying_is_raised(tiny_data, monkeypatch):
    x = build(tiny_data)

    def fails(exp, real, y=None):
        raise RuntimeError("something else")

    monkeypatch.setattr(out_of_memory, "d_step", fails)
    x.step = 2
    with pytest.raises(RuntimeError, match="something else"):
        out_of_memory.largest_batch(x, torch.zeros(8, 3, 32, 32))
    assert x.step == 2


@pytest.mark.slow
def test_out_of_memory_later_keeps_what_was_trained(tmp_path, tiny_data, monkeypatch):
    true = accelerate.g_step

    def later(exp, real, y):
        if exp.step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return true(exp, real, y)

    with monkeypatch.context() as patched:
        patched.setattr(accelerate, "g_step", later)
        with pytest.raises(OutOfMemoryError, match=r"where a step with trainer\.batch_size=8 fits now"):
            run(tmp_path / "parts", tiny_data, "trainer.checkpoint_every_steps=0")
    saved = Checkpoints(tmp_path / "parts" / "checkpoints", 9).latest()["state"]
    assert (saved["step"], saved["substep"]) == (3, 1)
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert (summary["status"], summary["step"], summary["images_seen"]) == ("failed", 3, 24)
    parts = run(tmp_path / "parts", tiny_data, "trainer.checkpoint_every_steps=0")
    whole = run(tmp_path / "whole", tiny_data, "trainer.checkpoint_every_steps=0")
    a, b = (Checkpoints(f / "checkpoints", 9).latest()["state"] for f in (parts, whole))
    for net in ("G", "D", "G_ema"):
        assert all(torch.equal(a[net][k], b[net][k]) for k in b[net])
    assert rows_of(parts, "train.jsonl") == rows_of(whole, "train.jsonl")


def test_what_a_failed_step_held_is_freed_before_a_batch_that_fits_is_looked_for(tmp_path, tiny_data, monkeypatch):
    """The traceback of the error holds the frames of the step, and they its graph: most of what was allocated."""
    held, found, dropped = [], [], []

    def deep(exp, real, y):
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError("CUDA out of memory, again.") from error

    def looking(exp, real, y):
        found.append([reference() is None for reference in held])
        if len(real) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: None)
    monkeypatch.setattr(accelerate, "d_step", deep)
    monkeypatch.setattr(out_of_memory, "d_step", looking)
    monkeypatch.setattr(out_of_memory, "g_step", looking)
    monkeypatch.setattr(accelerate.Updates, "drop_graphs", lambda self: dropped.append(len(found)))
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=4 fits"):
        run(tmp_path / "run", tiny_data)
    assert found == [[True]] * 3 and dropped == [0]


def at_once(work, *arguments):
    """A future whose work is done, with gradients, as another thread does it."""
    future = Future()
    with torch.enable_grad():
        future.set_result(work(*arguments))
    return future


def need_of(data, *words):
    """Of an experiment without metrics: the need that is predicted, and a function that measures it."""
    exp = build(data, *words)
    need = out_of_memory.step_need(exp)

    def measured(n):
        x = copy.deepcopy(exp)
        real, y = torch.zeros(n, 3, 32, 32), torch.zeros(n, dtype=torch.int64)
        with Allocations() as found:
            if FakesAhead.fits(x):
                x.ahead = FakesAhead(x)
                x.ahead.threads = SimpleNamespace(submit=at_once)  # allocations are seen in this thread only
                x.ahead.draw(n)
            out_of_memory.d_step(x, real, y)
            with step_randomness(x.config.seed, x.step, x.config.trainer.n_dis, x.device):
                out_of_memory.g_step(x, real, y)
        now = peak = 0
        for event in found.events:
            now += found.sizes[event] if event >= 0 else -found.sizes[~event]
            peak = max(peak, now)
        return peak

    return need, measured


RECIPES = {
    "default": (),
    "lazy penalties": ("penalty=[r1,lecam]", "penalty.r1.interval=16", "augment=ada", "augment.p=0.5"),
    "classes": CONDITIONAL,
    "stylegan2": ("generator=stylegan2", "discriminator=stylegan2", "penalty=[r1,path_length]"),
    "residual, spectral norm, batch norm": ("generator=resnet", "discriminator=resnet", "norm=bssn", "penalty=none"),
}


def on_cores(name, cores):
    """One core for the default, two, of which one makes images ahead, for all; one for the others is a long test."""
    short = cores == 2 or name == "default"
    return pytest.param(RECIPES[name], cores, id=f"{cores}-{name}", marks=[] if short else pytest.mark.long)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "cores"), [on_cores(name, cores) for cores in (1, 2) for name in RECIPES])
@pytest.mark.filterwarnings("ignore")
def test_the_need_of_a_batch_is_predicted_from_a_few_images(tiny_data, monkeypatch, words, cores):
    monkeypatch.setattr(ahead, "idle_cores", lambda device: cores)
    need, measured = need_of(tiny_data, *words)
    for n in (8, 24):
        assert need(n) == pytest.approx(measured(n), rel=0.08)
    assert need(24) > 1.5 * need(8) or not words


@pytest.mark.slow
def test_the_prediction_changes_nothing_of_the_run(tmp_path, tiny_data, monkeypatch):
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: 10**15)
    calls, true = [], out_of_memory.step_need
    monkeypatch.setattr(out_of_memory, "step_need", lambda exp: calls.append(1) or true(exp))
    with_it = evaluated_run(tmp_path / "with", tiny_data)
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: None)  # as on a system that does not say
    without = evaluated_run(tmp_path / "without", tiny_data)
    assert len(calls) == 1
    assert_same(state_of(with_it), state_of(without))
    assert rows_of(with_it, "metrics.jsonl") == rows_of(without, "metrics.jsonl")


def settings(folder, data, *words):
    return gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *fitting(EVALUATED, words), *words)


def test_a_batch_that_would_not_fit_is_refused_before_anything_is_trained(tmp_path, tiny_data, monkeypatch):
    need = out_of_memory.step_need(build(tiny_data))
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: out_of_memory.RESIDENT * need(64) + 1)
    with pytest.raises(OutOfMemoryError) as caught:
        gan_lab.train(settings(tmp_path / "run", tiny_data, "trainer.batch_size=128"))
    text = str(caught.value)
    assert "a step with trainer.batch_size=128 needs about" in text and "trainer.batch_size=64 fits (estimated)" in text
    assert "MB of memory" in text and not (tmp_path / "run" / "metrics.jsonl").exists()
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: 1000)
    with pytest.raises(OutOfMemoryError, match=r"nor for any smaller one; choose a smaller width"):
        gan_lab.train(settings(tmp_path / "run", tiny_data))


def test_an_evaluation_that_would_not_fit_is_named_with_its_own_key(tmp_path, tiny_data, monkeypatch):
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: 5 * 10**8)
    words = ("metrics.num_samples=40000", "metrics.batch_size=40000")
    with pytest.raises(OutOfMemoryError, match=r"an evaluation with metrics\.batch_size=40000 needs .* fits \(estim"):
        gan_lab.train(settings(tmp_path / "run", tiny_data, *words))


@pytest.mark.slow
def test_processes_of_one_machine_share_its_memory(tmp_path, tiny_data, monkeypatch):
    need = out_of_memory.step_need(build(tiny_data))
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda: 2 * need(8))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")  # torchrun's
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=8 needs"):
        run(tmp_path / "run", tiny_data)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    run(tmp_path / "run", tiny_data)


def test_what_cannot_be_estimated_is_trained(tmp_path, tiny_data, monkeypatch):
    def fails(exp):
        raise RuntimeError("cannot be copied")

    monkeypatch.setattr(out_of_memory, "step_need", fails)
    assert run(tmp_path / "run", tiny_data) == tmp_path / "run"


def test_memory_that_runs_out_in_an_evaluation_keeps_what_was_trained_and_names_its_batch(
    tmp_path, tiny_data, monkeypatch
):
    from gan_lab.nets import sampling

    true, evaluations = sampling.generate, []

    def small(G, z, y=None, **settings):
        evaluations.append(len(z))
        if len(z) > 20 and len(z) != 64 and len(evaluations) > 3:  # 64: the grid of samples
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return true(G, z, y, **settings)

    monkeypatch.setattr(sampling, "generate", small)
    words = (
        "trainer.checkpoint_every_steps=0",
        *(f"metrics.{key}=60" for key in ("num_samples", "batch_size", "num_real")),
    )
    with pytest.raises(OutOfMemoryError, match=r"evaluation with metrics\.batch_size=60; metrics\.batch_size=15 fits"):
        gan_lab.train(settings(tmp_path / "run", tiny_data, *words))
    assert state_of(tmp_path / "run")["step"] == 3
    assert evaluations[-3:] == [60, 30, 15]
    assert [row["step"] for row in rows_of(tmp_path / "run", "metrics.jsonl")] == [0]
    monkeypatch.setattr(sampling, "generate", true)
    gan_lab.train(settings(tmp_path / "run", tiny_data, *words))
    gan_lab.train(settings(tmp_path / "whole", tiny_data, *words))
    again, whole = (
        [{k: v for k, v in row.items() if k != "wall_seconds"} for row in rows_of(tmp_path / name, "metrics.jsonl")]
        for name in ("run", "whole")
    )
    assert again == whole and len(whole) > 1  # the evaluation that broke off is made
    assert_same(state_of(tmp_path / "run")["G"], state_of(tmp_path / "whole")["G"])
