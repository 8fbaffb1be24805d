"""Checkpoints of earlier formats: read as today's, and gone on with.

data/format-2.pt was written by gan_lab 0.1 at step 5 of 8 of the run that WORDS describes; data/format-2.jsonl holds
the rows of train.jsonl that the same version wrote at steps 6 and 8 of it.
"""

import shutil
from pathlib import Path

import pytest
import torch

import gan_lab
from gan_lab.diagnostics.collapse import Detector
from gan_lab.errors import UserError
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.runs.files import read_rows
from gan_lab.runs.migrations import FORMAT_VERSION, FORMATS, migrate
from tests.training.short_runs import state_of

DATA = Path(__file__).with_name("data")
WORDS = (
    "trainer.device=cpu", "trainer.batch_size=8", "trainer.sample_every_steps=0", "trainer.log_every_steps=2",
    "trainer.checkpoint_every_steps=3", "trainer.eval_every_steps=0", "trainer.total_steps=8", "trainer.n_dis=2",
    "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false", "metrics.precision_recall=false",
    "width=0.001", "generator.z_dim=2", "generator.activation_norm=none", "norm=sn", "augment=ada",
    "augment.p={_target_: gan_lab.schedules.Linear, start: 0.0, end: 0.5}", "augment.geometric=0",
    "generator=dcgan", "discriminator=dcgan_plain", "penalty=r1r2_annealed", "optimizer=adam_annealed",
    "ema.halflife_images=20000",
)  # fmt: skip


def test_format_1_is_read_as_todays(tmp_path):
    sums = {"loss/d": (torch.tensor(3.0), 2), "loss/g": (torch.tensor(0.5), 1)}
    old = {"step": 7, "wall_seconds": 1.5, "best": {}, "log_sums": sums, "G": {"w": torch.ones(2)}}
    torch.save({"format_version": 1, "state": old, "config": {"seed": 3}, "dataset": {}}, tmp_path / "x.pt")
    read = load_checkpoint(tmp_path / "x.pt")
    state = read["state"]
    assert (read["format_version"], read["config"]) == (FORMAT_VERSION, {"seed": 3})
    assert (state["step"], state["wall_seconds"], state["G"]["w"].tolist()) == (7, 1.5, [1, 1])
    assert (state["substep"], state["events"], state["pending_events"]) == (0, [], [])
    assert {k: v.item() for k, v in state["skipped"].items()} == {"total": 0, "d": 0, "g": 0}
    assert {k: v.tolist() for k, v in state["log_sums"].items()} == {"loss/d": [[3], [2]], "loss/g": [[0.5], [1]]}
    Detector({}).load_state_dict(state["detector"])
    torch.save({"format_version": 1, "state": {"log_sums": 5}, "config": {}, "dataset": {}}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="not a checkpoint of format 1"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("version", FORMATS[:-1])
@pytest.mark.parametrize(("best", "kept"), [(0, False), (4, True)])
def test_an_untrained_best_is_none_and_an_augmentation_has_no_clock_of_its_own(version, best, kept):
    chosen = {"metric": "fid", "value": 2.0, "step": best, "evaluations": 3}
    augment = {"p": torch.tensor(0.25), "_extra_state": {"images_seen": 80}}
    content = {"format_version": version, "state": {"best": chosen, "augment": augment, "step": 5}, "config": {}}
    read = migrate(content)
    assert read["format_version"] == FORMAT_VERSION == 3
    assert read["state"]["best"] == (chosen if kept else {})
    assert read["state"]["augment"] == {"p": torch.tensor(0.25)}
    assert content["state"]["augment"] is augment and "_extra_state" in augment  # what was given is left alone


def test_without_an_augmentation_there_is_nothing_to_take_from_it():
    assert migrate({"format_version": 2, "state": {"augment": None, "best": {}}})["state"]["augment"] is None


def test_todays_format_stays_as_it_is():
    content = {"format_version": FORMAT_VERSION, "state": {"best": {"step": 0}}}
    assert migrate(content) is content


def test_a_file_of_format_2_holds_what_the_migration_is_for():
    raw = torch.load(DATA / "format-2.pt", weights_only=True)
    assert raw["format_version"] == 2 and raw["state"]["best"]["step"] == 0
    assert raw["state"]["augment"]["_extra_state"] == {"images_seen": 80}
    read = load_checkpoint(DATA / "format-2.pt")
    assert read["state"]["best"] == {} and "_extra_state" not in read["state"]["augment"]


def test_a_run_of_version_0_1_is_gone_on_with_as_that_version_would_have(tmp_path, tiny_data):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(DATA / "format-2.pt", folder / "checkpoints" / "step-00000005.pt")
    gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", f"hydra.run.dir={folder}", *WORDS))
    rows, wanted = read_rows(folder / "train.jsonl"), read_rows(DATA / "format-2.jsonl")
    assert [row["step"] for row in rows] == [6, 8] and len(wanted) == 2
    for row, old in zip(rows, wanted, strict=True):
        assert row.keys() == old.keys() | {"wall_seconds", "images_per_second"}
        assert {k: row[k] for k in old} == pytest.approx(old, rel=1e-4, abs=1e-6)
    state = state_of(folder)
    assert state["augment"]["p"].item() == pytest.approx(0.5)  # of the last update: all 128 images are seen
    assert state["best"]["step"] == 8 and state["best"]["evaluations"] == 1  # the untrained G has no part in it
    (evaluation,) = read_rows(folder / "metrics.jsonl")
    assert evaluation["step"] == 8
    G = gan_lab.load_generator(DATA / "format-2.pt")
    assert G(G.sample_z(2, "cpu"), G.sample_y(2, "cpu")).shape == (2, 3, 32, 32)
