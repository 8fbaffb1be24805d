"""A run that is stopped and resumed is, bit for bit, the run that was not."""

import json
import os
import signal

import pytest
import torch

import gan_lab
from gan_lab.errors import DivergedError, InterruptedRun, UserError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate

SMALL = (
    "trainer.total_steps=7", "trainer.batch_size=8", "trainer.eval_every_steps=3", "trainer.checkpoint_every_steps=3",
    "trainer.sample_every_steps=4", "trainer.log_every_steps=2", "trainer.device=cpu", "width=0.0625",
    "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false", "metrics.precision_recall=false",
)  # fmt: skip


def run(folder, data, *words):
    return gan_lab.train(gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *SMALL, *words))


def state_of(folder):
    return Checkpoints(folder / "checkpoints", keep=9).latest()["state"]


def rows_of(folder, name):
    """Rows without what depends on the clock."""
    clock = ("wall_seconds", "images_per_second")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_rows(folder / name)]


def assert_same(a, b, where="state"):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key != "wall_seconds":
                assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


@pytest.mark.parametrize("stop_after", [1, 3, 5])
@pytest.mark.parametrize("words", [(), ("norm=bssn", "loss=hinge", "penalty=none", "trainer.n_dis=2")], ids=str)
def test_stopped_and_resumed_equals_undisturbed(tmp_path, tiny_data, monkeypatch, stop_after, words):
    whole = run(tmp_path / "whole", tiny_data, *words)

    true_step, calls = accelerate.g_step, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(*arguments)

    monkeypatch.setattr(accelerate, "g_step", stopping)
    with pytest.raises(InterruptedRun) as stopped:
        run(tmp_path / "parts", tiny_data, *words)
    assert stopped.value.exit_status == 143
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", stop_after)
    parts = run(tmp_path / "parts", tiny_data, *words)

    assert_same(state_of(whole), state_of(parts))
    for name in ("train.jsonl", "metrics.jsonl"):
        assert rows_of(whole, name) == rows_of(parts, name)
    assert [r["step"] for r in rows_of(parts, "train.jsonl")] == [2, 4, 6, 7]
    assert [r["step"] for r in rows_of(parts, "metrics.jsonl")] == [0, 3, 6, 7]
    assert json.loads((parts / "summary.json").read_text())["status"] == "finished"


def test_a_finished_run_is_left_alone(tmp_path, tiny_data):
    folder = run(tmp_path / "run", tiny_data)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    assert run(tmp_path / "run", tiny_data) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"} == before


def test_changed_settings_are_refused_by_name_unless_forced(tmp_path, tiny_data):
    folder = run(tmp_path / "run", tiny_data)
    with pytest.raises(UserError, match=r"trainer\.total_steps: 7 -> 9.*resume=force"):
        run(folder, tiny_data, "trainer.total_steps=9")
    with pytest.raises(UserError, match="resume=never"):
        run(folder, tiny_data, "resume=never")
    run(folder, tiny_data, "trainer.total_steps=9", "resume=force")
    assert [r["step"] for r in read_rows(folder / "train.jsonl")] == [2, 4, 6, 7, 8, 9]


def test_evaluation_does_not_touch_training(tmp_path, tiny_data):
    often = run(tmp_path / "often", tiny_data, "trainer.eval_every_steps=1", "trainer.sample_every_steps=1")
    never = run(tmp_path / "never", tiny_data, "trainer.eval_every_steps=0", "trainer.sample_every_steps=0")
    for name in ("G", "D", "G_ema", "optimizer_g", "optimizer_d"):
        assert_same(state_of(often)[name], state_of(never)[name], name)


def test_divergence_is_named_and_the_last_good_checkpoint_stays(tmp_path, tiny_data, monkeypatch):
    true_step = accelerate.g_step

    def poisoned(x, real, index, images_seen):
        log = true_step(x, real, index, images_seen)
        if index == 4:
            next(x.G.parameters()).data.fill_(float("nan"))
        return log

    monkeypatch.setattr(accelerate, "g_step", poisoned)
    with pytest.raises(DivergedError, match="non-finite.*step 6"):
        run(tmp_path / "run", tiny_data)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "diverged"
    state = state_of(tmp_path / "run")
    assert state["step"] == 3
    assert all(torch.isfinite(v).all() for v in state["G"].values())


def test_the_generator_comes_back_out_of_a_run(tmp_path, tiny_data):
    folder = run(tmp_path / "run", tiny_data)
    G = gan_lab.load_generator(folder, "latest")
    z = G.sample_z(3, "cpu")
    images = G(z)
    assert images.shape == (3, 3, 32, 32) and images.abs().max() <= 1
    assert not G.training
    raw = gan_lab.load_generator(folder, "latest", ema=False)
    assert (raw(z) - images).abs().max() > 1e-6
    torch.testing.assert_close(gan_lab.load_generator(folder / "checkpoints" / "step-00000007.pt")(z), images)
    with pytest.raises(UserError, match="step-00000099"):
        gan_lab.load_generator(folder, "99")
    with pytest.raises(UserError, match="no checkpoints"):
        gan_lab.load_generator(tmp_path)


def test_the_run_directory_holds_what_is_promised(tmp_path, tiny_data):
    folder = run(tmp_path / "run", tiny_data)
    names = {p.name for p in folder.iterdir()}
    promised = {"config.yaml", "environment.json", "metrics.jsonl", "protocol.json", "train.jsonl", "checkpoints"}
    assert promised | {"samples", "summary.json"} <= names
    assert any(n.startswith("events.out.tfevents") for n in names)
    first = read_rows(folder / "metrics.jsonl")[0]
    assert {"step", "images_seen", "wall_seconds", "fid_shapes", "is_shapes", "protocol"} <= first.keys()
    assert (folder / "samples" / "samples-00000000.png").read_bytes()[:4] == b"\x89PNG"
