"""What a run leaves behind while it trains."""

import json
import math
import shutil
import time
from types import SimpleNamespace

import pytest
import torch

import gan_lab
from gan_lab.diagnostics import event_list
from gan_lab.diagnostics.collapse import Event
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.directory import RunDirectory
from gan_lab.runs.files import read_rows
from gan_lab.training import recorder as recorder_module
from gan_lab.training.recorder import Recorder
from tests.training.short_runs import EVALUATED, PLAIN, evaluated_run, state_of


def recorder_of(folder, data, *words):
    """An experiment's recorder with its directory open."""
    exp = gan_lab.build(gan_lab.compose(f"data_dir={data}", *words))
    recorder = Recorder(exp, RunDirectory(folder, exp.config), Checkpoints(folder / "checkpoints", keep=9))
    recorder.open()
    return exp, recorder


def test_the_run_directory_holds_what_is_promised(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    names = {p.name for p in folder.iterdir()}
    promised = {"config.yaml", "environment.json", "metrics.jsonl", "protocol.json", "train.jsonl", "checkpoints"}
    assert promised | {"samples", "summary.json"} <= names
    assert any(n.startswith("events.out.tfevents") for n in names)
    first = read_rows(folder / "metrics.jsonl")[0]
    assert {"step", "images_seen", "wall_seconds", "fid_shapes", "is_shapes", "protocol"} <= first.keys()
    assert (folder / "samples" / "samples-00000000.png").read_bytes()[:4] == b"\x89PNG"
    assert {p.name for p in (folder / "samples").iterdir()} == {
        f"{kind}-{step:08d}.png" for kind in ("samples", "raw") for step in (0, 4, 7)
    } | {"real-00000000.png"}


def test_of_many_events_of_a_kind_the_first_are_kept_and_the_others_counted(tmp_path, tiny_data, monkeypatch):
    monkeypatch.setattr(event_list, "MOST_OF_A_KIND", 3)
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *PLAIN)
    for step in range(7):
        recorder._report([Event(step, "non_finite", "warning", "not finite", 1.0, 0.0)])
        exp.pending_events = [] if step == 2 else exp.pending_events  # an evaluation
    recorder._report([Event(7, "non_finite", "collapse", "not finite", 1.0, 0.0)])
    assert [(e["step"], e["severity"], e.get("more")) for e in exp.events] == [
        (0, "warning", None), (1, "warning", None), (2, "warning", 4), (7, "collapse", None),
    ]  # fmt: skip
    assert [(e["step"], e.get("more")) for e in exp.pending_events] == [(3, None), (4, None), (5, 1), (7, None)]
    recorder.close("failed")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["events"] == exp.events


def test_a_row_holds_means_of_what_was_finite(tmp_path, tiny_data):
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *PLAIN)
    nan, skip, fine = float("nan"), torch.tensor(1.0), torch.tensor(0.0)
    exp.config.trainer.max_skipped_updates = 2
    for loss, skipped in ((1.0, fine), (4.0, fine), (nan, skip)):
        recorder.add({"loss/d": torch.tensor(loss), "grad_norm/d": torch.tensor(2.0 * loss), "skipped/d": skipped})
    recorder.add({"loss/d": torch.tensor(7.0), "penalty/r1": torch.tensor(0.25), "skipped/d": fine})
    recorder.add({"loss/g": torch.tensor(nan), "skipped/g": skip})
    exp.step = 2
    assert recorder.log(torch.zeros(4, 3, 32, 32), None) is None
    (row,) = read_rows(tmp_path / "run" / "train.jsonl")
    assert (row["step"], row["images_seen"], row["skipped_updates"]) == (2, 16, 2.0)
    assert (row["loss/d"], row["grad_norm/d"], row["penalty/r1"], row["loss/g"]) == (4.0, 5.0, 0.25, None)
    assert row["lr/g"] == exp.config.optimizer.g["lr"] and not any(k.startswith("skipped/") for k in row)
    assert exp.log_sums == {}
    recorder.close("failed")


def test_the_sums_of_an_interval_are_in_a_checkpoint(tmp_path, tiny_data):
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *PLAIN)
    for loss in (1.0, 2.0):
        recorder.add({"loss/d": torch.tensor(loss), "skipped/d": torch.tensor(0.0)})
    exp.step = 1
    recorder.save()
    recorder.close("failed")
    other = gan_lab.build(exp.config)
    other.load_state_dict(state_of(tmp_path / "run"))
    assert {k: v.tolist() for k, v in other.log_sums.items()} == {"loss/d": [[3.0], [2.0]]}


def test_evaluating_the_untrained_g_does_not_count_as_training_time(tmp_path, tiny_data, monkeypatch):
    """The first row's speed is that of the steps."""
    true, waits = recorder_module.evaluate, []

    def slow(exp, check):
        if exp.step == 0:
            began = time.perf_counter()
            time.sleep(0.3)
            waits.append(time.perf_counter() - began)
        return true(exp, check)

    monkeypatch.setattr(recorder_module, "evaluate", slow)
    paused = []
    close = Recorder.close
    monkeypatch.setattr(
        Recorder, "close", lambda self, status: (paused.append(self.progress._paused), close(self, status))
    )
    evaluated_run(tmp_path / "run", tiny_data, "trainer.total_steps=1", "trainer.eval_every_steps=0")
    assert len(waits) == 1 and paused[0] >= waits[0] >= 0.3


def test_the_untrained_g_is_measured_and_never_the_best(tmp_path, tiny_data, monkeypatch):
    """The first evaluation is the best of all; the checkpoint of step 3 is the best of those that trained."""
    figures = {0: 1.0, 3: 5.0, 6: 6.0, 7: 7.0}
    true = recorder_module.evaluate
    monkeypatch.setattr(
        recorder_module, "evaluate", lambda exp, check: {**true(exp, check), "fid_shapes": figures[exp.step]}
    )
    folder = evaluated_run(tmp_path / "run", tiny_data)
    assert [row["fid_shapes"] for row in read_rows(folder / "metrics.jsonl")] == list(figures.values())
    best = json.loads((folder / "summary.json").read_text())["best"]
    assert (best["metric"], best["value"], best["step"], best["evaluations"]) == ("fid_shapes", 5.0, 3, 3)
    assert Checkpoints(folder / "checkpoints", 9).index()["best"] == "step-00000003.pt"
    remembered = state_of(folder)["detector"]["metric"]  # the detector compares with the untrained G
    assert (remembered["untrained"], remembered["best"]) == (1.0, 5.0)
    protocol, sha256 = best["identity"].split()
    assert protocol == read_rows(folder / "metrics.jsonl")[0]["protocol"] and len(sha256) == 64


@pytest.mark.slow
def test_a_best_of_another_protocol_is_no_best(tmp_path, tiny_data, monkeypatch):
    true = recorder_module.evaluate
    monkeypatch.setattr(
        recorder_module, "evaluate", lambda exp, check: {**true(exp, check), "fid_shapes": 5.0 + exp.step}
    )
    folder = evaluated_run(tmp_path / "run", tiny_data)
    assert state_of(folder)["best"]["step"] == 3
    evaluated_run(folder, tiny_data, "trainer.total_steps=9", "metrics.num_samples=65", "resume=force")
    best = state_of(folder)["best"]
    assert (best["step"], best["value"], best["evaluations"]) == (9, 14.0, 1)


def figures_of(monkeypatch, **by_step):
    """Evaluations find these values: `fid={3: 1.0}`."""
    true = recorder_module.evaluate
    changed = lambda step: {f"{name}_shapes": values[step] for name, values in by_step.items()}  # noqa: E731
    monkeypatch.setattr(recorder_module, "evaluate", lambda exp, check: {**true(exp, check), **changed(exp.step)})


def best_of(folder):
    """Step of the best: in summary.json, in the newest checkpoint, and in the index."""
    named = Checkpoints(folder / "checkpoints", 9).index()["best"]
    assert named is None or (folder / "checkpoints" / named).is_file()
    summary = json.loads((folder / "summary.json").read_text())["best"] or {}
    return summary.get("step"), state_of(folder)["best"].get("step"), named and int(named[5:13])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second", "steps"),
    [
        ("kid", "precision", (6, 3)),  # of steps 3, 6, 7: the least kid, then the highest precision of those kept
        ("precision", "kid", (3, 6)),
        ("fid", "is", (7, 6)),
    ],
)
def test_another_figure_chooses_among_the_checkpoints_there_are(tmp_path, tiny_data, monkeypatch, first, second, steps):
    figures_of(
        monkeypatch,
        fid={0: 0.1, 3: 5.0, 6: 4.0, 7: 3.0, 9: 6.0}, kid={0: 0.1, 3: 2.0, 6: 1.0, 7: 3.0, 9: 4.0},
        precision={0: 1.0, 3: 0.9, 6: 0.5, 7: 0.4, 9: 0.3}, **{"is": {0: 9.0, 3: 3.0, 6: 4.0, 7: 2.0, 9: 1.0}},
    )  # fmt: skip
    words = ["metrics.kid=true", "metrics.precision_recall=true", "trainer.keep_checkpoints=9"]
    folder = evaluated_run(tmp_path / "run", tiny_data, *words, f"metrics.best={first}")
    assert best_of(folder) == (steps[0],) * 3
    evaluated_run(folder, tiny_data, *words, f"metrics.best={second}", "trainer.total_steps=9", "resume=force")
    assert best_of(folder) == (steps[1],) * 3


FALLING = {0: 0.1, 3: 2.0, 6: 3.0, 7: 4.0, 9: 9.0}


@pytest.fixture(scope="module")
def best_at_3(tmp_path_factory, tiny_data):
    with pytest.MonkeyPatch.context() as patched:
        figures_of(patched, fid=FALLING)
        return evaluated_run(tmp_path_factory.mktemp("best") / "run", tiny_data, "trainer.keep_checkpoints=9")


@pytest.mark.slow
@pytest.mark.parametrize(("removed", "left"), [([3], 6), ([3, 6], 7), ([6], 3)])
def test_a_best_whose_file_was_removed_is_chosen_again(tmp_path, tiny_data, monkeypatch, best_at_3, removed, left):
    figures_of(monkeypatch, fid=FALLING)
    folder = shutil.copytree(best_at_3, tmp_path / "run")
    assert best_of(folder) == (3,) * 3
    for step in removed:
        (folder / "checkpoints" / f"step-{step:08d}.pt").unlink()
    evaluated_run(folder, tiny_data, "trainer.keep_checkpoints=9", "trainer.total_steps=9", "resume=force")
    assert best_of(folder) == (left,) * 3


def test_a_best_removed_while_training_goes_on_is_chosen_again(tmp_path, tiny_data, monkeypatch):
    """Step 3's file is removed before the evaluation of step 6, whose value is worse and now the best."""
    figures_of(monkeypatch, fid={0: 0.1, 3: 2.0, 6: 3.0, 7: 4.0})
    grid = Recorder.grid

    def removing(self):
        grid(self)
        (tmp_path / "run" / "checkpoints" / "step-00000003.pt").unlink(missing_ok=True)

    monkeypatch.setattr(Recorder, "grid", removing)  # at step 4
    assert best_of(evaluated_run(tmp_path / "run", tiny_data)) == (6,) * 3


@pytest.mark.parametrize(("total", "step"), [(0, 0), (2, None), (5, 3)])
def test_the_final_figures_are_not_those_of_the_untrained_g(tmp_path, tiny_data, total, step):
    """A run that is stopped after `total` steps; evaluations are at 0 and 3."""
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *EVALUATED)
    for exp.step in sorted({0, *(s for s in (3,) if s <= total)}):
        recorder.evaluate()
    exp.step = total
    recorder.close("interrupted")
    final = json.loads((tmp_path / "run" / "summary.json").read_text())["final"]
    assert (final and final["step"]) == step and (final is None) == (step is None)


def test_a_run_logs_the_rates_of_its_schedules(tmp_path, tiny_data):
    """0.001 falls to 0 over the 7 steps; a row's rate is that of its step's updates, which began a step earlier."""
    ramp = "optimizer.lr_scale={_target_: gan_lab.schedules.Linear, start: 1.0, end: 0.0}"
    folder = evaluated_run(tmp_path / "run", tiny_data, "optimizer=adam", "optimizer.g.lr=0.001",
                           "optimizer.d.lr=0.002", ramp)  # fmt: skip
    for row in read_rows(folder / "train.jsonl"):
        share = 1 - (row["step"] - 1) / 7
        assert row["lr/g"] == pytest.approx(0.001 * share, rel=1e-12)
        assert row["lr/d"] == pytest.approx(0.002 * share, rel=1e-12)


def test_a_checkpoint_is_refused_where_a_weight_is_not_finite(tmp_path, tiny_data):
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *EVALUATED)
    exp.step = 1
    recorder.save()
    next(exp.D.parameters()).data.fill_(math.inf)
    exp.step = 2
    with pytest.raises(gan_lab.errors.DivergedError, match=r"the weight D\.\S+ is non-finite at or before step 3"):
        recorder.save()
    assert state_of(tmp_path / "run")["step"] == 1
    recorder.close("diverged")


def test_skipped_updates_are_told_where_no_update_waits_for_their_flag(tmp_path, tiny_data, caplog):
    """On a GPU the flag is read at a row, when updates may count again."""
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *PLAIN)
    exp.device = SimpleNamespace(type="cuda")
    for skipped in (0.0, 1.0, 1.0, 0.0):
        recorder.add({"loss/d": torch.tensor(1.0), "skipped/d": torch.tensor(skipped)})
    exp.step = 2
    recorder.log(torch.zeros(4, 3, 32, 32), None)
    assert "skipped 2 of the updates up to step 2" in caplog.text
    caplog.clear()
    recorder.add({"loss/d": torch.tensor(1.0), "skipped/d": torch.tensor(0.0)})
    exp.step = 4
    recorder.log(torch.zeros(4, 3, 32, 32), None)
    assert "skipped" not in caplog.text
    recorder.close("failed")


def test_a_lost_process_of_gpus_is_not_waited_for_at_the_end(tmp_path, tiny_data, monkeypatch):
    """Its kernels may never end, and with them whatever is read from the device."""
    exp, recorder = recorder_of(tmp_path / "run", tiny_data, *PLAIN)
    exp.device, exp.skipped = SimpleNamespace(type="cuda"), {"total": None}
    monkeypatch.setattr(recorder_module.collectives, "active", lambda: True)
    recorder.close("failed")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "failed" and summary["skipped_updates"] is None
