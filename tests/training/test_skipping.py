"""An update that is not finite leaves no trace; too many in a row stop the run and say what and where."""

import json
import weakref

import pytest
import torch

import gan_lab
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import DivergedError, OutOfMemoryError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate, memory, step

SMALL = (
    "trainer.total_steps=6", "trainer.batch_size=8", "trainer.checkpoint_every_steps=2", "trainer.sample_every_steps=0",
    "trainer.log_every_steps=2", "trainer.device=cpu", "width=0.0625", "metrics=none", "monitor=off",
)  # fmt: skip


def build(data, *words):
    return gan_lab.build(gan_lab.compose(f"data_dir={data}", *SMALL, *words))


def everything(x):
    parts = [x.G, x.D, *x.penalties.values(), *([x.augment] if x.augment else [])]
    return {
        f"{i}.{k}": v.clone() for i, p in enumerate(parts) for k, v in p.state_dict().items() if hasattr(v, "clone")
    }


def broken(loss):
    def not_a_number(*logits):
        return loss(*logits) * float("nan")

    not_a_number.wants_reals = getattr(getattr(loss, "func", loss), "wants_reals", False)
    return not_a_number


RECIPES = [
    ("norm=bssn", "penalty=lecam", "augment=ada"),
    ("recipe=stylegan2_ada", "penalty=[r1,path_length]"),
    (),
]


@pytest.mark.parametrize("words", RECIPES, ids=["bssn lecam ada", "stylegan2 path length", "default"])
def test_a_skipped_update_changes_nothing(tiny_data, words):
    x = build(tiny_data, *words)
    real = torch.rand(8, 3, 32, 32) * 2 - 1
    for one, loss in ((step.d_step, "d_loss"), (step.g_step, "g_loss")):
        with step_randomness(0, 0, 0, x.device):
            log = one(x, real, 0, 0.0)
        assert float(next(v for k, v in log.items() if k.startswith("skipped/"))) == 0.0
        before, true = everything(x), getattr(x, loss)
        setattr(x, loss, broken(true))
        with step_randomness(0, 1, 0, x.device):
            log = one(x, real, 4, 32.0)
        setattr(x, loss, true)
        assert float(next(v for k, v in log.items() if k.startswith("skipped/"))) == 1.0
        after = everything(x)
        changed = [k for k in before if not torch.equal(before[k], after[k])]
        assert changed == []
        with step_randomness(0, 1, 0, x.device):
            one(x, real, 4, 32.0)
        assert any(not torch.equal(before[k], v) for k, v in everything(x).items())


def poison(monkeypatch, name, when):
    """Make one side's loss NaN for the updates `when` says."""
    true = getattr(accelerate, name)
    loss = {"d_step": "d_loss", "g_step": "g_loss"}[name]

    def poisoned(x, real, index, images_seen):
        kept = getattr(x, loss)
        if when(index):
            setattr(x, loss, broken(kept))
        try:
            return true(x, real, index, images_seen)
        finally:
            setattr(x, loss, kept)

    monkeypatch.setattr(accelerate, name, poisoned)


def run(folder, data, *words):
    return gan_lab.train(gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *SMALL, *words))


def test_single_bad_updates_are_skipped_and_counted(tmp_path, tiny_data, monkeypatch, caplog):
    poison(monkeypatch, "g_step", lambda index: index == 2)
    poison(monkeypatch, "d_step", lambda index: index == 4)
    folder = run(tmp_path / "run", tiny_data)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["skipped_updates"]) == ("finished", 2)
    rows = read_rows(folder / "train.jsonl")
    assert [r["skipped_updates"] for r in rows] == [0.0, 1.0, 2.0]
    assert all(value is not None for row in rows for value in row.values())
    assert "skipped an update: loss/g became non-finite at step 3" in caplog.text
    assert "skipped an update: loss/d became non-finite at step 5" in caplog.text


@pytest.mark.parametrize(("side", "name"), [("d", "d_step"), ("g", "g_step")])
def test_too_many_in_a_row_stop_the_run_with_names(tmp_path, tiny_data, monkeypatch, side, name):
    poison(monkeypatch, name, lambda index: index >= (9 if side == "d" else 3))
    with pytest.raises(
        DivergedError, match=rf"loss/{side}.*step [456], first in the gradient of {side.upper()}\.\w+.*2 updates"
    ):
        run(tmp_path / "run", tiny_data, "trainer.max_skipped_updates=1", "trainer.n_dis=3")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "diverged"
    state = Checkpoints(tmp_path / "run" / "checkpoints", 9).latest()["state"]
    assert all(torch.isfinite(v).all() for net in ("G", "D", "G_ema") for v in state[net].values())


def test_the_first_stops_a_run_without_patience(tmp_path, tiny_data, monkeypatch):
    poison(monkeypatch, "d_step", lambda index: index == 3)
    with pytest.raises(DivergedError, match="loss/d became non-finite at step 4"):
        run(tmp_path / "run", tiny_data, "trainer.max_skipped_updates=0")
    assert Checkpoints(tmp_path / "run" / "checkpoints", 9).latest()["state"]["step"] == 2


def test_out_of_memory_names_a_batch_that_fits(tmp_path, tiny_data, monkeypatch):
    """A device that holds five images."""
    true = accelerate.d_step

    def small_device(x, real, index, images_seen):
        if len(real) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return true(x, real, index, images_seen)

    monkeypatch.setattr(accelerate, "d_step", small_device)
    monkeypatch.setattr(memory, "d_step", small_device)
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=8; trainer\.batch_size=4 fits"):
        run(tmp_path / "run", tiny_data)


def test_out_of_memory_later_keeps_what_was_trained(tmp_path, tiny_data, monkeypatch):
    true = accelerate.g_step

    def later(x, real, index, images_seen):
        if index == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return true(x, real, index, images_seen)

    with monkeypatch.context() as patched:
        patched.setattr(accelerate, "g_step", later)
        with pytest.raises(OutOfMemoryError):
            run(tmp_path / "parts", tiny_data, "trainer.checkpoint_every_steps=0")
    saved = Checkpoints(tmp_path / "parts" / "checkpoints", 9).latest()["state"]
    assert (saved["step"], saved["substep"]) == (3, 1)
    parts = run(tmp_path / "parts", tiny_data, "trainer.checkpoint_every_steps=0")
    whole = run(tmp_path / "whole", tiny_data, "trainer.checkpoint_every_steps=0")
    a, b = (Checkpoints(f / "checkpoints", 9).latest()["state"] for f in (parts, whole))
    for net in ("G", "D", "G_ema"):
        assert all(torch.equal(a[net][k], b[net][k]) for k in b[net])
    clock = ("wall_seconds", "images_per_second")
    first, second = (
        [{k: v for k, v in r.items() if k not in clock} for r in read_rows(f / "train.jsonl")] for f in (parts, whole)
    )
    assert first == second


@pytest.mark.parametrize("far", [False, True], ids=["read at once", "never read"])
def test_a_net_without_buffers_skips_too(tiny_data, monkeypatch, far):
    """wn_gan has no buffers, of which torch cannot copy an empty list, and RMSprop has no switch of its own."""
    if far:
        monkeypatch.setattr(step, "reading_waits", lambda flag: True)
    x = build(tiny_data, "recipe=wn_gan")
    assert not x.buffers
    real = torch.rand(8, 3, 32, 32) * 2 - 1
    true = x.d_loss
    for skip in (True, False, True):  # the first one, which makes the optimizer's state, and a later one
        x.d_loss = broken(true) if skip else true
        before = everything(x) | {f"v{i}": s["square_avg"].clone() for i, s in enumerate(x.optimizer_d.state.values())}
        with step_randomness(0, 0, 0, x.device):
            log = step.d_step(x, real, 0, 0.0)
        assert float(log["skipped/d"]) == skip
        now = everything(x) | {f"v{i}": s["square_avg"] for i, s in enumerate(x.optimizer_d.state.values())}
        assert all(torch.equal(before[k], now[k]) for k in before) == skip
        assert all(torch.isfinite(v).all() for v in now.values())


def test_what_a_failed_step_held_is_freed_before_a_batch_that_fits_is_looked_for(tmp_path, tiny_data, monkeypatch):
    """The traceback of the error holds the frames of the step, and they its graph: most of what was allocated."""
    held, found, dropped = [], [], []

    def deep(x, real, index, images_seen):
        activations = torch.zeros(1000)
        held.append(weakref.ref(activations))
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError("CUDA out of memory, again.") from error

    def looking(x, real, index, images_seen):
        found.append([reference() is None for reference in held])
        return None

    monkeypatch.setattr(accelerate, "d_step", deep)
    monkeypatch.setattr(memory, "d_step", looking)
    monkeypatch.setattr(memory, "g_step", looking)
    monkeypatch.setattr(accelerate.Updates, "drop_graphs", lambda self: dropped.append(len(found)))
    with pytest.raises(OutOfMemoryError, match=r"trainer\.batch_size=4 fits"):
        run(tmp_path / "run", tiny_data)
    assert found == [[True], [True]] and dropped == [0]
