"""A step that does not fit: what was trained stays, what held memory is freed, and a batch that fits is named."""

import json
import weakref

import pytest
import torch

from gan_lab.errors import OutOfMemoryError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.training import accelerate, out_of_memory
from tests.training.short_runs import CONDITIONAL, build, rows_of, run


def small_device(true, images):
    """A step on a device that holds so many images."""

    def step(exp, real, y=None):
        if len(real) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        assert y is None or len(y) == len(real)
        return true(exp, real, y)

    return step


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
    with pytest.raises(OutOfMemoryError, match=r"batch_size=8, nor for any smaller one"):
        run(tmp_path / "run", tiny_data)


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
    assert active == [(4, ["lecam", "r1"]), (2, ["lecam", "r1"])]
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


def test_out_of_memory_later_keeps_what_was_trained(tmp_path, tiny_data, monkeypatch):
    true = accelerate.g_step

    def later(exp, real, y):
        if exp.step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return true(exp, real, y)

    with monkeypatch.context() as patched:
        patched.setattr(accelerate, "g_step", later)
        with pytest.raises(OutOfMemoryError):
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

    monkeypatch.setattr(accelerate, "d_step", deep)
    monkeypatch.setattr(out_of_memory, "d_step", looking)
    monkeypatch.setattr(out_of_memory, "g_step", looking)
    monkeypatch.setattr(accelerate.Updates, "drop_graphs", lambda self: dropped.append(len(found)))
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=4 fits"):
        run(tmp_path / "run", tiny_data)
    assert found == [[True], [True]] and dropped == [0]
