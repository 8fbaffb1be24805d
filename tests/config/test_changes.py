"""What a resumed run may change, and what it may not."""

import copy

import pytest

from gan_lab.config.changes import DECIDES, allowed_changes, changed_settings, decides, refusal
from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.schema import leaf_settings
from gan_lab.config.tree import flatten

FIXED, FREE = True, False
ROWS = [
    ("seed", 7, FIXED), ("name", "other", FREE), ("data_dir", "/elsewhere", FREE), ("resume", "force", FREE),
    ("width", 0.5, FIXED), ("run_dir", "/runs/b", FREE), ("stop_on_collapse", True, FREE),
    ("extensions", ["mine"], FREE), ("recipe", "mine", FREE), ("dataset", {"_target_": "gan_lab.data.load"}, FIXED),
    ("dataset.path", "/moved", FREE), ("dataset.max_unreadable", 3, FREE),
    ("generator", {"_target_": "gan_lab.nets.DCGANGenerator", "z_dim": 9}, FIXED),
    ("discriminator", {"_target_": "gan_lab.nets.DCGANDiscriminator"}, FIXED), ("norm", {"generator": "sn"}, FIXED),
    ("loss", {"d": {"_target_": "gan_lab.losses.hinge_d"}}, FIXED), ("penalty", {}, FIXED),
    ("augment", {"_target_": "gan_lab.augment.DiffAugment"}, FIXED), ("optimizer", {"lr_scale": 0.5}, FIXED),
    ("ema", {"halflife_images": 1, "rampup": 0.0}, FIXED), ("metrics", None, FREE), ("monitor", {"level": "off"}, FREE),
    ("tracker", {}, FREE),
    ("trainer.total_steps", 20, FREE), ("trainer.batch_size", 8, FIXED), ("trainer.n_dis", 3, FIXED),
    ("trainer.fake_labels", "data", FIXED), ("trainer.eval_every_steps", 9, FREE),
    ("trainer.checkpoint_every_steps", 9, FREE), ("trainer.sample_every_steps", 9, FREE),
    ("trainer.log_every_steps", 9, FREE),
    ("trainer.progress_gif", False, FREE), ("trainer.keep_checkpoints", 9, FREE), ("trainer.keep_every_steps", 9, FREE),
    ("trainer.device", "cpu", FREE), ("trainer.precision", "bf16", FIXED), ("trainer.accelerate", "graph", FREE),
    ("trainer.deterministic", True, FIXED), ("trainer.devices", 2, FREE), ("trainer.sync_batchnorm", False, FIXED),
    ("trainer.rank_timeout_seconds", 9, FREE), ("trainer.max_skipped_updates", 0, FREE), ("trainer.threads", 1, FREE),
]  # fmt: skip
INSIDE = [
    ("dataset.hflip", True, FIXED), ("dataset.held_out", 3, FIXED), ("dataset.name", "packed", FIXED),
    ("dataset.resolution", 32, FIXED),
    ("metrics.num_samples", 99, FREE), ("metrics.best", "kid", FREE), ("metrics.extra.mine._target_", "a.B", FREE),
    ("metrics.weights", "/w.pt", FREE), ("monitor.every_steps", 3, FREE), ("monitor.detection.patience", 3, FREE),
    ("optimizer.d.lr", 0.5, FIXED), ("optimizer.lr_scale", 0.5, FIXED), ("penalty.r1.weight", 2.0, FIXED),
    ("tracker.wandb.project", "mine", FREE), ("generator.z_dim", 3, FIXED),
    ("ema.rampup", 1.0, FIXED), ("norm.scale", 1.5, FIXED),
]  # fmt: skip


@pytest.fixture(scope="module")
def tree():
    """A run of a folder without a schedule that spans the whole run."""
    words = ["dataset=folder", "dataset.path=/photos", "penalty=r1", "optimizer=adam", "trainer.total_steps=10"]
    return check(compose(*words)).tree()


def changed(tree, key, value):
    new = copy.deepcopy(tree)
    node = new
    *above, last = key.split(".")
    for name in above:
        node = node.setdefault(name, {})
    assert node.get(last) != value
    node[last] = value
    return new


def test_the_table_has_every_setting():
    assert {key for key, _, _ in ROWS} == DECIDES.keys()
    for key, _ in leaf_settings():
        assert key in DECIDES or key.split(".")[0] in ("loss", "optimizer", "ema", "monitor"), key


@pytest.mark.parametrize(("key", "value", "fixed"), [*ROWS, *INSIDE], ids=lambda part: str(part)[:20])
def test_what_a_resumed_run_may_change(tree, key, value, fixed):
    new = changed(tree, key, value)
    said = refusal(tree, new)
    assert (said is not None) == fixed == bool(changed_settings(tree, new))
    assert changed_settings(tree, tree) == [] and refusal(new, new) is None
    if fixed:
        assert all(text.startswith(key) for text in changed_settings(tree, new)) and key in said
    elif decides(key) in ("how long", "how often", "what is measured"):
        assert allowed_changes(tree, new) and allowed_changes(tree, tree) == []


def test_an_unknown_setting_decides_what_is_computed():
    assert decides("my.own") == decides("") == "what is computed"


@pytest.fixture(scope="module")
def annealed():
    """Its learning rate and its penalty's weight fall over the whole run."""
    words = ["penalty=r1r2_annealed", "trainer.total_steps=10", "trainer.batch_size=8", "trainer.n_dis=2"]
    return check(compose(*words)).tree()


def test_more_steps_are_refused_where_a_schedule_spans_all_of_them(annealed):
    new = changed(annealed, "trainer.total_steps", 20)
    assert changed_settings(annealed, new) == [
        "trainer.total_steps: 10 -> 20", "optimizer.lr_scale.over_images: 160 -> 320",
        "penalty.r1r2.weight.over_images: 160 -> 320",
    ]  # fmt: skip
    assert "+optimizer.lr_scale.over_images=160 +penalty.r1r2.weight.over_images=160 keeps it" in refusal(annealed, new)


def test_more_steps_are_taken_where_the_schedules_keep_their_length(annealed):
    new = changed(annealed, "trainer.total_steps", 20)
    for key in ("optimizer.lr_scale.over_images", "penalty.r1r2.weight.over_images"):
        assert refusal(annealed, new) is not None
        new = changed(new, key, 160.0)
    assert refusal(annealed, new) is None and allowed_changes(annealed, new) == ["trainer.total_steps: 10 -> 20"]
    other = changed(new, "optimizer.lr_scale.over_images", 161)
    assert changed_settings(annealed, other)[-1] == "optimizer.lr_scale.over_images: 160 -> 161"


def test_a_schedule_in_a_list_spans_the_run_too(tree):
    ramp = {"_target_": "gan_lab.schedules.Linear", "start": 0.0, "end": 0.5}
    old = changed(tree, "optimizer.g.betas", [0.0, ramp])
    new = changed(old, "trainer.total_steps", 20)
    assert len(changed_settings(old, new)) == 2 and "optimizer.g.betas.1.over_images" in refusal(old, new)


def test_a_long_list_of_changes_is_cut_and_counted(tree):
    new = check(compose("recipe=r3gan", "dataset=folder", "dataset.path=/photos")).tree()
    count = len(changed_settings(tree, new))
    assert count > 20 and f"and {count - 8} more)" in refusal(tree, new)
    assert len(flatten(new)) > count
