"""A run that is stopped and resumed is, bit for bit, the run that was not."""

import functools
import json
import os
import shutil
import signal

import pytest

from gan_lab.data import shapes
from gan_lab.data.store import open_packed, pack
from gan_lab.errors import InterruptedRun, UserError
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from gan_lab.use.evaluate import dataset_of
from tests.training import short_runs
from tests.training.short_runs import assert_same, evaluated_run, rows_of, state_of, write_pictures


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_data):
    """`undisturbed(*words)`: the run of these words that nothing stopped, trained once."""

    @functools.cache
    def train(*words):
        return evaluated_run(tmp_path_factory.mktemp("whole") / "run", tiny_data, *words)

    return train


OTHER = ("norm=bssn", "loss=hinge", "penalty=none", "trainer.n_dis=2")


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [1, 3, 5])
@pytest.mark.parametrize("words", [(), OTHER], ids=str)
def test_stopped_and_resumed_equals_undisturbed(tmp_path, tiny_data, monkeypatch, undisturbed, stop_after, words):
    whole = undisturbed(*words)
    true_step, calls = accelerate.g_step, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(*arguments)

    monkeypatch.setattr(accelerate, "g_step", stopping)
    with pytest.raises(InterruptedRun) as stopped:
        evaluated_run(tmp_path / "parts", tiny_data, *words)
    assert stopped.value.exit_status == 143
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("interrupted", stop_after)
    parts = evaluated_run(tmp_path / "parts", tiny_data, *words)

    assert_same(state_of(whole), state_of(parts))
    for name in ("train.jsonl", "metrics.jsonl"):
        assert rows_of(whole, name) == rows_of(parts, name)
    assert [r["step"] for r in rows_of(parts, "train.jsonl")] == [2, 4, 6, 7]
    assert [r["step"] for r in rows_of(parts, "metrics.jsonl")] == [0, 3, 6, 7]
    assert json.loads((parts / "summary.json").read_text())["status"] == "finished"


TRICKS = ("loss.top_k={_target_: gan_lab.schedules.Exponential, start: 1.0, end: 0.5, factor: 0.5}", "augment=apa",
          "augment.ramp_images=64", "augment.target=-1.0")  # fmt: skip


@pytest.mark.slow
def test_top_k_and_apa_resume(tmp_path, tiny_data, monkeypatch):
    whole = short_runs.run(tmp_path / "whole", tiny_data, *TRICKS)
    true_step = accelerate.g_step

    def stopping(exp, *reals):
        if exp.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(exp, *reals)

    with monkeypatch.context() as patched, pytest.raises(InterruptedRun):
        patched.setattr(accelerate, "g_step", stopping)
        short_runs.run(tmp_path / "parts", tiny_data, *TRICKS)
    assert state_of(tmp_path / "parts")["step"] == 5
    parts = short_runs.run(tmp_path / "parts", tiny_data, *TRICKS)
    assert_same(state_of(whole), state_of(parts))
    assert float(state_of(whole)["augment"]["p"]) > 0.2


def test_a_finished_run_is_left_alone(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    assert evaluated_run(tmp_path / "run", tiny_data) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"} == before


@pytest.mark.slow
def test_changed_settings_are_refused_by_name_unless_forced(tmp_path, tiny_data, caplog):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    with pytest.raises(UserError, match=r"trainer\.total_steps: 7 -> 9.*resume=force"):
        evaluated_run(folder, tiny_data, "trainer.total_steps=9")
    with pytest.raises(UserError, match="resume=never"):
        evaluated_run(folder, tiny_data, "resume=never")
    evaluated_run(folder, tiny_data, "trainer.total_steps=9", "resume=force")
    assert [r["step"] for r in read_rows(folder / "train.jsonl")] == [2, 4, 6, 7, 8, 9]
    assert caplog.text.count("trainer.total_steps: 7 -> 9") == 1


def test_rows_of_a_run_whose_checkpoints_are_gone_are_not_dropped(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data, *CONSTANT)
    rows = {name: (folder / name).read_bytes() for name in ("train.jsonl", "metrics.jsonl", "summary.json")}
    (folder / "checkpoints").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match="holds a run of 7 steps without a checkpoint to go on from: put its checkpoints"
    ):
        evaluated_run(folder, tiny_data, *CONSTANT, "trainer.total_steps=9")
    assert {name: (folder / name).read_bytes() for name in rows} == rows
    (tmp_path / "elsewhere").rename(folder / "checkpoints")
    evaluated_run(folder, tiny_data, *CONSTANT, "trainer.total_steps=9")
    assert json.loads((folder / "summary.json").read_text())["step"] == 9


def test_a_run_that_has_only_its_summary_to_write_says_no_speed(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    speed = json.loads((folder / "summary.json").read_text())["images_per_second"]
    (folder / "summary.json").unlink()
    evaluated_run(folder, tiny_data)
    assert speed > 0 and json.loads((folder / "summary.json").read_text())["images_per_second"] is None


CONSTANT = ("optimizer=adam", "penalty=r1")  # no schedule spans the run


@pytest.mark.slow
def test_a_run_that_is_made_longer_is_the_longer_run(tmp_path, tiny_data, caplog):
    folder = evaluated_run(tmp_path / "run", tiny_data, *CONSTANT)
    evaluated_run(folder, tiny_data, *CONSTANT, "trainer.total_steps=9", "trainer.log_every_steps=3")
    whole = evaluated_run(tmp_path / "whole", tiny_data, *CONSTANT, "trainer.total_steps=9")
    assert "trainer.log_every_steps: 2 -> 3; trainer.total_steps: 7 -> 9" in caplog.text
    for name in ("G", "D", "G_ema", "optimizer_g", "optimizer_d", "step"):
        assert_same(state_of(whole)[name], state_of(folder)[name], name)
    assert [r["step"] for r in rows_of(folder, "train.jsonl")] == [2, 4, 6, 7, 9]
    assert rows_of(folder, "metrics.jsonl")[-1] == rows_of(whole, "metrics.jsonl")[-1]
    assert json.loads((folder / "summary.json").read_text())["step"] == 9
    with pytest.raises(UserError, match=r"has trained 9 steps already, more than trainer\.total_steps=7"):
        evaluated_run(folder, tiny_data, *CONSTANT)


@pytest.mark.slow
def test_a_resumed_run_may_be_measured_otherwise_and_keeps_both_protocols(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data, *CONSTANT)
    evaluated_run(folder, tiny_data, *CONSTANT, "metrics.num_samples=65", "trainer.total_steps=9", "monitor=off")
    before, after = (row["protocol"] for row in read_rows(folder / "metrics.jsonl")[-2:])
    assert before != after
    assert protocol_hash(json.loads((folder / "protocol.json").read_text())) == after
    assert protocol_hash(json.loads((folder / f"protocol-{before}.json").read_text())) == before


@pytest.mark.slow
def test_a_run_of_other_images_is_refused_unless_forced(tmp_path, tiny_data):
    from gan_lab.data import shapes
    from gan_lab.data.store import pack

    folder = short_runs.run(tmp_path / "run", tiny_data)
    images, labels = shapes.render(192, seed=6)
    pack(tmp_path / "shapes", [(images, labels)], name="shapes", class_names=shapes.CLASS_NAMES, test=32)
    (folder / "summary.json").unlink()  # as if it had been killed
    with pytest.raises(UserError, match="was trained on other images"):
        short_runs.run(folder, tmp_path)
    short_runs.run(folder, tmp_path, "trainer.total_steps=8", "resume=force")
    assert state_of(folder)["step"] == 8


@pytest.mark.slow
def test_an_augmentation_that_was_switched_off_stays_off(tmp_path, tiny_data):
    folder = short_runs.run(tmp_path / "run", tiny_data, "augment=ada", "augment.p=0.5")
    short_runs.run(folder, tiny_data, "trainer.total_steps=8", "resume=force")
    assert (state_of(folder)["step"], state_of(folder)["augment"]) == (8, None)
    with pytest.raises(UserError, match="does not fit these settings"):
        short_runs.run(folder, tiny_data, "trainer.total_steps=9", "augment=ada", "resume=force")


def run_on(folder, data, path, *words):
    """A run of images at `path`; their packed copies lie in `data`."""
    return evaluated_run(folder, data, "dataset=folder", f"dataset.path={path}", "dataset.resolution=32", *CONSTANT,
                         "metrics=inception", "metrics._target_=gan_lab.metrics.classifier_evaluator",
                         "metrics.weights=shapes", "~metrics.feature", "metrics.num_samples=16", "metrics.kid=false",
                         "metrics.num_real=8", "metrics.precision_recall=false", "generator=dcgan",
                         "discriminator=dcgan", *words)  # fmt: skip


@pytest.mark.slow
def test_images_that_were_moved_go_on_and_others_are_refused(tmp_path, caplog):
    first = write_pictures(tmp_path / "photos")
    folder = run_on(tmp_path / "run", tmp_path / "data", first, "trainer.total_steps=1")
    protocol = (folder / "protocol.json").read_text()
    (tmp_path / "new").mkdir()
    shutil.copytree(first, tmp_path / "new" / "renamed")  # other times, another name, the same pixels
    first.rename(tmp_path / "away")

    run_on(folder, tmp_path / "data", tmp_path / "new" / "renamed", "trainer.total_steps=2")
    assert state_of(folder)["step"] == 2 and (folder / "protocol.json").read_text() == protocol
    run_on(folder, tmp_path / "data", first, "trainer.total_steps=3")  # nothing lies there: the packed copy
    assert state_of(folder)["step"] == 3 and "holds the same images" in caplog.text
    assert (folder / "protocol.json").read_text() == protocol

    other = write_pictures(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="was trained on other images") as told:
        run_on(folder, tmp_path / "data", other, "trainer.total_steps=4")
    assert "\n" not in str(told.value) and state_of(folder)["step"] == 3
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(UserError, match="does not exist"):
        run_on(folder, tmp_path / "data", first, "trainer.total_steps=4")


NETS_WITH_CLASSES = ("generator=dcgan_conditional", "discriminator=dcgan_conditional", "trainer.batch_size=4")


@pytest.fixture
def relabelled(tmp_path):
    """The same images, packed with classes a, with others b, and with more classes c."""
    images, labels = shapes.render(16, seed=3)
    for name, of, classes in (("a", labels % 4, 4), ("b", (labels + 1) % 4, 4), ("c", labels % 5, 5)):
        pack(tmp_path / name, [(images, of)], name=name, class_names=[str(i) for i in range(classes)])
    return tmp_path


def run_packed(folder, path, steps, *words):
    words = ("dataset=packed", f"dataset.path={path}", f"trainer.total_steps={steps}", *CONSTANT, *words)
    return short_runs.run(folder, path.parent, *words)


@pytest.mark.slow
def test_other_classes_of_the_same_images_are_refused(relabelled, caplog):
    a, b, c, run = (relabelled / name for name in ("a", "b", "c", "run"))
    run_packed(run, a, 1, *NETS_WITH_CLASSES)
    with pytest.raises(
        UserError, match="on images with other classes than those of b; choose another name, or resume=force"
    ):
        run_packed(run, b, 2, *NETS_WITH_CLASSES)
    with pytest.raises(UserError, match="was trained with 4 classes but c has 5; choose another name$"):
        run_packed(run, c, 2, *NETS_WITH_CLASSES, "resume=force")
    run_packed(run, b, 2, *NETS_WITH_CLASSES, "resume=force")
    assert state_of(run)["step"] == 2
    a.rename(relabelled / "gone")  # of the copies those of b's classes are taken, which it has gone on with
    (relabelled / "0").symlink_to(relabelled / "gone")
    run_packed(run, a, 3, *NETS_WITH_CLASSES)
    assert state_of(run)["step"] == 3 and f"{b} holds the same images" in caplog.text
    content = Checkpoints(run / "checkpoints", 2).latest()
    dataset = dataset_of(content["config"], content["dataset"])
    assert dataset.labels("train").tolist() == open_packed(b).labels.tolist()
    with pytest.raises(
        UserError, match="with other classes, or another number of them: give dataset.path= of the same"
    ):
        dataset_of(content["config"], content["dataset"], path=relabelled / "gone")


@pytest.mark.slow
def test_another_division_into_train_and_test_is_refused(relabelled):
    images, labels = shapes.render(16, seed=3)
    pack(relabelled / "t", [(images, labels)], name="t", class_names=shapes.CLASS_NAMES, test=4)
    run_packed(relabelled / "run", relabelled / "a", 1)
    with pytest.raises(UserError, match="trained on 16 of the images of t, of which now 12 are for training"):
        run_packed(relabelled / "run", relabelled / "t", 2)


@pytest.mark.slow
def test_nets_without_classes_do_not_mind_others(relabelled):
    for steps, name in enumerate("abc", start=1):
        run_packed(relabelled / "run", relabelled / name, steps)
    assert state_of(relabelled / "run")["step"] == 3
